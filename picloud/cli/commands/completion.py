"""``picloud completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from picloud.cli.help import example

_SHELLS = ("bash", "zsh", "fish")


@example(
    "picloud completion bash > ~/.local/share/bash-completion/completions/picloud",
    "picloud completion zsh > ~/.zfunc/_picloud",
    "picloud completion fish > ~/.config/fish/completions/picloud.fish",
)
@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print a shell's completion script."""
    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None, "click.Choice lets only known shells through"
    # Without asking bash for its version, as kind.source() of bash does: nothing is run here.
    made = kind(root, {}, "picloud", "_PICLOUD_COMPLETE")
    click.echo(made.source_template % made.source_vars())
