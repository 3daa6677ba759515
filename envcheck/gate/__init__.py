"""gate: doctor and verify judged by a policy, in one run that always ends in time, with many reports.

``policy`` reads what is required, ``run`` looks at the machine in a process that can be ended, ``judge`` adds up,
``combine`` makes one report of it, ``render`` writes the formats.
"""

from __future__ import annotations

from .judge import judge, proofs_of
from .policy import Policy, find_policy, load_policy
from .words import Difference, Gated, Requirement, Stopped

__all__ = [
    "Difference",
    "Gated",
    "Policy",
    "Requirement",
    "Stopped",
    "find_policy",
    "judge",
    "load_policy",
    "proofs_of",
]
