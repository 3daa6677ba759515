"""Cards: every row's identities, peaks against published figures, names, and the command."""

from __future__ import annotations

import csv
import io
import json
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.advise.chart import BLUE, draw, glyphs, svg_bars, text_bars
from envcheck.advise.migrate import torch_range
from envcheck.advise.precision import advise_precision
from envcheck.advise.specs import PEAKS, Card, cards, find_card, identities, rate_table
from envcheck.cli import main
from envcheck.errors import UsageError
from envcheck.matrix import load

MATRIX = load()
CARDS = cards(MATRIX)


@pytest.mark.parametrize("card", CARDS, ids=lambda c: c.name)
def test_every_identity_holds(card: Card) -> None:
    found = identities(card)
    assert [i.text for i in found if i.holds is False] == []
    assert found[1].holds is True  # bandwidth = bus x rate, for every card
    if card.name not in ("Jetson T4000", "Jetson T5000"):  # no source gives the rates of Thor's chip
        assert [i.text for i in found if i.holds is None] == []
    assert card.source


def test_a_wrong_figure_is_found() -> None:
    """The mistakes that public tables make: 60 SMs of an L4, a 448-bit RTX 3080."""
    from dataclasses import replace

    l4, rtx = find_card("L4", MATRIX), find_card("RTX 3080 10GB", MATRIX)
    assert identities(replace(l4, sm_count=60))[0].holds is False
    assert identities(replace(rtx, bus_bits=448))[1].holds is False


def test_all_families_are_there() -> None:
    families = {c.row.family for c in CARDS}
    assert {"GeForce", "TITAN", "Quadro", "RTX", "Data center", "Jetson"} <= families
    names = " ".join(c.name for c in CARDS)
    for word in ("GTX 1080 Ti", "GTX 1660", "RTX 2080 Ti", "RTX 3090", "RTX 4090", "RTX 5090", "A100", "H100", "B200"):
        assert word in names


# published dense figures, TFLOPS: data sheets and white papers
PUBLISHED = [
    ("RTX 3080 10GB", "fp32", 29.8),
    ("RTX 3080 10GB", "fp16_acc32", 59.5),
    ("RTX 3080 10GB", "fp16_acc16", 119),
    ("RTX 4090", "fp16_acc32", 165.2),
    ("RTX 4090", "fp16_acc16", 330.3),
    ("RTX 4090", "fp32", 82.6),
    ("RTX 4090", "tf32", 82.6),
    ("RTX 5090", "fp16_acc32", 209.5),
    ("RTX 2080 Ti", "fp16_acc32", 53.8),
    ("RTX 2080 Ti", "fp16_acc16", 107.6),
    ("TITAN RTX", "fp16_acc32", 130.5),
    ("GTX 1080 Ti", "fp32", 11.3),
    ("GTX 1080", "fp32", 8.9),
    ("Tesla T4", "fp16_acc32", 65),
    ("Tesla T4", "int8", 130),
    ("Tesla V100-SXM2-16GB", "fp16_acc32", 125),
    ("A100-SXM4-80GB", "bf16", 312),
    ("A100-SXM4-80GB", "tf32", 156),
    ("A100-SXM4-80GB", "int8", 624),
    ("A100-SXM4-80GB", "fp32", 19.5),
    ("A10", "fp16_acc32", 125),
    ("A30", "fp16_acc32", 165),
    ("RTX A6000", "fp16_acc32", 154.8),
    ("L4", "fp16_acc32", 121),
    ("L4", "fp8", 242),
    ("L40S", "fp16_acc32", 362),
    ("L40S", "fp8", 733),
    ("L20", "fp16_acc32", 119.5),
    ("H100 80GB HBM3", "bf16", 989),
    ("H100 80GB HBM3", "fp8", 1979),
    ("H100 80GB HBM3", "fp32", 67),
    ("H100 PCIe", "bf16", 756),
    ("H100 NVL", "bf16", 835),
    ("H200", "bf16", 989),
    ("B200", "bf16", 2250),
    ("B200", "fp8", 4500),
    ("RTX PRO 6000 Blackwell Workstation Edition", "fp16_acc32", 503.8),
    ("RTX 6000 Ada Generation", "fp16_acc32", 364.2),
]


