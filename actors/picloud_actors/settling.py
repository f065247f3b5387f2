"""How finished runs become settled ones: the transaction, what is done when it fails, and the answers after it.

When a transaction fails: an outage says nothing about the rows, so the whole batch
is sent again under the same tokens, with back-off, nothing charged. Any other error
is about a row: the batch is halved until that row is found, and its run fails
with ``effects_rejected``, so that one run's bad value never fails its neighbours.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

import msgspec
import psycopg

from picloud import broker
from picloud.broker import Reply
from picloud.database import Reconnecting, backoff_seconds, is_outage
from picloud.logs import about
from picloud.observability.metrics import FLUSH_RUNS
from picloud.observability.tally import TALLY
from picloud.outbox.run_rows import BegunRow, Settled, Settlement, mark_abandoned, settle
from picloud.services.effects import NO_EFFECTS
from picloud_actors.tracing import count_runs, ids_of, record_run

_LOG = logging.getLogger("picloud.worker")

_REJECTED = "effects_rejected"

#: How often the measured times of scripts are reported, so that the relay can bundle quick ones.
_REPORT_SECONDS = 1.0
#: How long a settler that was told to stop waits for a PostgreSQL that is away.
_STOPPING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that has ended, with what its caller is told once it is committed."""

    row: BegunRow
    settlement: Settlement
    reply: Reply | None = None
    #: When it was run, in ns since the epoch; None: spans are off, or it was not run.
    times: tuple[int, int] | None = None

    @property
    def losses(self) -> int:
        """How often it has run before and lost the keys it read to others."""
        return self.settlement.conflicts

    def having_lost(self, losses: int) -> Finished:
        """The same run with another number of losses."""
        return replace(self, settlement=msgspec.structs.replace(self.settlement, conflicts=losses))


Verdicts = dict[UUID, Settled]


