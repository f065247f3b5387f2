"""Settings: every problem is told at once, and nothing is taken that nobody knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from picloud.errors import SettingsError
from picloud.settings import Settings, describe, load_settings


def test_without_variables_the_defaults_hold() -> None:
    settings = load_settings({"HOME": "/srv/ada"})
    assert settings == Settings(data_dir=Path("/srv/ada/.local/share/picloud"))
    assert (settings.bind_host, settings.bind_port, settings.base_url) == ("127.0.0.1", 8000, "http://127.0.0.1:8000")


def test_variables_reach_the_groups_they_belong_to() -> None:
    settings = load_settings(
        {
            "PICLOUD_TRIGGER_RETRY_BACKOFF": "linear",
            "PICLOUD_TRIGGER_RETRY_MAX_ATTEMPTS": "7",
            "PICLOUD_SANDBOX_MAX_TIMEOUT_SECONDS": "2.5",
            "PICLOUD_TRUSTED_PROXIES": "10.0.0.1, 192.168.0.0/16",
            "PICLOUD_PUBLIC_URL": "https://cloud.example/",
        }
    )
    assert (settings.retry.backoff, settings.retry.max_attempts) == ("linear", 7)
    assert settings.sandbox.max_timeout_seconds == 2.5
    assert settings.trusted_proxies == ("10.0.0.1", "192.168.0.0/16")
    assert settings.base_url == "https://cloud.example"


def test_every_wrong_setting_is_named_with_its_value_and_what_was_expected() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            {
                "PICLOUD_BIND": "nowhere",
                "PICLOUD_WORKER_THREADS": "0",
                "PICLOUD_TRIGGER_RETRY_BACKOFF": "random",
                "PICLOUD_REDIS_URL": "http://host",
                "PICLOUD_TRUSTED_PROXIES": "somebody",
            }
        )
    message = caught.value.message
    assert "PICLOUD_BIND='nowhere': expected HOST:PORT" in message
    assert "PICLOUD_WORKER_THREADS='0': expected a whole number from 1 to 256" in message
    assert "PICLOUD_TRIGGER_RETRY_BACKOFF='random': expected exponential, linear or constant" in message
    assert (
        "PICLOUD_REDIS_URL='http://host': expected a URL that starts with redis:// or rediss:// or unix://" in message
    )
    assert "PICLOUD_TRUSTED_PROXIES='somebody'" in message


@pytest.mark.parametrize(
    ("name", "suggestion"), [("PICLOUD_WORKER_THREAD", "PICLOUD_WORKER_THREADS"), ("PICLOUD_NONSENSE", "")]
)
def test_an_unknown_name_is_refused(name: str, suggestion: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: "1"})
    assert f"{name}: no such setting" in caught.value.message
    assert (f"did you mean {suggestion}?" in caught.value.message) == bool(suggestion)


def test_a_password_is_never_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"PICLOUD_DATABASE_URL": "mysql://ada:secret@host/db"})
    assert "secret" not in caught.value.message
    shown = describe(Settings(database_url="postgresql://ada:secret@host/db"))
    assert "secret" not in str(shown)


def test_variables_of_others_are_left_alone() -> None:
    assert load_settings({"PICLOUD_TOKEN": "x", "PATH": "/bin", "HOME": "/h"}) == load_settings({"HOME": "/h"})
