"""A probe that misbehaves on purpose: what it does is named by the job's ``check``. No torch; stdlib alone."""

import json
import os
import signal
import subprocess
import sys
import time

FD = int(sys.argv[1])


def say(**item):
    os.write(FD, (json.dumps(item) + "\n").encode())


def sleeper(**kwargs):
    """A grandchild that inherits our environment, and with it the token by which it is found."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **kwargs)


def main():
    say(stage="importing torch")
    say(facts={"torch": {"version": "0.0"}})
    say(stage="waiting for a job")
    job = json.loads(sys.stdin.readline())
    what = (
        job["misbehave"][job["check"]]
        if "misbehave" in job
        else os.environ["MISBEHAVE_" + job["check"].upper().replace("-", "_")]
    )
    say(stage="stage of " + what)
    globals()[what]()
    os._exit(0)


def good():
    say(facts={"sum": 4, "expected_sum": 4, "round_trip": True, "wall_ms": 1.0, "event_ms": None})
    say(done=True)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def aborted():
    sys.stderr.write("terminate called after throwing an instance of 'c10::Error'\n")
    sys.stderr.flush()
    os.abort()


def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


def hang():
    say(facts={"sum": 4})
    time.sleep(600)


def deaf():
    """Ignores every signal that can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(600)


def garbage():
    os.write(FD, b'\x00\xff\xfe{]\nnull\n[1]\n{"stage": 5}\n{"facts": []}\n{"done": "yes"}\n\xff\xff')


def kernel():
    """Sleeps in the kernel, where no signal reaches: the file lies on tests/stuck_files.py's file system."""
    os.stat(os.environ["STUCK_FILE"])


def build():
    """As triton does: starts the compiler, which says on stderr what is wrong, and raises its command only."""
    sys.stderr.write("LC_ALL=" + os.environ["LC_ALL"] + "\n")
    sys.stderr.flush()
    arguments = json.loads(os.environ["BUILD"])
    try:
        subprocess.check_call(["cc", *arguments])
    except (OSError, subprocess.CalledProcessError) as error:
        say(error={"type": type(error).__name__, "text": str(error)})


def flood():
    block = b"x" * 65536
    while True:
        os.write(FD, block)


def silent():
    pass


def code_three():
    os._exit(3)


def raises():
    say(
        error={"type": "RuntimeError", "text": "CUDA error: an illegal memory access was encountered\nCompile with ..."}
    )


def skips():
    say(skip="this chip has no such thing", not_applicable=True)


def done_and_hangs():
    good()
    time.sleep(600)


def holder():
    """Ends well, and leaves a grandchild that holds the pipe."""
    sleeper(pass_fds=(FD,))
    good()


def deserter():
    """Ends well, and leaves a grandchild in a session of its own that holds the pipe."""
    sleeper(pass_fds=(FD,), start_new_session=True)
    good()


def wrong_shapes():
    say(facts={"sum": [], "expected_sum": {}, "round_trip": "yes", "wall_ms": "soon"})
    say(done=True)


main()
