"""A probe that answers from a file: what a machine with GPUs would have measured. ``FAKE_PROBE`` is the JSON's path."""

import json
import os
import sys
import time

FD = int(sys.argv[1])


def say(**item):
    os.write(FD, (json.dumps(item) + "\n").encode())


with open(os.environ["FAKE_PROBE"], encoding="utf-8") as file:
    answers = json.load(file)
say(stage="importing torch")
say(facts={"torch": {"version": "2.4.1+cu121", "cuda": "12.1"}})
line = sys.stdin.readline()
if line.strip():
    job = json.loads(line)
    with open(os.environ["FAKE_PROBE"] + ".jobs", "a", encoding="utf-8") as log:
        log.write(json.dumps(job) + "\n")
    answer = answers.get(job["check"], {"skip": "no answer for " + job["check"]})
    say(stage="answering")
    time.sleep(answer.pop("sleep", 0))
    if "facts" in answer:
        say(facts=answer["facts"])
        say(done=True)
    else:
        say(**answer)
os._exit(0)