class Settler:
    """Owns a connection that settles and a Redis connection that answers. Belongs to one thread."""

    def __init__(self, database: Reconnecting, redis_url: str) -> None:
        self.database = database
        self._client = broker.connect(redis_url, name="worker-reply")
        self._reply_script = self._client.register_script(broker.script("reply"))
        self._wake_script = self._client.register_script(broker.script("wake"))
        self._give_up_at = math.inf
        self._run_ms: dict[int, float] = {}
        self._reported_at = 0.0

    def stop(self) -> None:
        """From now on PostgreSQL is not waited for very long. Called from other threads."""
        self._give_up_at = time.monotonic() + _STOPPING_SECONDS

    def settle(self, batch: list[Finished]) -> tuple[Verdicts, list[Finished]]:
        """Settle until it is done; the batch comes back with rejected runs replaced by their failures.

        Raises:
            psycopg.Error: an outage that lasted longer than a stopping process waits.
        """
        # Nobody was promised that a sync run without effects is durable: a read-only GET
        # must not wait for the disk to make its own row's deletion permanent.
        may_lag = all(each.row.is_sync and _is_read_only(each.settlement) for each in batch)
        try:
            return self.through_outages(batch, may_lag=may_lag), batch
        except psycopg.Error as error:
            if is_outage(error):
                raise
            return self._settle_halves(batch, error)

    def through_outages(self, batch: list[Finished], *, may_lag: bool = False, is_chain: bool = False) -> Verdicts:
        """One transaction, sent again for as long as PostgreSQL is away.

        Raises:
            psycopg.Error: it is about one of the rows; or as for ``settle``.
        """
        waits = backoff_seconds()
        is_down = False
        settlements = [finished.settlement for finished in batch]
        while True:
            try:
                settled = self.database.run(
                    lambda connection: settle(connection, settlements, may_lag=may_lag, is_chain=is_chain)
                )
                return {each.id: each for each in settled}
            except psycopg.Error as error:
                if not is_outage(error) or time.monotonic() > self._give_up_at:
                    raise
                if not is_down:
                    _LOG.warning("waiting for PostgreSQL to settle %d runs: %s", len(batch), str(error).strip())
                is_down = True
                time.sleep(next(waits))

    def _settle_halves(self, batch: list[Finished], error: psycopg.Error) -> tuple[Verdicts, list[Finished]]:
        if len(batch) == 1:
            if batch[0].settlement.reason == _REJECTED:
                with about(**ids_of(batch[0].row)):
                    _LOG.error("execution %s cannot even be stored as refused: %s", batch[0].row.id, str(error).strip())
                return {}, batch  # its deadline ends it
            return self.settle([rejected(batch[0], error)])
        middle = len(batch) // 2
        first, first_batch = self.settle(batch[:middle])
        second, second_batch = self.settle(batch[middle:])
        return first | second, first_batch + second_batch

    def tell(self, batch: list[Finished], verdicts: Verdicts) -> None:
        """Answers, the wake token and measured times: Redis may be away, then the record speaks."""
        unheard: list[UUID] = []
        try:
            unheard = self._answer(batch, verdicts)
            if any(verdict.wakes_relay for verdict in verdicts.values()):
                self._wake_script(keys=[broker.WAKE_LIST])
            self._report_times(batch)
        except broker.OUTAGES as error:
            _LOG.debug("Redis did not take the answers: %s", error)
        if unheard:
            try:
                self.database.run(lambda connection: mark_abandoned(connection, unheard))
            except psycopg.Error as error:
                _LOG.warning("could not mark %d abandoned runs: %s", len(unheard), error)
        _report(batch, verdicts)

    def _answer(self, batch: list[Finished], verdicts: Verdicts) -> list[UUID]:
        """Push replies, one command an inbox; the runs whose inbox is gone come back."""
        by_inbox: dict[str, list[Reply]] = defaultdict(list)
        for finished in batch:
            verdict = verdicts.get(finished.row.id)
            if finished.reply and finished.row.reply_to and verdict and verdict.verdict in ("done", "already"):
                by_inbox[finished.row.reply_to].append(finished.reply)
        unheard: list[UUID] = []
        for inbox, replies in by_inbox.items():
            keys = [broker.inbox_key(inbox), broker.inbox_alive_key(inbox)]
            arguments = [2 * broker.INBOX_ALIVE_SECONDS, *(reply.encode() for reply in replies)]
            if not self._reply_script(keys=keys, args=cast(Any, arguments)):
                unheard += [reply.execution_id for reply in replies if reply.status == "completed"]
        return unheard

    def _report_times(self, batch: list[Finished]) -> None:
        for finished in batch:
            if finished.settlement.run_us is not None:
                known = self._run_ms.get(finished.row.script_id)
                measured = finished.settlement.run_us / 1_000
                self._run_ms[finished.row.script_id] = measured if known is None else known * 0.9 + measured * 0.1
        now = time.monotonic()
        if self._run_ms and now - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = now
            times = {str(script): f"{run_ms:.3f}" for script, run_ms in self._run_ms.items()}
            self._client.hset(broker.RUN_TIMES_KEY, mapping=cast(Any, times))

    def close(self) -> None:
        """Close the connections; after the thread has ended."""
        self._client.close()
        self.database.close()


def _report(batch: list[Finished], verdicts: Verdicts) -> None:
    """Count the runs of a transaction, and send their spans."""
    if verdicts:
        TALLY.observe(FLUSH_RUNS, [len(verdicts)])
    ended = [(finished, settled) for finished in batch if (settled := verdicts.get(finished.row.id))]
    count_runs((finished.row, finished.settlement, settled.verdict) for finished, settled in ended)
    for finished, settled in ended:
        if finished.times is not None:
            record_run(finished.row, finished.settlement, settled.verdict, finished.times)


def failed_with(finished: Finished, code: str, message: str, **details: object) -> Finished:
    """The same run as a failure that trying again cannot help; what it did is dropped."""
    document: dict[str, object] = {"code": code, "message": message} | details
    settlement = Settlement(
        finished.row.id,
        finished.row.token,
        "rejected",
        reason=code,
        error=json.dumps(document).encode(),
        run_us=finished.settlement.run_us,
        version=finished.row.version,
        is_handler=finished.row.is_handler,
        conflicts=finished.losses,
    )
    reply = Reply(finished.row.id, "failed", error=document)
    return replace(finished, settlement=settlement, reply=reply if finished.row.is_sync else None)


def rejected(finished: Finished, error: psycopg.Error) -> Finished:
    """The failure of a run whose outcome PostgreSQL refuses to store."""
    with about(**ids_of(finished.row)):
        _LOG.error("the effects of execution %s were refused: %s", finished.row.id, str(error).strip())
    return failed_with(finished, _REJECTED, "what this run did cannot be stored", sqlstate=error.sqlstate)


def _is_read_only(settlement: Settlement) -> bool:
    effects = settlement.effects
    return effects is NO_EFFECTS or not (effects.writes or effects.sent)
