from __future__ import annotations

from pathlib import Path

import pytest

from picloud.mail.bind import Bind, parse_bind


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:2525", Bind("smtp", "127.0.0.1", 2525)),
        ("0.0.0.0:25", Bind("smtp", "0.0.0.0", 25)),
        ("[::1]:2525", Bind("smtp", "::1", 2525)),
        ("localhost:0", Bind("smtp", "localhost", 0)),
        ("lmtp:127.0.0.1:24", Bind("lmtp", "127.0.0.1", 24)),
        ("lmtp:[::]:24", Bind("lmtp", "::", 24)),
    ],
)
def test_a_place_is_read_and_shown_as_it_was_written(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind
    assert str(bind) == text


def test_a_unix_socket_speaks_lmtp() -> None:
    bind = parse_bind("unix:/run/picloud/mail")
    assert (bind.protocol, bind.path, str(bind)) == ("lmtp", Path("/run/picloud/mail"), "unix:/run/picloud/mail")


def test_unless_told_otherwise_only_this_machine_is_listened_to() -> None:
    assert Bind().host == "127.0.0.1"


@pytest.mark.parametrize("text", ["", "2525", ":2525", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"])
@pytest.mark.parametrize("prefix", ["", "lmtp:"])
def test_what_is_no_place_is_refused(text: str, prefix: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT, lmtp:HOST:PORT"):
        parse_bind(prefix + text)


@pytest.mark.parametrize("text", ["::1:2525", "unix:mail", "unix:", "127.0.0.1:²", "[]:25"])
def test_what_is_nearly_a_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_bind(text)
