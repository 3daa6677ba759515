"""The Slurm pieces on a real Slurm of two nodes on this machine (munged, slurmctld, two slurmd), with a played gate."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_gate_run import has_gpu

TEMPLATES = Path(__file__).resolve().parent.parent / "installers" / "templates" / "slurm"
ROOT = TEMPLATES.parent.parent.parent
DAEMONS = ("munged", "slurmctld", "slurmd", "scontrol", "srun", "sbatch", "unshare", "hostname")
PATH = f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Slurm is for Linux")]

CONF = """\
ClusterName=rehearsal
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/ctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/ctld.log
SlurmdLogFile={root}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SchedulerType=sched/backfill
ReturnToService=2
MpiDefault=none
GresTypes=gpu
Prolog={root}/envcheck-prolog.sh
HealthCheckProgram={root}/envcheck-healthcheck.sh
HealthCheckInterval=2
HealthCheckNodeState=ANY
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 Gres=gpu:1 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 Gres=gpu:1 State=UNKNOWN
NodeName=n3 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[3]} CPUs=1 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES State=UP
PartitionName=cpu Nodes=n3 State=UP
"""
NODES = ("n1", "n2", "n3")
# the gate of each node says what stands in the file of its name: "code message"; or it is the real one: "real"
GATE = """\
#!/bin/bash
[[ "$1" == gate ]] || exit 9
read -r code said < {root}/gate.$SLURMD_NODENAME
[[ $code != real ]] || PYTHONPATH={checkout} exec {python} -m envcheck "$@"
printf '%s\\n' "$said"
exit "$code"
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.2)
    return False


