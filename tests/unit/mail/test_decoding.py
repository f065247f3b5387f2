from __future__ import annotations

import codecs
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.mail.decoding import _codec_of, clean, decode_header, decode_strictly, decode_text

#: Every byte, as the stdlib's parser hands it on.
escaped = st.binary().map(lambda content: content.decode("ascii", "surrogateescape"))


def is_unicode(text: str) -> bool:
    return text.encode("utf-8").decode("utf-8") == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Hello", "Hello"),
        (" folded\r\n over\r\n\tlines ", "folded over\tlines"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe_an_alle?=", "Grüße an alle"),
        ("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        ("=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),  # without its padding
        ("=?iso-8859-1*de?q?=FC?=", "ü"),  # RFC 2231 names the language
        ("=?iso-8859-1?q?=80?=", "€"),  # what such senders mean
        ("Re: =?utf-8?q?=C3=BC?= again", "Re: ü again"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?= and =?utf-8?q?b?=", "a and b"),
        ("=?utf-8?b?w7w=?= =?iso-8859-1?q?=FC?=", "üü"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),  # cut in the middle of a character
        ("=?utf-8?q?not decoded", "=?utf-8?q?not decoded"),
        ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("=?no-such-charset?q?=C3=BC?=", "ü"),
        ("=?unicode_escape?q?=5Cud800?=", "\\ud800"),
        ("=?utf-8?q?=00?=", "\x00"),
        ("=?utf-8?b?A?=", ""),
        ("Gr\udcc3\udcbc\udcc3\udc9fe", "Grüße"),  # UTF-8 without a word about it (RFC 6532)
        ("Gr\udcfc\udcdfe", "Gr��e"),
        ("lone \ud800", "lone ?"),
    ],
)
def test_a_header_is_shown_as_people_read_it(raw: str, shown: str) -> None:
    assert decode_header(raw) == shown


@pytest.mark.parametrize(
    ("content", "charset", "text"),
    [
        (b"abc", None, "abc"),
        ("ü€".encode(), None, "ü€"),
        ("ü€".encode(), "us-ascii", "ü€"),
        ("ü€".encode(), "UTF-8", "ü€"),
        (b"\xfc\x80", None, "ü€"),
        (b"\xfc\x80", "utf-8", "ü€"),
        (b"\xfc\x80", "iso-8859-1", "ü€"),
        (b"\xfc\xa4", "iso-8859-15", "ü€"),
        ("日本語".encode("iso-2022-jp"), "ISO-2022-JP", "日本語"),
        ("日本語".encode("cp932"), "shift_jis", "日本語"),
        ("中文".encode("gb18030"), "gb2312", "中文"),
        ("한국어".encode("cp949"), "ks_c_5601-1987", "한국어"),
        ("привет".encode("koi8-r"), '"koi8-r"', "привет"),
        (b"a\xff", "iso-8859-7", "a�"),
        (b"plain", "idna", "plain"),
        (b"plain", "zlib", "plain"),
        (b"\\q", "unicode_escape", "\\q"),
        (b"plain", "utf-8\x00", "plain"),
        (b"plain", "\ud800", "plain"),
        (b"plain", "", "plain"),
    ],
)
def test_a_text_is_decoded_as_declared_or_as_it_most_likely_is(content: bytes, charset: str | None, text: str) -> None:
    assert decode_text(content, charset) == text


def test_bytes_that_are_not_what_they_are_called_are_no_text() -> None:
    assert decode_strictly(b"\xff\xfe\x00", None) is None
    assert decode_strictly(b"\xff\xfe\x00", "utf-8") is None
    assert decode_strictly(b"\xff", "ascii") is None
    assert decode_strictly("ü".encode(), "utf-8") == "ü"


def test_names_of_charsets_do_not_stay_in_memory() -> None:
    import encodings

    cache: dict[str, object] = encodings._cache  # what must not grow
    decode_text(b"x", "utf-8")
    before = len(cache)
    for number in range(50):
        decode_text(b"\xff", f"x-made-up-{number}")
        decode_header(f"=?x-made-up-{number}?q?=FF?=")
    assert len(cache) == before


def test_every_charset_on_the_list_is_one_python_knows() -> None:
    names = (
        "utf-8 utf8 utf-16 utf-16le utf-16-be ascii us-ascii latin1 latin-9 macintosh mac-roman mac-cyrillic tis-620"
    )
    names += " gb2312 gbk gb18030 hz hz-gb-2312 big5 big5-hkscs shift_jis shift-jis sjis euc-jp euc-kr iso-2022-jp"
    names += " iso-2022-jp-2004 iso-2022-kr koi8-r koi8-u koi8-t cp437 cp850 cp866 cp932 windows-31j windows-874"
    names += " iso-8859-8-i iso-8859-6-e iso8859-1 windows-1252 cp1251 ks_c_5601-1987"
    names += "".join(f" iso-8859-{number}" for number in (*range(1, 12), 13, 14, 15, 16))
    for name in names.split():
        codec = _codec_of(name)
        assert codec is not None, name
        codecs.lookup(codec)


@pytest.mark.parametrize(
    "piece", ["=?", "=?a?q?", "=?utf-8?q?a?=", "=?utf-8?b?", "=?utf-8?q?a?= ", "=?aaaaaaaaaaaa?q?"]
)
def test_a_header_made_for_it_does_not_take_longer_than_its_length(piece: str) -> None:
    began = time.process_time()
    decode_header(piece * (500_000 // len(piece)))
    assert time.process_time() - began < 5  # a quadratic search takes minutes


@given(escaped | st.text())
def test_any_header_becomes_unicode(raw: str) -> None:
    assert is_unicode(decode_header(raw))
    assert is_unicode(clean(raw))


@given(st.binary(), st.sampled_from(["b", "q"]), st.sampled_from(["utf-8", "utf-16", "iso-2022-kr", "hz", "big5", "x"]))
def test_any_encoded_word_becomes_unicode(content: bytes, encoding: str, charset: str) -> None:
    word = content.decode("ascii", "surrogateescape")
    assert is_unicode(decode_header(f"=?{charset}?{encoding}?{word}?= =?{charset}?{encoding}?{word}?="))


@given(st.binary(), st.none() | st.text() | st.sampled_from(["utf-16", "utf-16-le", "hz", "iso-2022-jp", "gb18030"]))
def test_any_bytes_become_unicode(content: bytes, charset: str | None) -> None:
    assert is_unicode(decode_text(content, charset))
    strict = decode_strictly(content, charset)
    assert strict is None or is_unicode(strict)
