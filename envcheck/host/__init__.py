"""The machine underneath, as a Protocol: the only place with subprocess, open and environ.

``LiveHost`` looks at this machine, ``RecordingHost`` writes down what was asked, ``RecordedHost`` answers
from such a record. Nothing here judges, and nothing here raises: what cannot be read is ``None``, a command
that cannot be run has ``rc`` None and says why in ``stderr``.
"""

from __future__ import annotations

from .base import READ_LIMIT, CommandResult, Host, PlatformFacts, glob
from .live import LiveHost
from .record import RecordedHost, RecordingHost

__all__ = ["READ_LIMIT", "CommandResult", "Host", "LiveHost", "PlatformFacts", "RecordedHost", "RecordingHost", "glob"]
