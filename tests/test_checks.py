"""Checks: several forms of every cause, facts without any text and their healthy twins, ranking, verdicts."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck import matrix as matrix_module
from envcheck.checks import CHECKS, CODES, check_page, checks_list, checks_page, run_checks
from envcheck.checks.base import Outcome, Report
from envcheck.checks.patterns import alternatives, anchors, compiled, lowered, required
from envcheck.checks.run import EXPLAINS, GENERIC, code_of, section
from envcheck.checks.symptoms import KINDS, flags, join, table
from envcheck.checks.view import View
from envcheck.detect.pasted import parse_report
from envcheck.errors import UsageError
from envcheck.identify import identify
from envcheck.model import OS, Driver, Found, Gpu, Machine, Python, Symptom, Torch

MATRIX = matrix_module.load()
CAUSES = Path(__file__).parents[2] / "shared" / "cases" / "causes.json"
FORMS = json.loads(Path(__file__).with_name("test_checks_forms.json").read_text(encoding="utf-8"))
ARGV_WORD = re.compile(r"[\x20-\x7e\n]{1,400}\Z")


def report_of(text: str) -> Report:
    return run_checks(identify(parse_report(text), MATRIX), MATRIX)


def codes(report: Report, status: str | None = None) -> list[str]:
    return [f.code for f in report.findings if status is None or f.status == status]


def healthy(**changes: object) -> Machine:
    """A live machine on which everything fits."""
    gpu = Gpu(
        name="NVIDIA GeForce RTX 3090",
        pci_id="10de:2204",
        memory_mib=24576,
        compute_capability="8.6",
        architecture="Ampere",
        tensor_cores=3,
        mig=False,
        driver_bound="nvidia",
    )
    machine = Machine(
        os=OS(
            id="ubuntu",
            version="22.04",
            family="debian",
            platform="linux",
            arch="x86_64",
            glibc="2.35",
            kernel="5.15.0-125-generic",
        ),
        driver=Driver(version="535.129.03", cuda="12.2", module="proprietary", state="ok", source="nvml"),
        gpus=(gpu,),
        python=Python(version="3.10.12", executable="/usr/bin/python3", environment="venv"),
        torch=Torch(version="2.1.2+cu121", cuda="12.1", source="pip", archs=("sm_80", "sm_86", "sm_90")),
        packages={
            "torch": "2.1.2+cu121",
            "torchvision": "0.16.2+cu121",
            "torchaudio": "2.1.2+cu121",
            "numpy": "1.26.4",
            "triton": "2.1.0",
        },
        facts={"pci": {"readable": True, "nvidia_gpus": 1, "nvswitches": 0}},
    )
    return dataclasses.replace(machine, **changes)  # type: ignore[arg-type]


def with_gpu(**changes: object) -> Machine:
    machine = healthy()
    return dataclasses.replace(machine, gpus=(dataclasses.replace(machine.gpus[0], **changes),))  # type: ignore[arg-type]


def with_os(**changes: object) -> OS:
    return dataclasses.replace(healthy().os, **changes)  # type: ignore[arg-type]


def with_facts(**facts: object) -> Machine:
    return healthy(facts={**healthy().facts, **facts})


def broken_driver(state: str, **more: object) -> Machine:
    return healthy(driver=Driver(version="535.129.03", state=state), **more)


# what a live machine shows -> the finding; no text at all
FACTS: dict[str, Machine] = {
    "no-nvidia-driver": healthy(driver=Driver(state="missing"), torch=None, packages={}),
    "nouveau-loaded": healthy(
        driver=Driver(state="nouveau"), gpus=(dataclasses.replace(healthy().gpus[0], driver_bound="nouveau"),)
    ),
    "secure-boot-blocks-module": broken_driver("not-loaded", facts={"mokutil": {"secure_boot": True}}),
    "kernel-module-not-built": healthy(
        driver=Driver(version="535.129.03", state="broken", source="files"),
        problems={"driver": "the libraries of 535.129.03 are installed, and there is no nvidia module for kernel 6.8"},
    ),
    "nvidia-open-module-wrong": healthy(
        driver=Driver(version="560.35.03", module="open", state="broken"),
        gpus=(Gpu(name="GeForce GTX 1080", compute_capability="6.1"),),
    ),
    "driver-too-old": healthy(driver=Driver(version="470.82.01", cuda="11.4", state="ok")),
    "driver-library-mismatch": broken_driver("mismatch"),
    "fabric-manager": with_facts(
        pci={"readable": True, "nvswitches": 6}, fabric_manager={"active": False, "version": None}
    ),
    "compat-libcuda-mismatch-803": with_facts(
        loaded_libraries=[{"name": "libcuda.so.1", "path": "/usr/local/cuda-13.0/compat/libcuda.so.1"}]
    ),
    "cuda-unknown-error-uvm": with_facts(modules=["nvidia", "nvidia_modeset", "ext4"]),
    "device-permissions": broken_driver("no-permission"),
    "vgpu-unlicensed": with_facts(gpu={"0": {"vgpu_license": "Unlicensed (Restricted)"}}),
    "pci-bar-unassigned": with_facts(kernel_events=[{"event": "bar_invalid"}]),
    "gpu-fell-off-bus": with_facts(xid=[{"xid": 79, "pci": "0000:01:00"}]),
    "gpu-ecc-error": with_facts(gpu={"0": {"remapped_rows": {"pending": "Yes", "failure": "No"}}}),
    "gpu-throttled": with_facts(gpu={"0": {"throttle_reasons": ["hw_thermal_slowdown"]}}),
    "cpu-only-torch": healthy(torch=Torch(version="2.1.2+cpu", source="pip"), packages={}),
    "aarch64-cpu-wheel": healthy(
        os=with_os(arch="aarch64"), torch=Torch(version="2.4.0+cpu", source="pip"), packages={}
    ),
    "jetson-needs-nvidia-wheel": healthy(
        os=with_os(arch="aarch64", jetson="36.4.0"), torch=Torch(version="2.4.0+cpu", source="pip"), packages={}
    ),
    "gpu-arch-too-new": with_gpu(name="NVIDIA GeForce RTX 5090", compute_capability="12.0"),
    "gpu-arch-too-old": with_gpu(name="Tesla K80", compute_capability="3.7"),
    "numpy2-old-torch": healthy(packages={**healthy().packages, "numpy": "2.1.0"}),
    "duplicate-torch": with_facts(duplicates={"torch": ["2.1.2 (pip)", "2.0.1 (conda)"]}),
    "name-shadowing": with_facts(shadowing_files=["/home/u/torch.py"]),
    "torchvision-mismatch": healthy(packages={**healthy().packages, "torchvision": "0.15.2+cu118"}),
    "torchaudio-mismatch": healthy(packages={**healthy().packages, "torchaudio": "2.0.2+cu118"}),
    "mixed-cuda-majors": healthy(
        packages={**healthy().packages, "nvidia-nccl-cu11": "2.14.3", "nvidia-nccl-cu12": "2.18.1"}
    ),
    "libstdcxx-too-old": with_facts(libstdcxx_lacks=["GLIBCXX_3.4.30"]),
    "cpu-without-avx": with_facts(cpu_flags=["sse4_2"]),
    "glibc-too-old": healthy(os=with_os(glibc="2.5"), torch=Torch(version="2.13.0+cu130", cuda="13.0", source="pip")),
    "windows-missing-runtime-dll": healthy(
        os=OS(id="windows", version="11", platform="windows", arch="x86_64"), facts={"vcruntime": None}
    ),
    "container-no-gpu-flag": healthy(
        os=with_os(container="docker"), driver=Driver(state="missing"), gpus=(), torch=None, packages={}
    ),
    "container-driver-capabilities": healthy(
        os=with_os(container="docker"), env={"NVIDIA_DRIVER_CAPABILITIES": "utility"}
    ),
    "container-cgroup-lost": broken_driver(
        "broken", os=with_os(container="docker"), problems={"driver": "NVML says: Unknown Error"}
    ),
    "wsl1-no-gpu": healthy(os=with_os(wsl="1"), driver=Driver(state="missing"), gpus=(), torch=None, packages={}),
    "wsl-linux-driver-inside": healthy(os=with_os(wsl="2"), facts={"os_packages": {"libnvidia-compute-535": "535"}}),
    "cuda-visible-devices": healthy(env={"CUDA_VISIBLE_DEVICES": "3"}),
    "mig-enabled": with_gpu(mig=True),
    "gpu-exclusive-mode": with_facts(gpu={"0": {"compute_mode": "Exclusive_Process"}}),
    "gpu-out-of-memory": with_facts(gpu={"0": {"memory_used_mib": 24500, "memory_total_mib": 24576}}),
    "host-out-of-memory": with_facts(memory={"available_mib": 100, "total_mib": 64000, "oom_kills": 0}),
    "shm-too-small": healthy(os=with_os(container="docker"), facts={"shm": {"size_mib": 64}}),
    "cuda-toolkit-missing": with_facts(
        build_tools={"nvcc": None, "cc": "/usr/bin/cc"}, cuda_home={"path": "/usr/local/cuda-12.1", "nvcc": False}
    ),
    "cuda-home-mismatch": healthy(toolkits=(Found(version="11.5", path="/usr/local/cuda-11.5"),)),
    "triton-missing": healthy(packages={k: v for k, v in healthy().packages.items() if k != "triton"}),
    "triton-no-compiler": with_facts(build_tools={"cc": None}),
    "triton-no-libcuda": with_facts(loaded_libraries=[{"name": "libcuda.so.1", "path": "/usr/lib/libcuda.so.1"}]),
    "python-headers-missing": with_facts(build_tools={"python_headers": False}),
    "nccl-p2p-acs-iommu": healthy(gpus=healthy().gpus * 2, facts={"acs_bridges": ["0000:00:03.1"]}),
    "nccl-p2p-unsupported-geforce": healthy(gpus=(Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9"),) * 2),
    "fp16-gtx16": with_gpu(name="NVIDIA GeForce GTX 1660 Ti", compute_capability="7.5", tensor_cores=0),
    "amd-gpu": healthy(gpus=(), driver=Driver(state="missing"), facts={"other_gpus": ["AMD Radeon RX 6700 XT"]}),
}
HINTS = {  # live facts that are no fault in themselves
    "cuda-home-mismatch",
}


@pytest.mark.parametrize("row", FORMS, ids=[f"{i}-{r['code']}" for i, r in enumerate(FORMS)])
def test_report_names_its_cause_first(row: dict[str, str]) -> None:
    report = report_of(row["report"])
    assert not [r for r in report.results if r.status == "crash"]
    if row["code"] == "healthy":
        assert codes(report, "fail") == []
        assert report.verdict == "healthy"
    else:
        assert codes(report)[:1] == [row["code"]]


@pytest.mark.parametrize("code", [c for c in FACTS if c not in HINTS])
def test_facts_alone_fire(code: str) -> None:
    report = run_checks(FACTS[code], MATRIX)
    assert not [r for r in report.results if r.status == "crash"]
    assert code in codes(report)


def test_the_healthy_twin_is_quiet() -> None:
    report = run_checks(healthy(), MATRIX)
    assert codes(report) == []
    assert report.verdict == "healthy"


@pytest.mark.parametrize("code", CODES)
def test_every_check_is_quiet_on_an_empty_machine_and_on_the_healthy_one(code: str) -> None:
    for machine in (Machine(), healthy()):
        outcome = CHECKS[CODES.index(code)](View(machine, MATRIX))
        assert outcome.status not in ("fail", "warn", "crash")


def test_every_cause_has_a_check() -> None:
    if not CAUSES.exists():
        pytest.skip("the shared list of causes is not here")
    slugs = {c["slug"] for c in json.loads(CAUSES.read_text(encoding="utf-8"))["causes"]} - {"healthy"}
    assert slugs <= set(CODES)


@pytest.mark.parametrize("check", CHECKS, ids=CODES)
def test_every_docstring_is_a_page(check: object) -> None:
    doc = check.__doc__ or ""
    assert re.match(r".{20,160}\.$", doc.splitlines()[0])
    for name in ("Why", "Fix", "References"):
        assert len(section(doc, name)) > 10, name
    assert all(link.startswith("https://") for link in section(doc, "References").split())


def test_codes_are_unique_and_listed() -> None:
    assert len(set(CODES)) == len(CODES)
    assert [code for _, code, _ in checks_list()] == list(CODES)
    page = checks_page()
    assert all(f"### {code}\n" in page for code in CODES)
    assert set(EXPLAINS) | {e for effects in EXPLAINS.values() for e in effects} <= set(CODES)


def test_unknown_code_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="driver-too-old"):
        check_page("driver-to-old")
    with pytest.raises(UsageError, match="driver-too-old"):
        run_checks(healthy(), MATRIX, only=("driver-to-old",))


def test_only_and_skip() -> None:
    machine = FACTS["driver-too-old"]
    assert [r.code for r in run_checks(machine, MATRIX, only=("driver", "gpu")).results] == ["driver", "gpu"]
    assert "driver-too-old" not in codes(run_checks(machine, MATRIX, skip=("driver-too-old",)))


def test_one_missing_driver_is_one_failure() -> None:
    report = run_checks(FACTS["no-nvidia-driver"], MATRIX)
    assert codes(report, "fail") == ["no-nvidia-driver"]
    assert next(r for r in report.results if r.code == "driver").status == "skip"


def test_no_nvidia_gpu_offers_the_cpu_build_and_never_a_driver() -> None:
    machine = healthy(driver=Driver(state="missing"), gpus=(), torch=None, packages={})
    finding = run_checks(machine, MATRIX).findings[0]
    assert (finding.code, finding.summary) == ("no-nvidia-driver", "no NVIDIA GPU in this machine")
    assert "cpu" in " ".join(finding.fix[0].argv)
    assert not any("driver" in word for step in finding.fix for word in step.argv)


def test_facts_outrank_a_text_that_they_contradict() -> None:
    said = (Symptom(text="RuntimeError: The NVIDIA driver on your system is too old (found version 11040)", line=1),)
    fine = run_checks(healthy(symptoms=said), MATRIX)
    old = run_checks(dataclasses.replace(FACTS["driver-too-old"], symptoms=said), MATRIX)
    strength = {
        name: CHECKS[CODES.index("driver-too-old")](View(r.machine, MATRIX)).strength
        for name, r in (("fine", fine), ("old", old))
    }
    assert strength["fine"] < strength["old"]


def test_a_crashing_check_costs_only_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def driver(view: View) -> Outcome:
        raise RuntimeError("boom")

    changed = tuple(driver if code_of(c) == "driver" else c for c in CHECKS)
    monkeypatch.setattr("envcheck.checks.run.CHECKS", changed)
    report = run_checks(healthy(), MATRIX)
    assert [r.status for r in report.results if r.code == "driver"] == ["crash"]
    assert len(report.results) == len(CHECKS)
    assert report.verdict == "undetermined"


@pytest.mark.parametrize(
    ("machine", "verdict"),
    [
        (healthy(), "healthy"),
        (FACTS["mig-enabled"], "degraded"),
        (FACTS["driver-too-old"], "broken"),
        (Machine(), "undetermined"),
        (Machine(facts={"report": {"kinds": []}}), "undetermined"),
    ],
)
def test_verdicts(machine: Machine, verdict: str) -> None:
    assert run_checks(machine, MATRIX).verdict == verdict


def test_fixes_never_hold_text_of_a_report() -> None:
    evil = "2.1.2+cu121; rm -rf ~ $(reboot)"
    machine = healthy(
        torch=Torch(version=evil, cuda="12.1$(x)", source="pip"),
        packages={"torch": evil, "torchvision": "0.15`id`", "numpy": "2.0;x", "nvidia-nccl-cu11 $(x)": "1"},
        driver=Driver(version="470.82.01;x", state="ok"),
        python=Python(version="3.10;x", executable="/usr/bin/python3"),
        symptoms=(
            Symptom(
                text="#error -- unsupported GNU version! gcc versions later than 12 are not supported! $(x)", line=1
            ),
            Symptom(text="Could not load library libcudnn_ops_infer.so.8; rm -rf ~", line=2),
            Symptom(text="fatal error: Python.h: No such file or directory", line=3),
        ),
    )
    for finding in run_checks(machine, MATRIX).findings:
        for step in finding.fix:
            for word in step.argv:
                assert ARGV_WORD.match(word)
                assert not any(bad in word for bad in ("rm -rf", "reboot)", "`id`", "$(x)", ";x"))


def test_every_fail_proposes_something() -> None:
    for row in FORMS:
        for finding in report_of(row["report"]).findings:
            assert finding.fix or finding.code in GENERIC, finding.code
            assert finding.why and finding.summary


def test_symptom_rows_are_sound() -> None:
    known = {*flags(), "cpu-build", "cuda-build", "gpus", "driver", "cuda-works", "mig"}
    for row in table():
        assert row.code in CODES
        assert row.kind in KINDS
        assert row.source.startswith("https://")
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.date)
        assert {n.lstrip("!") for n in row.needs} <= known, row.code
        for pattern in (row.pattern, *row.also, *row.unless):
            compiled(pattern)
            assert not re.search(r"[^\\\]}][*+](?!\?)\)?[*+]", pattern), pattern


def test_no_rule_speaks_of_one_repository() -> None:
    if not CAUSES.exists():
        pytest.skip("the shared cases are not here")
    for file in CAUSES.parent.glob("*.json"):
        case = json.loads(file.read_text(encoding="utf-8"))
        if "repo" in case and case["repo"] != "pytorch/pytorch":  # the name of an image, too
            name = case["repo"].lower()
            assert not any(name in p.lower() for row in table() for p in (row.pattern, *row.also, *row.unless))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"abc|d[|(]ef|(?:x|y)z", ["abc", "d[|(]ef", "(?:x|y)z"]),
        (r"a\|b", [r"a\|b"]),
    ],
)
def test_alternatives(pattern: str, words: list[str]) -> None:
    assert alternatives(pattern) == words


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"undefined symbol: __nvJit\w+", ("undefined",)),
        (r"colou?r", ("colo",)),
        (r"(?:driver|module) too", ("driver", "module")),
        (r"(?:driver|module)? too", ("too",)),
        (r"[:( ](?:48|79)\b", ()),
        (r"ab{2,3}cdef", ("cdef",)),
        (r"(?!never)abc", ("abc",)),
    ],
)
def test_one_of_the_anchors_is_in_every_match(pattern: str, words: tuple[str, ...]) -> None:
    assert anchors(pattern) == words


@pytest.mark.parametrize(
    ("pattern", "sets"),
    [
        (r"undefined symbol: __nvJit\w+", (("undefined",), ("symbol:",), ("__nvjit",))),
        (r"(?:driver|module)? too (?:old|new)", (("too",), ("old", "new"))),
        (r"[:( ](?:48|79)\b", ()),
    ],
)
def test_every_match_holds_a_word_of_each_set(pattern: str, sets: tuple[tuple[str, ...], ...]) -> None:
    assert required(pattern) == sets


def test_a_pattern_in_lower_case_keeps_its_escapes() -> None:
    assert lowered(r"CUDA[A-Z]\W\S{2}\\Bin\B") == r"cuda[a-z]\W\S{2}\\bin\B"


def test_a_letter_that_grows_in_lower_case_hides_no_symptom() -> None:
    """The dotted capital I becomes two characters, and every place after it another one."""
    lines = [("İ" * 300, 1), ("libcudart.so.12: Undefined Symbol: __nvJitLinkAddData_12_1, version", 2)]
    text = join(lines)
    hit = text.find(r"undefined symbol: (__nvJit\w+)")
    assert hit is not None
    assert hit[1] == "__nvJitLinkAddData_12_1"
    assert text.has(r"undefined symbol: __nvJit\w+")


def test_a_megabyte_is_answered_within_a_second() -> None:
    words = (
        "CUDA error: nvidia driver torch.cuda.is_available() undefined symbol libcudart.so cuDNN NCCL hang docker WSL "
    )
    lines = tuple(Symptom(text=f"{i} {words}", line=i) for i in range(1_000_000 // len(words)))
    started = time.process_time()
    run_checks(Machine(symptoms=lines, facts={"report": {"kinds": []}}), MATRIX)
    assert time.process_time() - started < 3.0  # of the processor: 1 s on an idle core


def test_one_endless_line_is_cut() -> None:
    started = time.process_time()
    run_checks(Machine(symptoms=(Symptom(text="a CUDA_VISIBLE_DEVICES" * 500_000, line=1),)), MATRIX)
    assert time.process_time() - started < 3.0


PIECES = st.one_of(
    st.text(max_size=200),
    st.sampled_from([r["report"] for r in FORMS]),
    st.sampled_from([r["report"][: len(r["report"]) // 2] for r in FORMS]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=6))
def test_no_report_raises(pieces: list[str]) -> None:
    report = report_of("\n".join(pieces))
    assert report.verdict in ("healthy", "degraded", "broken", "undetermined")
    assert not [r for r in report.results if r.status == "crash"]


def test_a_row_from_memory_is_said_to_be_one() -> None:
    old = Machine(
        os=OS(id="ubuntu", version="18.04", platform="linux", arch="x86_64"),
        driver=Driver(version="396.54", state="ok"),
        gpus=(Gpu(name="NVIDIA GeForce RTX 3090", compute_capability="8.6"),),
        python=Python(version="3.7.5"),
        torch=Torch(version="1.7.1", source="pip"),
    )
    told = {f.code: f for f in run_checks(old, MATRIX).findings}
    assert "(unverified: a row of the matrix that was written down from memory)" in told["driver-too-old"].summary
    assert "unverified" in told["gpu-arch-too-new"].evidence[0]
    listed = dataclasses.replace(old, torch=Torch(version="1.8.1", source="pip"))
    told = {f.code: f for f in run_checks(listed, MATRIX).findings}
    assert "unverified" not in told["driver-too-old"].summary


def test_a_matrix_without_a_limit_is_named() -> None:
    from envcheck.matrix import Matrix

    lame = Matrix({**MATRIX.data, "limits": []}, "lame.json")
    machine = Machine(torch=Torch(version="2.2.2"), packages={"numpy": "2.0.0"})
    (crash,) = [r for r in run_checks(machine, lame, only=("numpy2-old-torch",)).results if r.status == "crash"]
    assert "lame.json: section 'limits' has no row 'numpy2_from_torch'" in crash.summary
