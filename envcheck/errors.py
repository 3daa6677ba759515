"""One exception per way to fail, each with the exit code that a user of the command line sees.

A message says what is wrong, why, and what to do; it never quotes a traceback.
"""

from __future__ import annotations


class EnvcheckError(Exception):
    """Base of every failure that envcheck announces to its user."""

    exit_code = 5


class UsageError(EnvcheckError):
    """The request itself makes no sense (unknown GPU, a CUDA version given as a driver, ...)."""

    exit_code = 2


class Undetermined(EnvcheckError):
    """Something that the answer depends on could not be told. Never a yes."""

    exit_code = 3


class InputError(EnvcheckError):
    """A file that was given is unreadable or invalid (matrix, policy, snapshot, report)."""

    exit_code = 4


class NetworkError(EnvcheckError):
    """An index could not be asked: no network, a refusal, a deadline that passed."""

    exit_code = 3


class ProbeTimeout(Exception):
    """A command or a library call did not answer before its deadline."""
