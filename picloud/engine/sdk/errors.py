"""What a script did wrong when it called us; it can catch these (``e.kind``, ``e.message``).

::

    InvalidInputError (PiCloudError)
    └── ArgumentError       an argument has the right type and a value that cannot be used
"""

from __future__ import annotations

from picloud.errors import InvalidInputError


class ArgumentError(InvalidInputError):
    """Raised when a script hands over a value that cannot be used; wrong types are refused before we are called."""
