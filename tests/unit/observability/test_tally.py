from __future__ import annotations

import json
import threading

from picloud.observability.tally import MOST_SERIES, OTHER, Metric, Tally

THINGS = Metric("things_total", "counter", "Things.", ("colour",))
TIMES = Metric("times", "histogram", "Times.", (), (1.0, 2.0))


def counted(tally: Tally) -> dict[tuple[str, ...], float]:
    return {tuple(json.loads(field)): value for field, value in tally.take().items()}


def test_what_was_taken_is_gone() -> None:
    tally = Tally()
    tally.add(THINGS, "red")
    tally.add(THINGS, "red", amount=2)
    assert counted(tally) == {("things_total", "", "red"): 3}
    assert counted(tally) == {}


def test_what_was_put_back_is_added_to_what_came_meanwhile() -> None:
    tally = Tally()
    tally.add(THINGS, 'say "hi"')
    taken = tally.take()
    tally.add(THINGS, 'say "hi"')
    tally.put_back(taken)
    assert counted(tally) == {("things_total", "", 'say "hi"'): 2}


def test_a_value_falls_into_the_bucket_whose_bound_it_does_not_pass() -> None:
    tally = Tally()
    tally.observe(TIMES, [0.5, 1.0])
    tally.observe(TIMES, [1.5, 7.0])
    assert counted(tally) == {("times", "0"): 2, ("times", "1"): 1, ("times", "2"): 1, ("times", "sum"): 10.0}


def test_labels_without_end_are_counted_together() -> None:
    tally = Tally()
    for number in range(MOST_SERIES + 10):
        tally.add(THINGS, f"colour {number}")
    tally.add(THINGS, "colour 0")
    found = counted(tally)
    assert len(found) == MOST_SERIES + 1
    assert found["things_total", "", OTHER] == 10
    assert found["things_total", "", "colour 0"] == 2


def test_who_waits_is_woken_by_news_only() -> None:
    tally = Tally()
    woken = threading.Event()

    def wait() -> None:
        tally.wait()
        woken.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    tally.add(THINGS, "red", is_news=False)
    assert not tally._changed.is_set()
    tally.add(THINGS, "red")
    assert woken.wait(5)
    waiter.join()


def test_nothing_is_lost_between_threads() -> None:
    tally = Tally()
    taken: list[float] = []

    def count() -> None:
        for _ in range(2_000):
            tally.add(THINGS, "red")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += tally.take().values()
    taken += tally.take().values()
    assert sum(taken) == 8_000
