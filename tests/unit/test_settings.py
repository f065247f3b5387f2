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


def test_mail_is_configured_by_three_settings_each_of_which_may_be_empty() -> None:
    given = {
        "PICLOUD_SMTP_BIND": "lmtp:[::1]:24",
        "PICLOUD_SMTP_URL": "smtps://ada:secret@mail.example",
        "PICLOUD_MAIL_FROM": "PiCloud <picloud@example.org>",
    }
    settings = load_settings(given)
    assert (settings.smtp_bind, settings.smtp_url, settings.mail_from) == tuple(given.values())
    shown = describe(settings)
    assert "secret" not in str(shown)
    assert shown["mail_from"] == "PiCloud <picloud@example.org>"
    assert load_settings(dict.fromkeys(given, "") | {"HOME": "/h"}) == load_settings({"HOME": "/h"})


def test_wrong_mail_settings_are_named_together() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            {
                "PICLOUD_SMTP_BIND": "2525",
                "PICLOUD_SMTP_URL": "mail.example:25",
                "PICLOUD_MAIL_FROM": "picloud",
            }
        )
    message = caught.value.message
    assert "PICLOUD_SMTP_BIND='2525': expected HOST:PORT, lmtp:HOST:PORT or unix:/PATH" in message
    assert "PICLOUD_SMTP_URL='…': expected smtp://HOST" in message
    assert "PICLOUD_MAIL_FROM='picloud': expected an address" in message


def test_mail_needs_a_sender() -> None:
    for given in ({}, {"PICLOUD_MAIL_FROM": ""}):
        with pytest.raises(SettingsError, match="PICLOUD_MAIL_FROM is not set, but PICLOUD_SMTP_URL is"):
            load_settings({"PICLOUD_SMTP_URL": "smtp://localhost", **given})


@pytest.mark.parametrize(
    "url",
    [
        "smtp://ada:secret",
        "smtp://ada:x@secret:y",
        "smtp://ada:secret@host:x",
        "smtp://ada:se#secret@host",
        "ada:secret@host",
        "secret",
    ],
)
def test_a_mail_password_is_never_shown_wherever_it_stands(url: str) -> None:
    with pytest.raises(SettingsError, match="PICLOUD_SMTP_URL=") as caught:
        load_settings({"PICLOUD_SMTP_URL": url, "PICLOUD_MAIL_FROM": "picloud@example.org"})
    assert "secret" not in caught.value.message


def test_variables_of_others_are_left_alone() -> None:
    assert load_settings({"PICLOUD_TOKEN": "x", "PATH": "/bin", "HOME": "/h"}) == load_settings({"HOME": "/h"})
