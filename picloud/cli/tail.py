"""What an app does while somebody works on it: its log lines, and the runs that fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from picloud.cli.client import Client, api_path
from picloud.errors import NotFoundError

#: How long the server keeps a question open when nothing was logged: failures are looked for in between.
_WAIT_SECONDS = 1
#: Executions looked at in each turn, the newest; more failures at once nobody could read.
_LOOKED_AT = 100
#: Runs whose last attempt is over, and went wrong when there was one.
_OVER = frozenset({"pending", "failed", "dead"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that went wrong; with the status ``pending`` it is tried again."""

    execution_id: str
    script: str | None
    attempt: int
    status: str
    #: As the API gives it: ``code``, ``message``, ``line`` and ``column`` where they are known.
    error: dict[str, Any]


@dataclass(slots=True)
class Tail:
    """Reads on from where it was told to begin. Not for use by two threads."""

    app: str
    _cursor: str | None = None
    #: Attempts of each execution that are told already, or were over before the beginning.
    _attempts_told: dict[str, int] = field(default_factory=dict[str, int])

    def begin(self, client: Client) -> None:
        """Leave out what has happened until now. An app that does not exist yet has no past."""
        try:
            self._cursor = client.get(api_path("apps", self.app, "logs"), limit=1)["next"]
            self._attempts_told = {run["id"]: _attempts_over(run) for run in self._newest_runs(client)}
        except NotFoundError:
            self._cursor = None
            self._attempts_told = {}

    def turn(self, client: Client) -> tuple[list[dict[str, Any]], list[Failure]]:
        """Log lines and failures since the last turn; it takes about a second while there are none.

        Raises:
            NotFoundError: the app is gone.
        """
        page = client.get(api_path("apps", self.app, "logs"), after=self._cursor, wait=_WAIT_SECONDS)
        self._cursor = page["next"]
        return page["items"], list(self._failures(client))

    def _failures(self, client: Client) -> Iterator[Failure]:
        runs = list(self._newest_runs(client))
        told, self._attempts_told = self._attempts_told, {run["id"]: _attempts_over(run) for run in runs}
        for run in reversed(runs):
            attempt = _attempts_over(run)
            if run["status"] not in _OVER or attempt <= told.get(run["id"], 0):
                continue
            # A list tells only the error a run has ended with.
            found = (
                run if run["status"] != "pending" else client.get(api_path("apps", self.app, "executions", run["id"]))
            )
            if found["error"] is not None:
                yield Failure(run["id"], run["script"], attempt, run["status"], found["error"])

    def _newest_runs(self, client: Client) -> Iterator[dict[str, Any]]:
        return client.items(api_path("apps", self.app, "executions"), limit=_LOOKED_AT)


def _attempts_over(run: dict[str, Any]) -> int:
    attempts: int = run["attempts"]
    return attempts if run["status"] in _OVER else max(attempts - 1, 0)
