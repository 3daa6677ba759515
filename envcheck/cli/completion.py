"""``envcheck completion SHELL``: the script that teaches a shell envcheck's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ..errors import UsageError

SHELLS = ("bash", "zsh", "fish", "powershell")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      eval "$(envcheck completion bash)"
      envcheck completion fish > ~/.config/fish/completions/envcheck.fish
    """
    from . import cli

    completer = get_completion_class(shell)
    if completer is None:
        raise UsageError(f"the installed click cannot complete for {shell}: `pip install -U click` brings it")
    click.echo(completer(cli, {}, "envcheck", "_ENVCHECK_COMPLETE").source())
