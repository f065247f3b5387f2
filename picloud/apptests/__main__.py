"""``python -m picloud.apptests``: writes the generated part of ``docs/testing.md`` again."""

from __future__ import annotations

from pathlib import Path

from picloud.apptests.sdk import TEST
from picloud.engine.sdk.reference import render_modules, replace_parts


def render_page(page: str) -> str:
    """The page with the reference of what test files can call written anew."""
    return replace_parts(page, {"module": render_modules((TEST,))})


def main() -> None:
    """Entry point."""
    page = Path("docs/testing.md")
    page.write_text(render_page(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
