from __future__ import annotations

import pytest

from picloud import errors
from picloud.cli.exit_codes import exit_code_of, exit_code_of_run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.PiCloudError("x"), 1),
        (errors.ConfigurationError("x"), 1),
        (errors.SettingsError("x"), 1),
        (errors.InvalidInputError("x"), 1),
        (errors.ManifestError("x"), 1),
        (errors.ScriptError("x", name="a"), 1),
        (errors.PermissionDeniedError("x"), 1),
        (errors.CapacityError("x"), 1),
        (errors.UnavailableError("x"), 1),
        (errors.PiCloudError("x", code="function_failed"), 3),
        (errors.AuthenticationError("x"), 4),
        (errors.NotFoundError("x"), 5),
        (errors.ConflictError("x"), 6),
        (errors.ConflictError("x", code="already_resolved"), 6),
        (errors.UnavailableError("x", code="no_answer"), 7),
        (errors.PiCloudError("x", code="script_timeout"), 7),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_an_error_ends_a_command_with_the_code_of_the_contract(error: errors.PiCloudError, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("status", "error_code", "code"),
    [
        ("completed", None, 0),
        ("failed", "script_failed", 3),
        ("failed", "sandbox_limit_exceeded", 3),
        ("failed", "script_does_not_compile", 3),
        ("failed", "worker_crash", 3),
        ("cancelled", "cancelled", 3),
        ("failed", "script_timeout", 7),
        ("abandoned", None, 7),
        ("running", None, 7),
    ],
)
def test_what_became_of_a_run_decides_how_invoke_ends(status: str, error_code: str | None, code: int) -> None:
    assert exit_code_of_run(status, error_code) == code
