from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picloud.errors import AuthenticationError, ConfigurationError, InvalidInputError, NotFoundError
from picloud.profiles import Profile, config_path, load_profile, load_profiles, save_profile, use_profile

LOCAL = Profile("http://127.0.0.1:8000", "pic_local")
REMOTE = Profile("https://picloud.example.org", "pic_remote")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PICLOUD_CONFIG": str(tmp_path / "deep" / "config.toml")}


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HOME": "/h"}, "/h/.config/picloud/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "/x/picloud/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x", "PICLOUD_CONFIG": "/p/c.toml"}, "/p/c.toml"),
    ],
)
def test_the_file_is_where_the_xdg_specification_says(environ: dict[str, str], path: str) -> None:
    assert str(config_path(environ)) == path


def test_what_was_saved_is_loaded_again(environ: dict[str, str]) -> None:
    save_profile("local", LOCAL, environ)
    save_profile("remote", REMOTE, environ, make_current=False)
    assert load_profile(environ) == LOCAL
    assert load_profile(environ, "remote") == REMOTE


def test_the_first_profile_is_current_whatever_was_asked(environ: dict[str, str]) -> None:
    save_profile("remote", REMOTE, environ, make_current=False)
    assert load_profile(environ) == REMOTE


def test_saving_again_replaces(environ: dict[str, str]) -> None:
    save_profile("local", LOCAL, environ)
    save_profile("local", REMOTE, environ)
    assert load_profiles(environ).by_name == {"local": REMOTE}


def test_using_another_changes_only_which_is_current(environ: dict[str, str]) -> None:
    save_profile("remote", REMOTE, environ)
    save_profile("local", LOCAL, environ)
    assert use_profile("remote", environ) == REMOTE
    assert load_profiles(environ).current == "remote"
    assert load_profile(environ, "local") == LOCAL


def test_the_environment_wins_over_the_file(environ: dict[str, str]) -> None:
    save_profile("local", LOCAL, environ)
    given = environ | {"PICLOUD_URL": "http://other:1/", "PICLOUD_TOKEN": "pic_other"}
    assert load_profile(given) == Profile("http://other:1", "pic_other")


def test_a_name_wins_over_the_environment(environ: dict[str, str]) -> None:
    save_profile("local", LOCAL, environ)
    given = environ | {"PICLOUD_URL": "http://other:1", "PICLOUD_TOKEN": "pic_other"}
    assert load_profile(given, "local") == LOCAL


@pytest.mark.parametrize("name", ["PICLOUD_URL", "PICLOUD_TOKEN"])
def test_half_of_a_profile_in_the_environment_is_refused(environ: dict[str, str], name: str) -> None:
    save_profile("local", LOCAL, environ)
    with pytest.raises(AuthenticationError, match=f"{name} is set but"):
        load_profile(environ | {name: "x"})


def test_without_any_profile_the_error_says_how_to_get_one(environ: dict[str, str]) -> None:
    with pytest.raises(AuthenticationError) as caught:
        load_profile(environ)
    assert caught.value.hint == "start a platform here with `picloud up`, or name one with `picloud login URL`"


def test_an_unknown_name_is_answered_with_the_known_ones(environ: dict[str, str]) -> None:
    save_profile("local", LOCAL, environ)
    with pytest.raises(NotFoundError) as caught:
        load_profile(environ, "locl")
    assert caught.value.hint == "known: local; `picloud login URL` adds one"


def test_only_its_owner_can_read_the_file_whatever_the_umask(environ: dict[str, str]) -> None:
    before = os.umask(0)
    try:
        path = save_profile("local", LOCAL, environ)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_others_could_read_is_replaced_by_one_they_cannot(environ: dict[str, str]) -> None:
    path = save_profile("local", LOCAL, environ)
    path.chmod(0o644)
    save_profile("remote", REMOTE, environ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_profile("local", LOCAL, environ)
    before = path.read_text()

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        save_profile("remote", REMOTE, environ)
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "text", ["current = ", "[profiles.local]\nurl = 'x'\n", "profiles = 3\n", "[profiles]\nlocal = 'x'\n"]
)
def test_a_broken_file_is_named(environ: dict[str, str], text: str) -> None:
    path = config_path(environ)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_profile(environ)
    assert caught.value.message.startswith(str(path))


def test_a_key_is_not_shown_where_a_profile_is_printed() -> None:
    assert "pic_" not in repr(LOCAL)


@pytest.mark.parametrize("profile", [Profile("http://x\n", "k"), Profile("http://x", "k\x00")])
def test_what_cannot_be_printed_is_not_saved(environ: dict[str, str], profile: Profile) -> None:
    with pytest.raises(InvalidInputError):
        save_profile("local", profile, environ)
    assert not config_path(environ).exists()


PRINTABLE = st.text(min_size=1).filter(str.isprintable)


@settings(max_examples=30)  # each one waits for the disk
@given(name=PRINTABLE, url=PRINTABLE, token=PRINTABLE)
def test_any_printable_name_url_and_key_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, name: str, url: str, token: str
) -> None:
    environ = {"PICLOUD_CONFIG": str(tmp_path_factory.mktemp("config") / "config.toml")}
    save_profile(name, Profile(url, token), environ)
    assert load_profile(environ, name) == Profile(url, token)
    assert load_profile(environ) == Profile(url, token)
