"""--mirror and --index-url: which address, whether the local version is pinned, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.errors import InputError, UsageError
from envcheck.managers.mirrors import IndexChoice, check_url, resolve, without_credentials
from envcheck.matrix import ROW_SECTIONS, SCHEMA, Build, Matrix
from envcheck.model import Request

ROOT = "https://download.pytorch.org/whl"


def matrix(without: str = "") -> Matrix:
    rows = [
        {"id": "pytorch", "kind": "pytorch", "url": f"{ROOT}/{{tag}}"},
        {"id": "nju", "kind": "pytorch", "url": "https://mirrors.nju.edu.cn/pytorch/whl/{tag}"},
        {"id": "aliyun", "kind": "find-links", "url": "https://mirrors.aliyun.com/pytorch-wheels/{tag}/"},
        {"id": "tuna", "kind": "pypi", "url": "https://pypi.tuna.tsinghua.edu.cn/simple"},
        {"id": "jp6-cu126", "kind": "jetson", "url": "https://pypi.jetson-ai-lab.io/jp6/cu126/+simple"},
    ]
    data: dict[str, Any] = {"schema": SCHEMA} | {name: [] for name in ROW_SECTIONS}
    data["indexes"] = [{**row, "source": "test", "date": "2026-11-23"} for row in rows if row["id"] != without]
    return Matrix(data)


def build(**changes: Any) -> Build:
    values: dict[str, Any] = {
        "torch": "2.0.1",
        "tag": "cu118",
        "platform": "linux-x86_64",
        "cuda": "11.8",
        "index": "cu118",
        "on_pypi": False,
        "cudnn": None,
        "nccl": None,
        "triton": None,
        "pythons": ("3.11",),
        "wheel_tag": None,
        "glibc": None,
        "sass": ("8.6",),
        "ptx": (),
        "channel": "stable",
        "evidence": "bytes",
        "source": "test",
        "date": "2026-11-23",
    }
    return Build(**(values | changes))


PYPI = {"tag": "cu117", "index": "pypi", "on_pypi": True, "cuda": "11.7"}


def test_without_an_option_the_builds_own_index() -> None:
    choice = resolve(Request(), build(), matrix())
    assert choice == IndexChoice(kind="pytorch", url=f"{ROOT}/cu118", pin_local=True)
    assert resolve(Request(), build(**PYPI), matrix()) == IndexChoice(kind="pypi", url=None, pin_local=False)


@pytest.mark.parametrize("platform", ["macos-arm64", "linux-aarch64"])
def test_wheels_that_may_not_name_their_variant_are_pinned_by_public_version(platform: str) -> None:
    assert resolve(Request(), build(platform=platform, tag="cpu", index="cpu"), matrix()).pin_local is False


def test_mirrors_by_name() -> None:
    nju = resolve(Request(mirror="nju"), build(), matrix())
    assert (nju.kind, nju.url) == ("pytorch", "https://mirrors.nju.edu.cn/pytorch/whl/cu118")
    aliyun = resolve(Request(mirror="Aliyun"), build(), matrix())
    assert (aliyun.kind, aliyun.pin_local) == ("find-links", True)
    assert aliyun.url == "https://mirrors.aliyun.com/pytorch-wheels/cu118/"
    jetson = resolve(Request(mirror="jp6-cu126"), build(platform="linux-aarch64"), matrix())
    assert (jetson.kind, jetson.pin_local) == ("jetson", False)


def test_a_mirror_of_pypi_serves_only_what_pypi_has() -> None:
    choice = resolve(Request(mirror="tuna"), build(**PYPI), matrix())
    assert (choice.kind, choice.pin_local) == ("pypi", False)
    with pytest.raises(UsageError, match="mirrors PyPI only"):
        resolve(Request(mirror="tuna"), build(), matrix())


def test_an_unknown_mirror_names_the_nearest_and_all() -> None:
    with pytest.raises(UsageError, match="did you mean aliyun") as caught:
        resolve(Request(mirror="aliyn"), build(), matrix())
    assert "nju" in str(caught.value)


@pytest.mark.parametrize("url", ["https://m.example/whl", "https://m.example/whl/", "https://m.example/whl/{tag}"])
def test_a_mirror_url_with_and_without_the_variant(url: str) -> None:
    choice = resolve(Request(mirror=url), build(), matrix())
    assert (choice.kind, choice.url, choice.pin_local) == ("pytorch", "https://m.example/whl/cu118", True)


def test_a_mirror_url_that_looks_like_pypi() -> None:
    url = "https://pypi.example/simple"
    assert resolve(Request(mirror=url), build(**PYPI), matrix()).kind == "pypi"
    with pytest.raises(UsageError, match="give it as --index-url"):
        resolve(Request(mirror=url), build(), matrix())


def test_index_url_wins_and_is_verbatim() -> None:
    given_url = "https://example.com/custom/simple/"
    choice = resolve(Request(index_url=given_url, mirror="nju"), build(), matrix())
    assert (choice.kind, choice.url, choice.pin_local) == ("pytorch", given_url, False)
    assert resolve(Request(index_url="https://e.org/cu118/"), build(), matrix()).pin_local is True


@pytest.mark.parametrize("request_", [Request(index_url=f"{ROOT}/cu121"), Request(mirror="https://m.example/cu121")])
def test_an_address_of_another_variant_is_refused(request_: Request) -> None:
    with pytest.raises(UsageError, match="--cuda cu121"):
        resolve(request_, build(), matrix())


def test_a_matrix_without_pytorchs_index_is_an_input_error() -> None:
    with pytest.raises(InputError, match="pytorch"):
        resolve(Request(), build(), matrix(without="pytorch"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/whl", "http://localhost/cu118", "http://[::1]:80/", "https://a/b"]
)
def test_https_or_this_machine(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://mirror.example/whl", "http://127.0.0.1.evil.example/", "http://localhost@evil.example/", "ftp://a/b"),
        *("file:///srv/wheels", "/srv/wheels", "", "https://", "https:///x", "https://a:port/", "https://[::1/"),
        *("https://a/b c", "https://a/'", 'https://a/"', "https://a/$(id)", "https://a/${HOME}", "https://a/`id`"),
        *(
            "https://a/b\n--extra-index-url https://evil",
            "https://a/#frag",
            "https://a/\\",
            "-rhttps://a/",
            "https://ä/",
        ),
    ],
)
def test_addresses_that_cannot_be_an_index(url: str) -> None:
    with pytest.raises(UsageError, match="--index-url"):
        check_url(url)


def test_a_refusal_does_not_print_the_password() -> None:
    for url in ("http://user:secret@mirror.example/", "https://user:secret@a/b c", "https://user:secret@a:port/"):
        with pytest.raises(UsageError) as caught:
            check_url(url)
        assert "secret" not in str(caught.value)


@given(st.text(max_size=30))
def test_a_checked_url_is_one_plain_word(text: str) -> None:
    for candidate in (text, "https://" + text, "https://host/" + text):
        try:
            url = check_url(candidate)
        except UsageError:
            continue
        assert url == candidate
        assert not set(url) & set(" \t\r\n'\"`$\\{}<>|#")
        assert url.startswith(("https://", "http://", "HTTP", "Http", "hTTP")) or url.lower().startswith("http")


def test_credentials_never_reach_the_script() -> None:
    url, note = without_credentials("https://user:secret@wheels.example:8443/whl/cu118")
    assert url == "https://wheels.example:8443/whl/cu118"
    assert note is not None
    assert "secret" not in note
    assert ".netrc" in note
    choice = resolve(Request(index_url="https://user:secret@wheels.example/cu118"), build(), matrix())
    assert choice.url == "https://wheels.example/cu118"
    assert choice.note is not None
    assert without_credentials("https://a/b@c") == ("https://a/b@c", None)
