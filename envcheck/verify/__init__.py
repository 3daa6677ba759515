"""verify: prove on the GPU that PyTorch works, by numbers against a reference.

``session`` runs the checks of ``table``, each in a fresh process (``run``) of the target interpreter; pure judges
(``numeric``, ``tensor``, ``training``, ``system``, ``trouble``) turn the figures into verdicts; ``gate`` adds them up.
"""

from __future__ import annotations

from .gate import exit_code, verdict_of
from .session import Options, refuse, rehearse, verify
from .table import CHECKS, PLANTS, REQUIRED
from .words import Device, Judged, Rehearsal, Result, Verification

__all__ = [
    "CHECKS",
    "PLANTS",
    "REQUIRED",
    "Device",
    "Judged",
    "Options",
    "Rehearsal",
    "Result",
    "Verification",
    "exit_code",
    "refuse",
    "rehearse",
    "verdict_of",
    "verify",
]