class Cluster:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"PATH": PATH, "SLURM_CONF": str(root / "slurm.conf"), "HOME": str(root)}
        self.processes: list[subprocess.Popen[bytes]] = []

    def prepare(self) -> None:
        (self.root / "state").mkdir()
        (self.root / "slurm.conf").write_text(CONF.format(root=self.root, ports=free_ports(4)))
        (self.root / "gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/null\n")
        (self.root / "munge.key").write_bytes(os.urandom(128))
        (self.root / "munge.key").chmod(0o400)
        (self.root / "envcheck").write_text(GATE.format(root=self.root, python=sys.executable, checkout=ROOT))
        for name in ("envcheck-prolog.sh", "envcheck-healthcheck.sh"):
            text = (TEMPLATES / name).read_text().replace("/opt/envcheck/bin/envcheck", str(self.root / "envcheck"))
            text = text.replace("/etc/envcheck/policy-fast.toml", str(TEMPLATES.parent / "policy-fast.toml"))
            # slurmd hands SLURM_CONF to a prolog and not to a health check, which finds /etc/slurm/slurm.conf by itself
            text = text.replace("export PATH=", f"export SLURM_CONF={self.root}/slurm.conf PATH=")
            (self.root / name).write_text(text)
        for name in ("envcheck", "envcheck-prolog.sh", "envcheck-healthcheck.sh"):
            (self.root / name).chmod(0o755)
        for node in NODES:
            self.gate(node, 0, "healthy")

    def gate(self, node: str, code: int | str, said: str) -> None:
        temporary = self.root / f"gate.{node}.new"
        temporary.write_text(f"{code} {said}\n")
        temporary.replace(self.root / f"gate.{node}")

    def start(self) -> None:
        root = self.root
        munge = ["--foreground", "--force", f"--key-file={root}/munge.key", f"--socket={root}/munge.socket"]
        files = [f"--pid-file={root}/munge.pid", f"--log-file={root}/munge.log", f"--seed-file={root}/munge.seed"]
        self._daemon(["munged", *munge, *files])
        if not wait_for((root / "munge.socket").exists, 10):
            raise RuntimeError("munged did not start")
        self._daemon(["slurmctld", "-D", "-i"])
        for node in NODES:  # each with a host name of its own, as on a cluster
            self._daemon(["unshare", "--uts", "sh", "-c", f"hostname {node} && exec slurmd -D -N {node}"])

    def _daemon(self, argv: list[str]) -> None:
        with (self.root / f"{argv[0]}.out").open("ab") as out:
            executable = shutil.which(argv[0], path=PATH) or argv[0]
            self.processes.append(
                subprocess.Popen([executable, *argv[1:]], env=self.env, stdout=out, stderr=out, start_new_session=True)
            )

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def run(self, *argv: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(argv), env=self.env, capture_output=True, text=True, timeout=timeout, check=False, cwd=self.root
        )

    def state(self, node: str) -> tuple[str, str]:
        """(state, reason) as the controller has them."""
        line = self.run("scontrol", "show", "node", node, "--oneliner").stdout
        state = re.search(r"\bState=(\S+)", line)
        reason = re.search(r"\bReason=(.*?)(?: \[|$)", line)
        return (state[1] if state else ""), (reason[1] if reason else "")

    def is_idle(self, node: str) -> bool:
        return self.state(node)[0] in ("IDLE", "IDLE+CLOUD")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [name for name in DAEMONS if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"Slurm is not installed here: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("slurmd needs root")
    root = tmp_path_factory.mktemp("slurm")
    for folder in (root, *root.parents):
        if folder.stat().st_uid == 0 and str(folder) not in ("/", "/tmp"):
            folder.chmod(0o755)  # munged refuses a socket below folders that others cannot enter
    cluster = Cluster(root)
    cluster.prepare()
    try:
        cluster.start()
        if not wait_for(lambda: all(map(cluster.is_idle, NODES)), 40):
            logs = "\n".join(p.read_text(errors="replace")[-1500:] for p in sorted(root.glob("*.log")))
            pytest.skip(f"Slurm did not come up here: {cluster.state('n1')}\n{logs}")
        yield cluster
    finally:
        cluster.stop()


def test_the_health_check_drains_the_broken_node_and_lifts_its_own_drain(cluster: Cluster) -> None:
    cluster.gate("n1", 1, "broken: gpu-fell-off-bus: GPU 0 is gone; State=RESUME $(id)")
    assert wait_for(lambda: "DRAIN" in cluster.state("n1")[0], 20), cluster.state("n1")
    reason = cluster.state("n1")[1]
    assert reason.startswith("envcheck: broken: gpu-fell-off-bus: GPU 0 is gone") and "$" not in reason
    assert cluster.is_idle("n2")
    cluster.gate("n1", 3, "undetermined: cudnn")
    time.sleep(5)
    assert "DRAIN" in cluster.state("n1")[0]
    cluster.gate("n1", 0, "healthy")
    assert wait_for(lambda: cluster.is_idle("n1"), 20), cluster.state("n1")


def test_the_health_check_leaves_the_drain_of_a_person_alone(cluster: Cluster) -> None:
    assert cluster.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=disk is full").returncode == 0
    time.sleep(5)
    state, reason = cluster.state("n2")
    assert "DRAIN" in state and reason == "disk is full"
    assert cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME").returncode == 0
    assert wait_for(lambda: cluster.is_idle("n2"), 20)


def test_the_prolog_lets_a_job_run_on_a_node_that_could_not_be_told(cluster: Cluster) -> None:
    cluster.gate("n1", 3, "undetermined: it took too long")
    done = cluster.run("srun", "-w", "n1", "--gres=gpu:1", "-t", "1", "/bin/echo", "ran", timeout=60)
    assert done.stdout.strip() == "ran", done.stderr
    assert "DRAIN" not in cluster.state("n1")[0]
    cluster.gate("n1", 0, "healthy")


def test_the_prolog_keeps_a_job_off_a_broken_node(cluster: Cluster) -> None:
    mark = cluster.root / "ran"
    cluster.run("scontrol", "update", "NodeName=n1", "State=RESUME")
    cluster.gate("n1", 1, "broken: no GPU")
    done = cluster.run("sbatch", "-w", "n1", "--gres=gpu:1", "-t", "1", "--wrap", f"touch {mark}")
    job = re.search(r"(\d+)", done.stdout)
    assert job, done.stderr
    try:
        assert wait_for(lambda: "DRAIN" in cluster.state("n1")[0], 30), cluster.state("n1")
        assert cluster.state("n1")[1].startswith("envcheck: broken: no GPU")
        time.sleep(2)
        assert not mark.exists()
    finally:
        cluster.run("scancel", job[1])
        cluster.gate("n1", 0, "healthy")


def test_the_health_check_leaves_a_node_without_gpus_alone(cluster: Cluster) -> None:
    cluster.gate("n3", 1, "broken: no GPU")
    time.sleep(5)
    assert cluster.is_idle("n3")


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_the_real_gate_drains_a_node_whose_gpu_is_not_there(cluster: Cluster) -> None:
    cluster.gate("n2", "real", "")
    try:
        assert wait_for(lambda: "DRAIN" in cluster.state("n2")[0], 40), cluster.state("n2")
        assert cluster.state("n2")[1].startswith("envcheck: broken: ")
    finally:
        cluster.gate("n2", 0, "healthy")
    assert wait_for(lambda: cluster.is_idle("n2"), 20), cluster.state("n2")


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_one_report_a_node_and_the_fleet_of_them(cluster: Cluster) -> None:
    """The line of docs/gate.md, word for word but for the folder of ``envcheck``."""
    line = "srun --ntasks-per-node=1 envcheck gate --report json=reports/%N.json"
    assert f"`{line}`" in (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    for node in NODES:
        cluster.gate(node, "real", "")
    path = f"{cluster.root}:{PATH}"
    done = cluster.run("env", f"PATH={path}", "sh", "-c", line.replace("srun", "srun -N2 -t 1"), timeout=90)
    for node in NODES:
        cluster.gate(node, 0, "healthy")
    reports = cluster.root / "reports"
    assert sorted(p.name for p in reports.iterdir()) == ["n1.json", "n2.json"], done.stderr
    merge = [sys.executable, "-m", "envcheck", "fleet", "merge", str(reports), "--expect", "2", "--format", "json"]
    merged = subprocess.run(merge, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    data = json.loads(merged.stdout)
    assert (merged.returncode, data["nodes"], data["verdicts"], data["damaged"]) == (1, 2, {"broken": 2}, [])
