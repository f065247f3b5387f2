"""What the ``rm`` commands have in common where rows may wait for what is removed."""

from __future__ import annotations

import click

cancel_waiting_option = click.option(
    "--cancel-waiting", is_flag=True, help="Cancel what was accepted for it and has not begun."
)


def rows(count: int) -> str:
    """``1 accepted execution``, ``7 accepted executions``."""
    return f"{count} accepted execution{'' if count == 1 else 's'}"


def messages(count: int) -> str:
    """``1 message``, ``7 messages``."""
    return f"{count} message{'' if count == 1 else 's'}"
