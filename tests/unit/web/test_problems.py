from __future__ import annotations

import json
import re
from pathlib import Path

import falcon.asgi
import pytest

import picloud.errors
from picloud.errors import CapacityError, ConflictError, PiCloudError, UnavailableError
from picloud_web import problems


def every_error(of: type[PiCloudError] = PiCloudError) -> list[type[PiCloudError]]:
    """The tree in ``picloud.errors``, configuration aside: no request meets those."""
    below = [each for child in of.__subclasses__() for each in every_error(child)]
    return [of, *below] if of.__module__ == picloud.errors.__name__ else below


# The table of the data plane: what happened, and the status that programs rely on.
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("script_does_not_compile", 422),
        ("request_not_usable", 422),
        ("idempotency_key_reused", 422),
        ("script_failed", 502),
        ("effects_rejected", 502),
        ("worker_crash", 502),
        ("worker_lost", 502),
        ("invalid_response", 502),
        ("no_capacity", 503),
        ("app_paused", 503),
        ("storage_unavailable", 503),
        ("script_timeout", 504),
        ("no_answer", 504),
        ("sandbox_limit_exceeded", 507),
        ("internal_error", 500),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("body_too_large", 413),
        ("idempotency_key_in_use", 409),
        ("authentication_required", 401),
        ("permission_denied", 403),
        ("conflict", 409),
        ("invalid_input", 400),
    ],
)
def test_each_code_has_its_status(code: str, status: int) -> None:
    assert problems.STATUS_BY_CODE[code] == status


def test_every_code_has_a_title() -> None:
    response = falcon.asgi.Response()
    titles: set[str] = set()
    for code in problems.STATUS_BY_CODE:
        problems.write(response, code)
        assert response.data is not None
        titles.add(json.loads(response.data)["title"])
    phrases = {"Bad Gateway", "Unprocessable Entity", "Service Unavailable", "Gateway Timeout"}
    assert not titles & phrases


def test_errors_that_are_not_ours_alone_have_a_status_other_than_500() -> None:
    inside = {"internal_error", "configuration_error", "invalid_settings", "schema_mismatch", "server_not_found"}
    for each in every_error():
        error = each.__new__(each)
        assert (problems.status_of(error) == 500) == (each.code in inside), each


def test_an_unknown_code_takes_the_status_of_its_class() -> None:
    assert problems.status_of(ConflictError("x", code="version_changed")) == 409
    assert problems.status_of(UnavailableError("x", code="no_answer")) == 504


def test_every_503_says_when_to_try_again() -> None:
    response = falcon.asgi.Response()
    problems.write_error(response, CapacityError("full", retry_after_seconds=7))
    assert response.get_header("retry-after") == "7"
    problems.write_error(response, UnavailableError("gone"))
    assert response.get_header("retry-after") == "1"


def test_a_problem_has_all_its_members() -> None:
    response = falcon.asgi.Response()
    problems.write(response, "not_found", "no such app")
    assert response.content_type == "application/problem+json"
    assert response.data is not None
    assert json.loads(response.data) == {
        "type": "urn:picloud:problem:not_found",
        "title": "Not found",
        "status": 404,
        "detail": "no such app",
        "code": "not_found",
        "execution_id": None,
    }


def test_the_documented_codes_have_the_documented_statuses() -> None:
    text = Path("docs/data-plane.md").read_text("utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if re.match(r"\| \d{3}", line)]
    documented = {code: statuses for statuses, codes in rows for code in re.findall(r"`([a-z_]+)`", codes)}
    assert len(documented) > 15
    for code, statuses in documented.items():
        assert str(problems.STATUS_BY_CODE[code]) in statuses, code


def test_statuses_are_decided_in_one_module() -> None:
    folder = Path(problems.__file__).parent
    deciding = [
        path.name
        for path in folder.glob("*.py")
        if path.name not in {"problems.py", "responses.py"} and "STATUS_BY_CODE" in path.read_text("utf-8")
    ]
    assert deciding == []
