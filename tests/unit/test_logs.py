from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from picloud import logs
from picloud.logs import about, default_format, formatter

EXECUTION = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What was logged, with its context."""
    found: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    keeper = Keeper()
    keeper.addFilter(logs._add_context)
    logger = logging.getLogger("test.logs")
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeHandler(keeper)


LOG = logging.getLogger("test.logs")


def test_a_json_line_says_what_it_is_about(records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_PROCESS", {"process": "worker", "worker_id": "w"})
    with about(app="shop", execution_id=EXECUTION):
        LOG.warning("it is %s", "late\nor lost")
    line = json.loads(formatter("json").format(records[0]))
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "test.logs",
        "message": "it is late\nor lost",
        "pid": os.getpid(),
        "process": "worker",
        "worker_id": "w",
        "app": "shop",
        "execution_id": str(EXECUTION),
    }


def test_a_json_line_holds_the_whole_error(records: list[logging.LogRecord]) -> None:
    try:
        int("no")
    except ValueError:
        LOG.exception("it failed")
    text = formatter("json").format(records[0])
    assert "\n" not in text
    assert json.loads(text)["error"].endswith("literal for int() with base 10: 'no'")


def test_text_names_the_run_behind_the_message(
    records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_PROCESS", {"process": "worker", "worker_id": "w"})
    LOG.info("outside")
    with about(app="shop"), about(execution_id=EXECUTION):
        LOG.info("inside")
    outside, inside = (formatter("text").format(record) for record in records)
    assert outside.endswith("INFO test.logs: outside")
    assert inside.endswith(f"INFO test.logs: inside [app=shop execution_id={EXECUTION} worker_id=w]")


def test_every_line_for_the_journal_begins_with_its_priority(records: list[logging.LogRecord]) -> None:
    try:
        int("no")
    except ValueError:
        LOG.exception("it failed")
    LOG.debug("small")
    LOG.warning("odd")
    error, debug, warning = (formatter("journald").format(record) for record in records)
    assert all(line.startswith("<3>") for line in error.splitlines())
    assert error.splitlines()[0] == "<3>ERROR test.logs: it failed"
    assert len(error.splitlines()) > 3
    assert (debug[:3], warning[:3]) == ("<7>", "<4>")


def test_threads_do_not_mix(records: list[logging.LogRecord]) -> None:
    inside = threading.Event()
    go_on = threading.Event()

    def run() -> None:
        with about(execution_id="a"):
            inside.set()
            go_on.wait(5)
            LOG.info("of a")

    thread = threading.Thread(target=run)
    thread.start()
    inside.wait(5)
    LOG.info("of nobody")
    go_on.set()
    thread.join()
    assert [getattr(record, "about", None) for record in records] == [{}, {"execution_id": "a"}]


def test_the_journals_format_is_chosen_where_stderr_is_the_journal() -> None:
    status = os.fstat(2)
    assert default_format({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}) == "journald"
    assert default_format({"JOURNAL_STREAM": "1:2"}) == "text"
    assert default_format({}) == "text"


def test_a_format_that_is_none_is_refused_with_those_there_are() -> None:
    from picloud.errors import SettingsError
    from picloud.settings import load_settings

    with pytest.raises(SettingsError, match="text, json or journald"):
        load_settings({"PICLOUD_LOG_FORMAT": "xml"})


def test_gunicorns_lines_go_where_ours_go() -> None:
    from gunicorn.config import Config

    from picloud_web.server import Log

    log = Log(Config())
    assert log.error_log.handlers == []
    assert log.error_log.propagate
