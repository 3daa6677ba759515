"""Verdict, exit code and every format agree; only a pass meets a requirement; hostile text stays text."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import PurePosixPath
from typing import Any

import pytest
from gating import UUID, doctor, machine, rendering, verification
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.detect.redact import Redactor
from envcheck.gate import Policy, Stopped, judge
from envcheck.gate.github import outputs, summary
from envcheck.gate.lines import NPD_LIMIT, as_nagios, as_npd, style_code
from envcheck.gate.render import FORMATS, Rendering, render
from envcheck.verify import REQUIRED

junitparser: Any = pytest.importorskip("junitparser", reason="junitparser is not installed")
prometheus_parser: Any = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")
STATUSES = ("pass", "warn", "fail", "skip", "unknown", "crash", "timeout")
GITLAB_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^[^/]"},
                    "lines": {"type": "object", "properties": {"begin": {"type": "integer", "minimum": 1}}},
                },
            },
        },
    },
}
EVIL = (
    "\x1b[31mred\x1b[0m ::error::pwned\n::set-output name=x::y\n##[add-path]/tmp ]]> <b>&amp; ```` | x=1 @everyone "
    '\u202e \x00 \x9b31m %0A::stop-commands::z "}\\ \r\n::add-mask::q'
)
POLICIES = st.builds(
    Policy,
    fail_on=st.sampled_from(["fail", "warn"]),
    require=st.none() | st.lists(st.sampled_from([*REQUIRED, "driver", "gpu"]), unique=True).map(tuple),
    gpu_count=st.none() | st.integers(0, 2),
    min_memory_gib=st.none() | st.sampled_from([8.0, 24.0, 48.0]),
    driver_min=st.none() | st.sampled_from(["525.60.13", "590"]),
    torch_spec=st.none() | st.sampled_from([">=2.0", "<2"]),
)


def said_by(name: str, text: str) -> int:
    """The exit code that a reader of this format would conclude."""
    if name == "json":
        data = json.loads(text)
        assert (data["exit_code"] == 0) == (data["verdict"] in ("healthy", "degraded")) or data["exit_code"] == 0
        return int(data["exit_code"])
    if name == "junit":
        (suite,) = junitparser.JUnitXml.fromstring(text.encode())
        results = [result for case in suite for result in case.result]
        failures, errors = suite.failures, suite.errors
        assert failures == sum(isinstance(r, junitparser.Failure) for r in results)
        assert errors == sum(isinstance(r, junitparser.Error) for r in results)
        return 1 if failures else 3 if errors else 0
    if name == "gitlab":
        severities = [issue["severity"] for issue in json.loads(text)]
        return 1 if "critical" in severities else 3 if "major" in severities else 0
    if name == "github":
        verdict = text.splitlines()[-1].rpartition(" ")[2]
        stops = any(line.startswith("::error ") for line in text.splitlines())
        return {"broken": 1, "undetermined": 3}[verdict] if stops else 0
    if name == "prometheus":
        families = {f.name: f for f in prometheus_parser.text_string_to_metric_families(text)}
        (verdict,) = [s.labels["verdict"] for s in families["envcheck_gate_verdict"].samples if s.value == 1]
        code = int(families["envcheck_gate_exit_code"].samples[0].value)
        assert verdict in {0: ("healthy", "degraded", "undetermined"), 1: ("broken",), 3: ("undetermined",)}[code]
        return code
    if name == "nagios":
        assert text.count("\n") == 1 and text.count("|") == 1
        return {"OK": 0, "WARNING": 0, "CRITICAL": 1, "UNKNOWN": 3}[text.split()[1]]
    return int(re.search(r"\(exit (\d)\)", text.replace("\\", ""))[1])  # type: ignore[index]


@settings(max_examples=150, deadline=None)
@given(
    policy=POLICIES,
    looked=st.dictionaries(st.sampled_from(["driver", "gpu", "torch", "fp16-overflow"]), st.sampled_from(STATUSES)),
    proven=st.none() | st.fixed_dictionaries({code: st.sampled_from(STATUSES) for code in REQUIRED}),
    not_applicable=st.booleans(),
    on_undetermined=st.sampled_from(["fail", "pass"]),
    stopped=st.none() | st.builds(Stopped, status=st.sampled_from(["timeout", "crash"]), text=st.just("in: cudnn")),
)
def test_every_format_says_the_same_verdict(
    policy: Policy,
    looked: dict[str, str],
    proven: dict[str, str] | None,
    not_applicable: bool,
    on_undetermined: str,
    stopped: Stopped | None,
) -> None:
    found = verification(proven, not_applicable=not_applicable) if proven is not None else None
    source = rendering(policy, doctor(looked), found, on_undetermined=on_undetermined, stopped=stopped)
    code = source.gated.exit_code
    for name in FORMATS:
        text = render(name, source)
        if name != "npd":
            assert said_by(name, text) == code, name
        else:
            assert text.split(":")[0] == source.gated.verdict
    # the codes for monitoring: 0 only where the gate's own is 0, and the words of their lines say the same
    word = render("nagios", source).split()[1]
    assert style_code(source.gated, "nagios") == {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}[word]
    assert (style_code(source.gated, "nagios") in (0, 1)) == (code == 0)
    assert style_code(source.gated, "npd") == {0: 0, 1: 1, 3: 2}[code]
    if code == 0 and on_undetermined == "fail":
        assert all(r.met for r in source.gated.requirements)
        assert stopped is None
    for r in source.gated.requirements:
        if r.status in ("unknown", "crash", "timeout", "fail"):
            assert not r.met
        if policy.require is not None:
            assert r.met == (r.status == "pass")


@pytest.mark.parametrize("status", ["warn", "fail", "skip", "unknown", "crash", "timeout"])
def test_a_policy_is_met_by_a_pass_alone(status: str) -> None:
    policy = Policy(require=("cudnn",))
    gated = judge(policy, doctor(), verification({"cudnn": status}, not_applicable=True))
    assert gated.exit_code == (1 if status in ("fail", "warn") else 3)
    assert judge(policy, doctor(), verification({"cudnn": "pass"})).exit_code == 0


def test_without_a_policy_a_chip_that_has_no_such_thing_is_no_reason_to_stop() -> None:
    proven = {**dict.fromkeys(REQUIRED, "pass"), "tensor-core-fp16": "skip"}
    assert judge(Policy(), doctor(), verification(proven, not_applicable=True)).exit_code == 0
    assert judge(Policy(), doctor(), verification(proven, not_applicable=False)).exit_code == 3


def test_one_beats_three() -> None:
    proven = {**dict.fromkeys(REQUIRED, "timeout"), "cudnn": "fail"}
    gated = judge(Policy(), doctor({"gpu": "unknown"}), verification(proven))
    assert (gated.verdict, gated.exit_code) == ("broken", 1)


def test_a_healthy_machine_without_the_proofs_is_undetermined() -> None:
    assert judge(Policy(), doctor(), None).exit_code == 3
    assert judge(Policy(require=()), doctor(), None).exit_code == 0


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Policy(require=(), driver_min="580"), 0),
        (Policy(require=(), driver_min="590.44.01"), 1),
        (Policy(require=(), min_memory_gib=24), 0),  # an L4 is sold as 24 GB and shows 22.5 GiB
        (Policy(require=(), min_memory_gib=40), 1),
        (Policy(require=(), min_compute_capability="8.9"), 0),
        (Policy(require=(), min_compute_capability="10.0"), 1),
        (Policy(require=(), gpu_count=2), 1),
        (Policy(require=(), torch_spec=">=2.0"), 0),
        (Policy(require=(), torch_spec=">=2.8"), 1),
    ],
)
def test_the_machine_is_held_to_the_figures_of_the_policy(policy: Policy, code: int) -> None:
    gated = judge(policy, doctor(), None)
    assert gated.exit_code == code
    assert [r.met for r in gated.requirements] == [code == 0]


def test_a_figure_that_is_not_known_is_undetermined() -> None:
    small = doctor(on=machine(memory_mib=None))
    assert judge(Policy(require=(), min_memory_gib=8), small, None).exit_code == 3


@pytest.mark.parametrize("style", [("nagios", {0: 0, 1: 2, 3: 3}), ("npd", {0: 0, 1: 1, 3: 2}), (None, {1: 1, 3: 3})])
def test_exit_styles(style: tuple[str | None, dict[int, int]]) -> None:
    for status, code in (("pass", 0), ("fail", 1), ("unknown", 3)):
        gated = judge(Policy(require=("cudnn",)), doctor(), verification({"cudnn": status}))
        assert gated.exit_code == code
        assert style_code(gated, style[0]) == style[1].get(code, code)
    degraded = judge(Policy(require=()), doctor({"torch": "warn"}), None)
    assert (degraded.verdict, style_code(degraded, "nagios")) == ("degraded", 1)


def hostile() -> Rendering:
    on = machine(name=EVIL)
    policy = Policy(require=("cudnn",), torch_spec=">=3", path=f"/etc/{EVIL}.toml", lines={"torch.spec": 3})
    report = doctor({"torch": "fail", "gpu": "crash"}, on=on, summary=EVIL)
    return rendering(policy, report, verification({"cudnn": "fail"}, on=on, summary=EVIL))


FRAGMENTS = st.sampled_from(
    [
        *(
            "::set-output name=verdict::healthy",
            "::error::x",
            "::stop-commands::x",
            "::add-mask::a",
            "##[add-path]/tmp",
        ),
        *("\n", "\r\n", "\r", "\t", "\0", "\x0b", "\x85", "\u2028", "\x1b]0;t\x07", "\x1b[31m", "\x9b2J", "\u202e"),
        *("]]>", "<failure/>", "&#0;", "<!--", "|", "```", "````", "~~~", "@everyone", "<script>", "[a](javascript:b)"),
        *(
            '"',
            "\\",
            '\\n"} 1',
            "{",
            "%0A",
            "%",
            "'",
            "$(id)",
            "`id`",
            "verdict<<envcheck_",
            "EOF",
            "\ud800",
            "\U0001f600",
            "x",
        ),
    ]
)
HOSTILE = st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("".join)


@settings(max_examples=120, deadline=None)
@given(
    gpu=HOSTILE, host=HOSTILE, path=HOSTILE, summary_=HOSTILE, driver=HOSTILE, status=st.sampled_from(["pass", "fail"])
)
def test_hostile_text_changes_no_verdict_no_command_and_no_series(
    gpu: str, host: str, path: str, summary_: str, driver: str, status: str
) -> None:
    def shown(name: str, node: str, where: str, text: str, version: str) -> tuple[Rendering, dict[str, str]]:
        on = machine(name=name, driver=version)
        policy = Policy(require=("cudnn",), path=where, lines={"require": 2})
        proven = verification({"cudnn": status}, on=on, summary=text)
        source = rendering(policy, doctor({"torch": "warn"}, on=on, summary=text), proven)
        source = dataclasses.replace(source, gated=dataclasses.replace(source.gated, node=node))
        return source, {name: render(name, source) for name in FORMATS}

    tame, plain = shown("NVIDIA L4", "node7", "/etc/p.toml", "as told", "580.95.05")
    wild, texts = shown(gpu, host, path, summary_, driver)
    assert (wild.gated.verdict, wild.gated.exit_code) == (tame.gated.verdict, tame.gated.exit_code)
    for name, text in texts.items():
        text.encode("utf-8")
        if name != "npd":
            assert said_by(name, text) == said_by(name, plain[name]), name
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", text), name
        assert commands_in(text) == commands_in(plain[name]), name
    assert [i["check_name"] for i in json.loads(texts["gitlab"])] == [
        i["check_name"] for i in json.loads(plain["gitlab"])
    ]
    assert all(PurePosixPath(i["location"]["path"]).parts[:1] != ("/",) for i in json.loads(texts["gitlab"]))
    assert series(texts["prometheus"]) == series(plain["prometheus"])
    assert len(texts["npd"].encode()) <= NPD_LIMIT + 1 and texts["npd"].count("\n") == texts["nagios"].count("\n") == 1
    said, before = parse_outputs(outputs(wild.gated)), parse_outputs(outputs(tame.gated))
    assert list(said) == list(before) and said["verdict"] == before["verdict"]


def commands_in(text: str) -> list[str]:
    """What a runner would obey: `::command` after blanks at the head of a line, `##[command]` anywhere."""
    return re.findall(r"^\s*::([\w-]+)", text, re.MULTILINE) + re.findall(r"##\[([\w-]+)", text)


def series(text: str) -> list[str]:
    return [re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")]


def test_hostile_text_gives_no_command_to_a_runner() -> None:
    source = hostile()
    for name in ("text", "github"):
        text = render(name, source)
        commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
        assert all(re.match(r"::(error|warning) title=envcheck", line) for line in commands)
        assert name == "github" or not commands
        assert "##[" not in text
    for name in FORMATS:
        text = render(name, source)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), name
    assert render("nagios", source).count("\n") == 1
    assert len(as_npd(source.gated).encode()) <= NPD_LIMIT + 1
    assert as_nagios(source.gated).count("|") == 1


def test_hostile_text_leaves_xml_and_json_whole() -> None:
    source = hostile()
    ElementTree.fromstring(render("junit", source))
    json.loads(render("json", source))
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.validate(json.loads(render("gitlab", source)), GITLAB_SCHEMA)


def test_hostile_text_sets_no_output_of_its_own() -> None:
    values = parse_outputs(outputs(hostile().gated))
    assert set(values) == {"verdict", "exit-code", "reason", "driver", "cuda", "torch", "gpus", "gpu"}
    assert (values["verdict"], values["exit-code"]) == ("broken", "1")


def parse_outputs(text: str) -> dict[str, str]:
    """``$GITHUB_OUTPUT`` as the runner reads it."""
    values, lines = {}, iter(text.splitlines())
    for line in lines:
        name, _, mark = line.partition("<<")
        body = []
        while (line := next(lines)) != mark:
            body.append(line)
        values[name] = "\n".join(body)
    return values


def test_junitparser_reads_the_junit_report() -> None:
    suites = junitparser.JUnitXml.fromstring(render("junit", hostile()).encode())
    suite = next(iter(suites))
    assert suite.name == "envcheck gate"
    assert suite.tests == len(list(suite)) and suite.failures > 0
    assert next(c for c in suite if c.name == "gate").result


def test_prometheus_client_reads_the_textfile() -> None:
    families = {f.name: f for f in prometheus_parser.text_string_to_metric_families(render("prometheus", hostile()))}
    assert families["envcheck_gate_exit_code"].samples[0].value == 1
    status = families["envcheck_check_status"].samples
    assert {"check": "cudnn", "area": "verify", "gpu": UUID} in [s.labels for s in status]
    seen = [(s.name, tuple(sorted(s.labels.items()))) for f in families.values() for s in f.samples]
    assert len(seen) == len(set(seen))
    assert all(s.timestamp is None for f in families.values() for s in f.samples)


def test_people_see_no_names_and_the_json_keeps_them() -> None:
    hide = Redactor({"HOSTNAME": "secret-node-17", "USER": "marianne"})
    report = doctor({"torch": "fail"}, summary="seen on secret-node-17 by marianne")
    source = rendering(Policy(require=()), report, None, hide=hide)
    for name in ("text", "markdown", "junit", "github", "gitlab", "nagios", "npd"):
        text = render(name, source)
        assert "secret-node-17" not in text and "marianne" not in text and UUID not in text, name
    assert UUID in render("json", source)


def test_a_summary_is_cut_to_what_github_takes() -> None:
    assert len(summary("word \n" * 400_000).encode()) < 1 << 20
    assert summary("short\n") == "short\n"
