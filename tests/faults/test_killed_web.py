"""SIGKILL of web processes: what was answered 202 runs, what was not answered runs at most once."""

from __future__ import annotations

import signal
import threading
import time
from uuid import UUID

import pytest

from tests.faults.clients import post
from tests.faults.cluster import Cluster, busy

_WEB_BOUND_SECONDS = 5.0


def test_a_web_process_killed_before_its_commit_has_accepted_nothing(cluster: Cluster) -> None:
    # Given a web process that dies before it writes
    path, _ = cluster.route("async")
    _, url = cluster.web(cluster.once("web.received"))
    # When a request comes
    with pytest.raises(OSError, match=r"closed|reset|refused"):
        post(url + path)
    # Then nothing was accepted, and its successor serves
    assert cluster.books()["accepted"] == 0
    cluster.wait_until(lambda: _status(url + path) == 202, 20, "another one serves")


def test_a_row_of_a_web_process_killed_after_its_commit_runs_within_five_seconds(cluster: Cluster) -> None:
    # Given an idle platform whose web process dies between its commit and its wake
    cluster.relay()
    cluster.worker()
    cluster.ready()
    path, _ = cluster.route("async")
    _, url = cluster.web(cluster.once("web.accepted"))
    # When a request comes
    with pytest.raises(OSError, match=r"closed|reset|refused"):
        post(url + path)
    ids = [row[0] for row in cluster.rows("select id from payloads")]
    assert len(ids) == 1
    # Then its row, of which nobody was told, runs all the same
    took = cluster.settle(ids, _WEB_BOUND_SECONDS, as_status="completed")
    print(f"BOUND web killed after its commit: {took:.2f} s")


def test_a_sync_row_of_a_web_process_killed_before_it_published_is_not_run_for_nobody(cluster: Cluster) -> None:
    # Given a web process that dies between the commit of a sync row and its publication
    cluster.relay()
    cluster.worker()
    cluster.ready()
    path, _ = cluster.route("sync", 'log::info("ran"); 1', timeout_ms=1_000)
    _, url = cluster.web(cluster.once("web.accepted"))
    with pytest.raises(OSError, match=r"closed|reset|refused"):
        post(url + path)
    ids = [row[0] for row in cluster.rows("select id from payloads")]
    # Then at its deadline it is settled, without having run
    cluster.settle(ids, 8, as_status="failed")
    assert cluster.rows("select from execution_logs") == []


def test_everything_answered_202_runs_although_web_is_killed_again_and_again(cluster: Cluster) -> None:
    # Given clients that post all the time
    cluster.relay()
    cluster.worker()
    cluster.ready()
    path, _ = cluster.route("async")
    web, url = cluster.web()
    answered: list[UUID] = []
    is_over = threading.Event()

    def client() -> None:
        while not is_over.is_set():
            try:
                answer = post(url + path, within_seconds=10)
            except OSError:
                is_over.wait(0.02)
                continue
            if answer.status == 202:
                answered.append(UUID(answer.json()["execution_id"]))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    try:
        # When its processes are killed three times, the last time with their parent
        for kill in range(3):
            least = len(answered) + 30
            cluster.wait_until(lambda least=least: len(answered) >= least, 30, "requests are answered")  # type: ignore[misc]
            if kill < 2:
                web.send_to_children(signal.SIGKILL)
            else:
                web.kill_with_children()
                web.start()
        least = len(answered) + 30
        cluster.wait_until(lambda: len(answered) >= least, 30, "requests are answered again")
    finally:
        is_over.set()
        for thread in clients:
            thread.join()
    # Then everything that was answered has run once, and so has what was committed and not answered
    accepted = [row[0] for row in cluster.rows("select id from payloads")]
    assert set(answered) <= set(accepted)
    assert len(accepted) <= len(answered) + 4 * 3
    cluster.settle(accepted, 20, as_status="completed")


def test_a_caller_is_answered_502_at_once_when_the_worker_dies_of_its_run(cluster: Cluster) -> None:
    # Given a sync request whose script is running
    cluster.relay()
    worker = cluster.worker()
    cluster.ready()
    path, _ = cluster.route("sync", busy(80), timeout_ms=40_000)
    _, url = cluster.web()
    answers: list[tuple[int, str, float]] = []

    def client() -> None:
        answer = post(url + path, within_seconds=60)
        answers.append((answer.status, answer.json()["code"], time.monotonic()))

    thread = threading.Thread(target=client)
    thread.start()
    try:
        cluster.wait_until(worker.running, 20, "it runs")
        # When its process is killed
        killed_at = time.monotonic()
        worker.send_to_children(signal.SIGKILL)
    finally:
        thread.join(30)
    # Then the caller hears at once
    ((status, code, answered_at),) = answers
    print(f"BOUND sync crash answered by web: {answered_at - killed_at:.2f} s")
    assert (status, code) == (502, "worker_crash")
    assert answered_at - killed_at < 5
    cluster.settle([cluster.value("select id from payloads")], 5, as_status="failed")


def _status(url: str) -> int:
    try:
        return post(url, within_seconds=5).status
    except OSError:
        return 0
