from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.ids import new_id
from picloud.observability.traceparent import (
    TraceContext,
    parse_traceparent,
    span_of_request,
    span_of_run,
    trace_of_run,
)

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEX = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]")

contexts = st.builds(
    TraceContext,
    st.integers(1, (1 << 128) - 1).map("{:032x}".format),
    st.integers(1, (1 << 64) - 1).map("{:016x}".format),
    st.integers(0, 3),
)


@given(contexts)
def test_what_is_written_is_read_back(context: TraceContext) -> None:
    assert HEX.fullmatch(context.header)
    assert parse_traceparent(context.header) == context


@given(st.text(st.sampled_from("0123456789abcdefABCDEF- ,\n\0ü"), max_size=70) | st.text(max_size=70))
def test_whatever_comes_is_read_or_ignored(text: str) -> None:
    found = parse_traceparent(text)
    assert found is None or HEX.fullmatch(found.header)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-a-b-01",
        VALID.upper(),
        VALID + "-more",
        VALID + "\n",
        f"{VALID},{VALID}",
        "ff" + VALID[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473٣-00f067aa0ba902b7-01",
    ],
)
def test_what_the_standard_calls_invalid_is_ignored(text: str | None) -> None:
    assert parse_traceparent(text) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    found = parse_traceparent("cc" + VALID[2:-2] + "f1-what-comes-then")
    assert found is not None
    assert found.header == VALID


def test_a_run_that_nothing_brought_a_trace_to_is_in_the_trace_of_its_root() -> None:
    root, child = new_id(), new_id()
    first = trace_of_run(root, root, parent=None, brought=None)
    assert first.context.trace_id == root.hex
    assert first.context.is_sampled
    assert first.parent is None
    below = trace_of_run(child, root, parent=root, brought=None)
    assert below.context.trace_id == root.hex
    assert below.parent == first.context


def test_a_trace_that_was_brought_goes_on_in_every_row_below_the_first() -> None:
    root, child = new_id(), new_id()
    first = trace_of_run(root, root, parent=None, brought=VALID)
    assert first.parent == parse_traceparent(VALID)
    below = trace_of_run(child, root, parent=root, brought=VALID)
    assert below.context.trace_id == VALID[3:35]
    assert below.parent == first.context


def test_a_trace_that_is_not_recorded_stays_so() -> None:
    root = new_id()
    assert not trace_of_run(root, root, parent=None, brought=VALID[:-1] + "0").context.is_sampled


@given(st.uuids(), st.integers(1, 32_767))
def test_the_request_and_each_attempt_have_spans_of_their_own(made: UUID, attempt: int) -> None:
    identifier = UUID(int=made.int & ~(0b11 << 62) | 0b10 << 62)  # as every UUID that follows RFC 9562
    spans = {span_of_request(identifier), span_of_run(identifier), span_of_run(identifier, attempt + 1)}
    assert len(spans) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", span) and int(span, 16) for span in spans)
