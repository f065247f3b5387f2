"""Waiting for saves in an app folder: one answer for the burst of events an editor makes of a save."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: A burst is over when nothing has happened for so long: editors write, rename and change modes within it.
_QUIET_MS = 100
#: Somebody who never stops writing is answered all the same.
_LONGEST_BURST_MS = 1_000
_TURN_MS = 1_000


def changes(root: Path) -> Iterator[bool]:
    """True after each burst of changes in ``root``, and False about once a second while there are none.

    The first is always True: what was saved before the watch began is seen too.
    Hidden files and folders and what editors keep beside a file are passed over.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    import watchfiles

    top = root.resolve()
    is_first = True
    for found in watchfiles.watch(
        top,
        watch_filter=lambda _, path: _is_of_interest(Path(path), top),
        debounce=_LONGEST_BURST_MS,
        step=_QUIET_MS,
        rust_timeout=_TURN_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        yield bool(found) or is_first
        is_first = False


def _is_of_interest(path: Path, top: Path) -> bool:
    parts = path.relative_to(top).parts if path.is_relative_to(top) else path.parts[-1:]
    return not any(part.startswith(".") or part.endswith("~") for part in parts)
