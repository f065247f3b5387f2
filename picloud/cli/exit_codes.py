"""What a shell is told when a command ends: the one place where exit codes are decided."""

from __future__ import annotations

from enum import IntEnum

from picloud.errors import AuthenticationError, ConflictError, NotFoundError, PiCloudError


class ExitCode(IntEnum):
    """The codes of every ``picloud`` command."""

    OK = 0
    FAILED = 1
    #: The command line itself makes no sense.
    USAGE = 2
    #: The command did its work, and the function it ran failed.
    FUNCTION_FAILED = 3
    LOGIN_NEEDED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    TIMED_OUT = 7
    #: Ctrl-C, as a shell reports it.
    INTERRUPTED = 130


#: By the error's code, before its class is asked.
_BY_CODE = {
    "function_failed": ExitCode.FUNCTION_FAILED,
    "script_timeout": ExitCode.TIMED_OUT,
    "no_answer": ExitCode.TIMED_OUT,
}
_BY_CLASS: tuple[tuple[type[PiCloudError], ExitCode], ...] = (
    (AuthenticationError, ExitCode.LOGIN_NEEDED),
    (NotFoundError, ExitCode.NOT_FOUND),
    (ConflictError, ExitCode.CONFLICT),
)


def exit_code_of(error: PiCloudError) -> ExitCode:
    """The exit code of a command that ended with ``error``."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), ExitCode.FAILED)


def exit_code_of_run(status: str, error_code: str | None) -> ExitCode:
    """The exit code of ``invoke``: what became of the run it asked for.

    Args:
        status: of the execution.
        error_code: of the run's error, when it has one.
    """
    if status == "completed":
        return ExitCode.OK
    if status in {"pending", "running", "abandoned"} or _BY_CODE.get(error_code or "") is ExitCode.TIMED_OUT:
        return ExitCode.TIMED_OUT
    return ExitCode.FUNCTION_FAILED
