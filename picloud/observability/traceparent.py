"""Which trace a run belongs to, in the words of W3C Trace Context (https://www.w3.org/TR/trace-context-2/).

A request may bring a ``traceparent``; it is kept with the row and handed on to every row that
this one causes. Where none was brought nothing has to be stored: the id of a root execution has the
128 bits of a trace id, and half of an execution's id names its span.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import UUID

HEADER = "traceparent"

_TEXT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

_SPAN_BITS = (1 << 64) - 1
_SAMPLED = 0b01
#: Level 2 has two flags: sampled, and random trace id. Others mean nothing yet and must not be sent.
_KNOWN_FLAGS = 0b11


class TraceContext(NamedTuple):
    """A span as others name it.

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
    """

    trace_id: str
    span_id: str
    flags: int = _SAMPLED

    @property
    def is_sampled(self) -> bool:
        """Whether the trace is being recorded."""
        return bool(self.flags & _SAMPLED)

    @property
    def header(self) -> str:
        """The value of ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def below(self, span_id: str) -> TraceContext:
        """Another span of the same trace."""
        return TraceContext(self.trace_id, span_id, self.flags)


def parse_traceparent(text: str | None) -> TraceContext | None:
    """What the header says; None: there is none, or it is not valid and has to be ignored."""
    match = _TEXT.fullmatch(text) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Version 00 ends after the flags; later ones may go on.
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


def span_of_request(execution_id: UUID) -> str:
    """The span of the HTTP request that was given this id: no run has it, because runs keep the variant's bits."""
    return f"{~execution_id.int & _SPAN_BITS:016x}"


def span_of_run(execution_id: UUID, attempt: int = 1) -> str:
    """The span of an attempt; the first one's is the lower half of the id, which is random."""
    return f"{(execution_id.int & _SPAN_BITS) ^ (attempt - 1):016x}"


class RunTrace(NamedTuple):
    """Where a run is in its trace.

    Attributes:
        parent_span_id: None: the trace begins with it.
    """

    context: TraceContext
    parent_span_id: str | None

    @property
    def parent(self) -> TraceContext | None:
        """The span above it."""
        return self.context.below(self.parent_span_id) if self.parent_span_id else None


def trace_of_run(
    execution_id: UUID, root: UUID, *, parent: UUID | None, brought: str | None, attempt: int = 1
) -> RunTrace:
    """The trace and the span of one attempt.

    Args:
        parent: the execution whose effect it is. Rows do not say in which of its attempts they were caused:
            they hang below the first one.
        brought: what the row keeps: the ``traceparent`` that the first request of the chain came with.
    """
    span_id = span_of_run(execution_id, attempt)
    above = parse_traceparent(brought)
    context = TraceContext(root.hex, span_id) if above is None else above.below(span_id)
    if parent is not None:
        return RunTrace(context, span_of_run(parent))
    return RunTrace(context, above.span_id if above else None)
