"""What goes wrong in a test.

::

    PiCloudError
    ├── AssertionFailedError        what a test expected is not so
    ├── NotMockedError              a script called a URL that no mock answers
    ├── NoSuchScriptError           (NotFoundError) a test names a script the app has not
    └── EndlessWorkError            what ran caused more and more to run
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from picloud.errors import NotFoundError, PiCloudError


class AssertionFailedError(PiCloudError):
    """Raised when an assertion of a test does not hold."""

    code = "assertion_failed"


class NotMockedError(PiCloudError):
    """Raised when a call goes to a URL that no ``test::mock_http`` answers."""

    code = "http_not_mocked"


class NoSuchScriptError(NotFoundError):
    """Raised when a test runs a script that the app does not have."""

    code = "script_not_found"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1)
        others = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"
        super().__init__(f"the app has no script {name!r}{others}")


class EndlessWorkError(PiCloudError):
    """Raised when draining does not come to an end."""

    code = "endless_work"
