"""The command line. The only importer of click; each command's module is imported when it is called."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from .. import __version__
from ..errors import EnvcheckError

COMMANDS = {
    "doctor": ("say what is wrong, why, and the command that repairs it", "doctor"),
    "plan": ("choose the build, print a complete install script", "plan"),
    "verify": ("prove on the GPU: CUDA context, cuDNN, Tensor Core FP16 matmul, AMP, and more", "verify"),
    "gate": ("the CI step: doctor and verify judged by a policy, many reports from one run", "gate"),
    "fleet": ("compare the gate reports of many nodes, find the odd ones out", "fleet"),
    "lint": ("find faults in a Dockerfile, compose.yaml, environment.yml, requirements.txt, pyproject.toml", "lint"),
    "init": ("write the CI pieces for github, gitlab, slurm, kubernetes, systemd or pre-commit", "init"),
    "snapshot": ("write this machine down in one file that replays everywhere", "snapshot"),
    "explain": ("print the page of a check, or the list of all", "explain"),
    "gpus": ("the cards: memory, bandwidth, peaks by formula, compared", "gpus"),
    "estimate": ("the GPU memory that a model needs, and what to change to fit", "estimate"),
    "advise": ("the card to take for a model, ranked, with reasons", "advise"),
    "matrix": ("show, validate or refresh the compatibility data", "matrix"),
    "completion": ("print the shell completion script", "completion"),
}
INTERRUPTED, BUG = 130, 5


class LazyGroup(click.Group):
    """Knows its commands by name and one line; imports a module only when its command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[name][1]}", __name__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (text, _) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Commands: {', '.join(COMMANDS)}."
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 yes, 1 no, 2 usage, 3 undetermined, 4 bad input file, 5 a bug in envcheck, 130 interrupted.",
)
@click.version_option(__version__, prog_name="envcheck")
def cli() -> None:
    """Make any NVIDIA machine run PyTorch, and prove it.

    \b
    envcheck plan --torch 2.0 > install.sh    choose the build, print the install script
    bash install.sh                           driver, environment, packages, verification
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: runs the command, prints errors without a traceback, returns the exit code."""
    try:
        result = cli.main(args=None if argv is None else list(argv), standalone_mode=False)
        _flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        _say_quietly(error.show, sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say_quietly(_line, "interrupted")
        return INTERRUPTED
    except EnvcheckError as error:
        _say_quietly(_line, f"envcheck: {error}")
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - the last line of defence: it reports the bug and exits 5
        _say_quietly(_report_bug)
        return BUG


def _flush() -> None:
    sys.stdout.flush()


def _say_quietly(show: Callable[..., None], *arguments: Any) -> None:
    """stderr may be closed (`2>&-`); the exit code still tells."""
    with contextlib.suppress(OSError, ValueError):
        show(*arguments)


def _line(text: str) -> None:
    click.echo(text, err=True)


def _report_bug() -> None:
    import platform
    import traceback

    click.echo("envcheck: this is a bug in envcheck. Please paste the block below into an issue:\n", err=True)
    click.echo("```", err=True)
    click.echo(f"envcheck {__version__}, Python {platform.python_version()}, {platform.platform()}", err=True)
    click.echo(traceback.format_exc().rstrip(), err=True)
    click.echo("```", err=True)


def run() -> None:
    """Console-script entry. The process is short-lived: what the collector would find, its end frees."""
    gc.disable()
    raise SystemExit(main())
