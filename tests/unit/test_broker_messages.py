"""What travels through Redis: messages that Dramatiq reads, and replies."""

from __future__ import annotations

import uuid

import pytest
from dramatiq.message import Message
from hypothesis import given
from hypothesis import strategies as st

from picloud.broker import ACTOR_NAME, INLINE_REPLY_BYTES, QUEUE_NAME, Reply, decode_message, encode_message, rows_in

PAIR = (uuid.UUID("01a1fbd8-4d29-7476-8577-3a44002f20e9"), 42)


def test_dramatiq_reads_our_messages() -> None:
    message = Message.decode(encode_message([PAIR], estimated_ms=5, payload_bytes=17))
    assert (message.queue_name, message.actor_name) == (QUEUE_NAME, ACTOR_NAME)
    assert list(message.args) == [[[PAIR[0].hex, PAIR[1]]]]


@given(
    st.lists(st.tuples(st.uuids(), st.integers(0, 2**53)), min_size=1, max_size=20),
    st.integers(0, 10**6),
    st.integers(0, 10**9),
)
def test_a_message_says_what_was_put_in(pairs: list[tuple[uuid.UUID, int]], milliseconds: int, size: int) -> None:
    content = decode_message(encode_message(pairs, estimated_ms=milliseconds, payload_bytes=size))
    assert content.pairs == tuple(pairs)
    assert (content.estimated_ms, content.payload_bytes) == (milliseconds, size)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'{"actor_name":"other","args":[[["01a1fbd84d29747685773a44002f20e9",1]]],"kwargs":{}}',
        b'{"actor_name":"execute","args":[],"kwargs":{}}',
        b'{"actor_name":"execute","args":[[]],"kwargs":{}}',
        b'{"actor_name":"execute","args":[[["not an id",1]]],"kwargs":{}}',
        b'{"actor_name":"execute","args":[[["01a1fbd84d29747685773a44002f20e9","1"]]],"kwargs":{}}',
        b'{"actor_name":"execute","args":[[["01a1fbd84d29747685773a44002f20e9",-1]]],"kwargs":{}}',
        b'{"actor_name":"execute","args":[[["01a1fbd84d29747685773a44002f20e9",1]]],"kwargs":7}',
    ],
)
def test_junk_is_refused_with_a_reason(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        decode_message(junk)


def test_unreadable_messages_do_not_hide_the_others() -> None:
    good = encode_message([PAIR], estimated_ms=1, payload_bytes=1)
    assert rows_in([b"junk", good]) == {PAIR[0]}


@given(st.binary(max_size=2_000), st.sampled_from(["json", "text", "blob", "response"]))
def test_a_reply_carries_its_data_byte_for_byte(data: bytes, kind: str) -> None:
    reply = Reply(PAIR[0], "completed", kind, 201, (("x-a", "1"), ("x-a", "2")), data)
    assert Reply.decode(reply.encode()) == reply


def test_a_large_answer_stays_in_postgresql() -> None:
    reply = Reply(PAIR[0], "completed", "blob", data=b"x" * (INLINE_REPLY_BYTES + 1))
    assert len(reply.encode()) < 1_000
    assert Reply.decode(reply.encode()).data is None


def test_a_failed_run_says_why() -> None:
    reply = Reply(PAIR[0], "failed", error={"code": "script_failed", "message": "no luck"})
    assert Reply.decode(reply.encode()).error == {"code": "script_failed", "message": "no luck"}