@pytest.mark.parametrize(("name", "kind", "published"), PUBLISHED)
def test_the_formula_gives_the_published_peak(name: str, kind: str, published: float) -> None:
    assert find_card(name, MATRIX).peak(kind) == pytest.approx(published, rel=0.015)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("GTX 1080", "fp16_acc32"),
        ("GTX 1660 Ti", "fp16_acc32"),
        ("RTX 2080", "bf16"),
        ("Tesla T4", "tf32"),
        ("RTX 3090", "fp8"),
    ],
)
def test_a_unit_that_a_chip_has_not_has_no_peak(name: str, kind: str) -> None:
    assert find_card(name, MATRIX).peak(kind) is None


def test_only_geforce_accumulates_at_half_the_rate() -> None:
    for card in CARDS:
        half, full = card.peak("fp16_acc16"), card.peak("fp16_acc32")
        if half and full:
            assert (half == 2 * full) == (card.row.family == "GeForce"), card.name


def test_every_rate_names_its_source_and_is_used() -> None:
    rows = rate_table()["rates"]
    assert all(row["source"] for row in rows)
    assert all(set(row) & set(PEAKS) for row in rows)


def test_a_rate_that_is_only_a_bound_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "upper bounds" in run(capsys, "show", "RTX 5090 D")[1]
    assert "upper bounds" not in run(capsys, "show", "RTX 5090")[1]


def test_variants_are_cards_of_their_own() -> None:
    small, large = find_card("RTX 3080 10GB", MATRIX), find_card("NVIDIA GeForce RTX 3080 12GB", MATRIX)
    assert (small.bus_bits, small.bandwidth, small.tdp_w) == (320, 760.3, 320)
    assert (large.bus_bits, large.bandwidth, large.tdp_w) == (384, 912.4, 350)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RTX 3080", "RTX 3080 12GB"),
        ("RTX 9999", "nvidia-smi"),
        ("RTX 4080 Ti", "RTX 4080"),
        ("sm_89", "not a card"),
        ("A100 80GB", "A100-SXM4-80GB"),
        ("RTX 3080 Laptop GPU", "several cards"),
        ("RTX 3050 Laptop GPU", "3050 6GB Laptop GPU. Say which"),
        ("GTX 1060 Mobile", "no source"),
        ("radeon 7900", "nvidia-smi prints it"),
        ("", "names no GPU"),
    ],
)
def test_a_name_that_is_no_card_says_what_is_near(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_card(name, MATRIX)


def test_precision_is_judged_by_the_chip() -> None:
    """GTX 16 and RTX 20 share compute capability 7.5: one is harmed by FP16, the other needs it."""
    assert advise_precision(find_card("GTX 1660 Ti", MATRIX)).train == "fp32"
    assert "harm" in advise_precision(find_card("GTX 1660 Ti", MATRIX)).why[0]
    assert advise_precision(find_card("GTX 1080 Ti", MATRIX)).train == "fp32"
    turing = advise_precision(find_card("RTX 2080 Ti", MATRIX))
    assert (turing.train, turing.attention) == ("fp16-amp", "sdpa")
    assert "no native BF16" in " ".join(turing.why)
    assert advise_precision(find_card("RTX 3090", MATRIX)).train == "bf16-amp"


def test_torch_wheels_of_a_chip() -> None:
    oldest, newest = torch_range("12.0", MATRIX) or ("", "")
    assert oldest == "2.7.0"
    assert newest == list(MATRIX.releases)[-1]
    assert (torch_range("6.1", MATRIX) or ("", ""))[0] == "2.0.0"
    assert torch_range("2.0", MATRIX) is None


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["gpus", *argv])
    done = capsys.readouterr()
    return code, done.out, done.err


