"""The figures that processes count; what PostgreSQL knows is not among them (``picloud.control.figures``).

An app's name is a label where one app's trouble has to be seen, and nowhere else: each label multiplies the series.
"""

from __future__ import annotations

from picloud.observability.tally import Metric

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

HTTP_REQUESTS = Metric(
    "picloud_http_requests_total",
    "counter",
    "Requests answered, by kind (sync, async: a route of an app; app: an app, no route; own: PiCloud itself)"
    " and class of the status.",
    ("kind", "status"),
)
HTTP_SECONDS = Metric(
    "picloud_http_request_seconds", "histogram", "From a request's head to its answer.", ("kind",), _SECONDS
)
RELAY_ROUNDS = Metric("picloud_relay_rounds_total", "counter", "Rounds of the relays.")
RELAY_CLAIMED = Metric("picloud_relay_claimed_total", "counter", "Rows claimed by the relays.")
RELAY_PUBLISHED = Metric("picloud_relay_published_total", "counter", "Rows put before the workers by the relays.")
TAKEN_BACK = Metric(
    "picloud_rows_taken_back_total",
    "counter",
    "Rows taken back, by why: redis_lost, message_lost, worker_lost, overdue, unanswered (a sync row nobody began"
    " in time), worker_died (its process ended, its machine goes on).",
    ("reason",),
)
RUNS = Metric(
    "picloud_runs_total",
    "counter",
    "Runs settled, by how: completed, failed, dead, retried, depth_exceeded, handed_back (not begun),"
    " conflict (made again), lost (no longer its own; discarded).",
    ("app", "source", "outcome"),
)
RUN_SECONDS = Metric(
    "picloud_run_seconds", "histogram", "Time a script ran, or the sending of a mail took.", ("source",), _SECONDS
)
FLUSH_RUNS = Metric(
    "picloud_flush_runs", "histogram", "Runs settled in one transaction.", (), (1, 2, 4, 8, 16, 32, 64, 128, 256)
)
CALLS = Metric(
    "picloud_outbound_calls_total",
    "counter",
    "HTTP calls of scripts, by class of the answer's status; error: there was none.",
    ("status",),
)
MAILS = Metric("picloud_mails_received_total", "counter", "Rows written for mails that were taken.")

COUNTED = (
    HTTP_REQUESTS,
    HTTP_SECONDS,
    RELAY_ROUNDS,
    RELAY_CLAIMED,
    RELAY_PUBLISHED,
    TAKEN_BACK,
    RUNS,
    RUN_SECONDS,
    FLUSH_RUNS,
    CALLS,
    MAILS,
)


def class_of(status: int) -> str:
    """The class of a status: ``2xx``, ``4xx``."""
    return f"{status // 100}xx"
