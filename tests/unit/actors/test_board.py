"""The board: what it tells of a process that can no longer tell anything."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

from picloud_actors.board import Board, read_running, take_evidence

WORKER = uuid.uuid4()


def die_after(
    path: Path, *, running: dict[int, uuid.UUID], popped: list[tuple[uuid.UUID, int]], flushing: list[uuid.UUID]
) -> None:
    """Write a board in a process of its own and kill that process, as the kernel would."""
    child = os.fork()
    if child == 0:
        board = Board(path, WORKER, threads=4)
        for thread, identifier in running.items():
            board.thread_runs(thread, identifier, 1_500)
        board.popped(popped)
        board.flushing(flushing)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_killed_process_leaves_what_it_was_doing(tmp_path: Path) -> None:
    path = tmp_path / "w.board"
    ran, popped, flushed = uuid.uuid4(), (uuid.uuid4(), 2**53 - 1), uuid.uuid4()
    die_after(path, running={2: ran}, popped=[popped], flushing=[flushed])
    evidence = take_evidence(path)
    assert evidence is not None
    assert evidence.worker_id == WORKER
    assert [run.id for run in evidence.running] == [ran]
    assert evidence.running[0].timeout_ms == 1_500
    assert evidence.popped == (popped,)
    assert evidence.suspects() == (ran, flushed)


def test_a_thread_that_ended_its_run_is_no_suspect(tmp_path: Path) -> None:
    board = Board(tmp_path / "w.board", WORKER, threads=2)
    board.thread_runs(0, uuid.uuid4(), 1_000)
    board.thread_runs(1, other := uuid.uuid4(), 1_000)
    board.thread_is_idle(0)
    assert [run.id for run in read_running(board.path)] == [other]
    board.remove()


def test_the_board_of_a_living_process_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "w.board"
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        Board(path, WORKER, threads=1)
        os.write(ready_write, b"1")
        signal.pause()
    os.read(ready_read, 1)
    assert take_evidence(path) is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert take_evidence(path) is not None


def test_cleared_areas_name_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.board"
    die_after(path, running={}, popped=[], flushing=[])
    evidence = take_evidence(path)
    assert evidence is not None
    assert (evidence.running, evidence.popped, evidence.flushing) == ((), (), ())


def test_a_file_that_is_no_board_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.board"
    path.write_bytes(b"something else entirely")
    assert take_evidence(path) is None
    assert take_evidence(tmp_path / "missing.board") is None


def test_an_orderly_end_takes_the_board_down(tmp_path: Path) -> None:
    board = Board(tmp_path / "w.board", WORKER, threads=1)
    board.remove()
    assert not (tmp_path / "w.board").exists()