def test_list_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert "GeForce RTX 4090" in run(capsys)[1]
    code, text, _ = run(capsys, "list", "--all", "--sort", "bandwidth", "--format", "json")
    listed = json.loads(text)["gpus"]
    assert code == 0
    assert len(listed) == len(CARDS)
    assert [g["bandwidth_gb_s"] for g in listed] == sorted((g["bandwidth_gb_s"] for g in listed), reverse=True)
    rows = list(csv.reader(io.StringIO(run(capsys, "list", "--series", "30,40", "--format", "csv")[1])))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert all("RTX 30" in row[0] or "RTX 40" in row[0] for row in rows[1:])
    marked = run(capsys, "list", "--format", "markdown", "--min-memory", "24")[1].splitlines()
    assert marked[1].startswith("|---|")
    assert all(line.startswith("|") and line.endswith("|") for line in marked)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("list", "--series", "90"), "no series"),
        (("list", "--family", "radeon"), "no family"),
        (("list", "--columns", "name,price"), "no column"),
        (("list", "--plot", "chart.pdf"), ".svg or .png"),
        (("show", "RTX 9999"), "no GPU called"),
        (("compare", "RTX 3090", "RTX 4090", "--for", "brt-base"), "bert-base"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert said in err


def test_show_says_how_a_figure_came_about(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "RTX 3080 10GB")[1]
    assert "68 x 256 x 2 x 1710 MHz" in text
    assert "holds: 760.3 GB/s = 320 bit / 8 x 19.008 Gbit/s" in text
    shown = json.loads(run(capsys, "show", "RTX 3080 10GB", "--format", "json")[1])
    assert shown["peak_tflops"]["fp16_acc32"] == 59.5
    assert shown["sources"]


def test_compare_tells_what_a_move_changes(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "compare", "RTX 2080 Ti", "RTX 5090", "--for", "bert-large", "--batch", "4")[1]
    for said in ("fp16-amp", "bf16-amp", "not needed", "flash", "largest batch", "older than 2.7.0 has no code"):
        assert said in text
    body = json.loads(run(capsys, "compare", "RTX 3090", "RTX 4070 SUPER", "--format", "json")[1])
    assert body["migration"] == []
    assert {"memory, GiB", "torch wheels with its code"} <= {line["what"] for line in body["lines"]}


def test_a_chart_is_valid_svg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cards.svg"
    code, _, err = run(capsys, "list", "--series", "40", "--plot", str(file))
    assert code == 0
    assert str(file) in err
    root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    words = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "GeForce RTX 4090" in words


def test_a_chart_escapes_its_labels() -> None:
    root = ElementTree.fromstring(svg_bars([("a<b>&\"c'", 1.0), ("none", 0.0)], "<title>"))
    assert "a<b>&\"c'" in [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]


def test_bars_are_to_scale() -> None:
    lines = text_bars([("one", 1.0), ("four", 4.0)], 29).splitlines()
    assert [line.count("#") for line in lines] == [5, 20]
    assert text_bars([], 8) == ""


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="ascii", min_codepoint=32), max_size=60), st.floats(0, 1e9)), max_size=6
    ),
    st.integers(0, 200),
)
def test_bars_are_never_wider_than_the_terminal(bars: list[tuple[str, float]], columns: int) -> None:
    for line in text_bars(bars, columns).split("\n"):
        assert len(line) <= max(20, columns)


def unpacked(data: bytes) -> tuple[int, int, bytes]:
    """(width, height, rows) of a PNG; every checksum is verified."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2)
    return width, height, zlib.decompress(chunks[b"IDAT"])


def test_a_png_needs_no_library_and_its_bars_are_to_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cards.png"
    assert run(capsys, "list", "--series", "40", "--plot", str(file))[0] == 0
    width, height, rows = unpacked(file.read_bytes())
    assert len(rows) == height * (1 + 3 * width)
    width, height, rows = unpacked(draw("c.png", [("one", 1.0), ("four", 4.0)], "title"))
    blue = [
        sum(rows[start + i : start + i + 3] == bytes(BLUE) for i in range(1, 1 + 3 * width, 3))
        for start in range(0, len(rows), 1 + 3 * width)
    ]
    assert sorted(set(blue)) == [0, 210, 840]
    assert bytes((0, 0, 0)) in rows  # the words


def test_the_font_has_every_printable_character() -> None:
    assert len(glyphs()) == 95
    assert {len(g) for g in glyphs()} == {13}
    assert not any(glyphs()[0])
    assert all(any(g) for g in glyphs()[1:])


def test_laptops_are_cards_of_their_own_and_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    board, laptop = find_card("RTX 4090", MATRIX), find_card("NVIDIA GeForce RTX 4090 Laptop GPU", MATRIX)
    assert (board.sm_count, board.memory_gib) == (128, 24)
    assert (laptop.sm_count, laptop.memory_gib, laptop.row.chip) == (76, 16, "AD103")
    assert find_card("NVIDIA GeForce RTX 2080 SUPER", MATRIX).row.laptop is False
    assert find_card("NVIDIA GeForce RTX 2080 Super", MATRIX).row.laptop is True
    assert find_card("geforce rtx 2080 super", MATRIX).row.laptop is False
    assert "Laptop" not in run(capsys, "list")[1]
    listed = run(capsys, "list", "--laptops", "--series", "40")[1]
    assert "GeForce RTX 4090 Laptop GPU" in listed
    assert "GeForce RTX 4090  " not in listed
    assert "sets power and clock" in run(capsys, "show", "RTX 4090 Laptop GPU")[1]
