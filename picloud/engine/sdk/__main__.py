"""``python -m picloud.engine.sdk``: writes the generated parts of the reference page again.

With ``--definitions`` it prints ``picloud.d.rhai`` instead.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from picloud.engine.sdk.definitions import render_definitions
from picloud.engine.sdk.reference import render_page


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m picloud.engine.sdk", description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=Path("docs/scripts.md"), help="default: %(default)s")
    parser.add_argument("--definitions", action="store_true", help="print picloud.d.rhai instead")
    arguments = parser.parse_args()
    if arguments.definitions:
        sys.stdout.write(render_definitions())
        return
    page: Path = arguments.page
    page.write_text(render_page(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
