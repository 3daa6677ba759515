"""How many plans a second the pure planner makes, over a mix of GPUs, drivers and requests. Bar: 500."""

from __future__ import annotations

import itertools
import time

from envcheck.cli.whatif import WhatIf, machine_for
from envcheck.matrix import load
from envcheck.model import Request
from envcheck.plan import make_plan
from envcheck.recipes import load_recipes

GPUS = ("GTX 1080", "RTX 2080 Ti", "RTX 3090", "RTX 4090", "RTX 5090", "Tesla V100-SXM2-32GB", "A100 80GB", "H100 PCIe")
DRIVERS = ("470.82.01", "535.104.05", "550.54.14", "570.86.10", "580.65.06")
TORCHES = ("latest", "2.0", "2.6", ">=2.4,<2.8")


def main() -> None:
    matrix, recipes = load(), load_recipes()
    machines = [
        machine_for(WhatIf(os="ubuntu-22.04", gpus=(g,), driver=d), matrix) for g, d in itertools.product(GPUS, DRIVERS)
    ]
    work = [(m, Request(torch=t)) for m, t in itertools.product(machines, TORCHES)]
    for machine, request in work:
        make_plan(machine, matrix, recipes, request)
    start = time.perf_counter()
    made = refused = 0
    for machine, request in work * 3:
        plan = make_plan(machine, matrix, recipes, request)
        made += plan.satisfiable
        refused += not plan.satisfiable
    took = time.perf_counter() - start
    rate = (made + refused) / took
    print(f"{made + refused} plans ({refused} refusals with alternatives) in {took:.2f} s: {rate:.0f}/s (bar 500)")


if __name__ == "__main__":
    main()
