"""Every error PiCloud raises on purpose, in one tree.

Each class carries a stable ``code`` (what programs match on), whether a caller
may simply try again (``retryable``), and a ``hint`` that says how to fix it.
HTTP statuses are decided in ``picloud_web.problems``, exit codes in
``picloud.cli.exit_codes``: this module knows neither.

::

    PiCloudError
    ├── ConfigurationError      a setting, a file or the machine is not usable
    │   ├── SettingsError       one or more PICLOUD_* values are wrong
    │   ├── SchemaError         the database schema does not fit this release
    │   └── ServerNotFoundError no PostgreSQL or Redis could be found to start
    ├── InvalidInputError       what the caller sent cannot be used
    │   ├── ManifestError       picloud.toml is wrong, with file and place
    │   ├── ScriptError         a script does not compile, with line and column
    │   └── LimitExceededError  it is more than a limit allows
    ├── NotFoundError           the thing named does not exist
    ├── ConflictError           the thing named is in another state by now
    ├── AuthenticationError     no key, or one that is not valid
    ├── PermissionDeniedError   a valid key that may not do this
    ├── CapacityError           no room now; try again after a moment
    └── UnavailableError        PostgreSQL or Redis does not answer
"""

from __future__ import annotations


class PiCloudError(Exception):
    """Base of every error raised on purpose; its message is fit for a person."""

    code: str = "internal_error"
    retryable: bool = False

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class ConfigurationError(PiCloudError):
    """Raised when a setting, a file or the machine itself cannot be used as it is."""

    code = "configuration_error"


class SettingsError(ConfigurationError):
    """Raised when PICLOUD_* variables are wrong; names all of them at once."""

    code = "invalid_settings"


class SchemaError(ConfigurationError):
    """Raised when the database schema is newer, older or altered."""

    code = "schema_mismatch"


class ServerNotFoundError(ConfigurationError):
    """Raised when no PostgreSQL or Redis binary is on the machine."""

    code = "server_not_found"


class InvalidInputError(PiCloudError):
    """Raised when what the caller sent cannot be used; nothing was stored."""

    code = "invalid_input"


class ManifestError(InvalidInputError):
    """Raised when picloud.toml is wrong; the message starts with file and place."""

    code = "invalid_manifest"


class ScriptError(InvalidInputError):
    """Raised when a script does not compile.

    Attributes:
        name: the script's name.
        line: 1-based, 0 when unknown.
        column: 1-based, in characters, 0 when unknown.
    """

    code = "script_does_not_compile"

    def __init__(self, message: str, *, name: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.name = name
        self.line = line
        self.column = column


class NotFoundError(PiCloudError):
    """Raised when the thing named does not exist, or not for this caller."""

    code = "not_found"


class ConflictError(PiCloudError):
    """Raised when the thing named is in another state than the caller assumed."""

    code = "conflict"


class AuthenticationError(PiCloudError):
    """Raised when a request carries no key, or one that is not valid."""

    code = "authentication_required"


class PermissionDeniedError(PiCloudError):
    """Raised when a valid key may not do what was asked."""

    code = "permission_denied"


class LimitExceededError(InvalidInputError):
    """Raised when more was asked for than a limit allows; the same again is refused again."""

    code = "limit_exceeded"


class CapacityError(PiCloudError):
    """Raised when there is no room for more work at this moment.

    Attributes:
        retry_after_seconds: when trying again makes sense.
    """

    code = "no_capacity"
    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: int = 1, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(PiCloudError):
    """Raised when PostgreSQL or Redis does not answer; nothing is known to be stored."""

    code = "storage_unavailable"
    retryable = True
