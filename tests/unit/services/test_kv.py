"""The buffer of one run: it reads back what it wrote, remembers what it read, and refuses what cannot be kept."""

from __future__ import annotations

import pytest

from picloud.errors import InvalidInputError, LimitExceededError
from picloud.services.effects import MOST_KEYS, KeyId, KvWrite
from picloud.services.kv import MAX_LISTED, KvBuffer, KvLimits, Overlay, Stored
from tests.unit.services.memory import APP, LIMITS, MemoryStore


def key(name: str, app_id: int = APP) -> KeyId:
    return KeyId(app_id, "things", name)


def store(**rows: bytes) -> MemoryStore:
    made = MemoryStore()
    for number, (name, value) in enumerate(rows.items(), 1):
        made.rows[key(name)] = Stored(value, number)
    made.versions = len(rows)
    return made


def buffer(kept: MemoryStore | None = None, limits: KvLimits = LIMITS, overlay: Overlay | None = None) -> KvBuffer:
    return KvBuffer(APP, kept or MemoryStore(), limits, overlay)


def test_a_run_reads_back_what_it_wrote() -> None:
    kv = buffer(store(a=b"1"))
    kv.set("things", "a", b"2")
    kv.set("things", "b", b"3")
    assert (kv.get("things", "a"), kv.get("things", "b")) == (b"2", b"3")
    assert kv.delete("things", "a")
    assert not kv.has("things", "a")
    assert not kv.delete("things", "a")


def test_each_key_is_asked_for_once_and_noted_with_its_version() -> None:
    kept = store(a=b"1")
    kv = buffer(kept)
    assert [kv.get("things", "a"), kv.get("things", "a"), kv.get("things", "absent")] == [b"1", b"1", None]
    assert kept.questions == 2
    assert kv.reads == {key("a"): 1, key("absent"): 0}


def test_a_key_whose_time_has_passed_is_absent_and_noted_with_the_version_it_still_has() -> None:
    kept = store(a=b"1")
    kept.rows[key("a")] = Stored(None, 7)
    kv = buffer(kept)
    assert kv.get("things", "a") is None
    assert kv.reads == {key("a"): 7}


def test_a_blind_write_reads_nothing() -> None:
    kept = store(a=b"1")
    kv = buffer(kept)
    kv.set("things", "a", b"2")
    assert kept.questions == 0
    assert kv.reads == {}


def test_no_other_apps_key_is_reached_by_any_name() -> None:
    kept = MemoryStore({key("a", app_id=2): Stored(b"1", 1)})
    kv = buffer(kept)
    assert kv.get("things", "a") is None
    assert kv.keys("things") == []
    kv.set("things", "a", b"2")
    assert set(kv.writes) == {key("a", app_id=APP)}


def test_an_increment_counts_from_zero_and_goes_on() -> None:
    kv = buffer(store(a=b"41"))
    assert [kv.increment("things", "a", 1), kv.increment("things", "b", 5), kv.increment("things", "b", -6)] == [
        42,
        5,
        -1,
    ]


@pytest.mark.parametrize("value", [b'"1"', b"1.5", b"[1]", b"null"])
def test_only_whole_numbers_are_incremented(value: bytes) -> None:
    with pytest.raises(InvalidInputError, match="not a whole number"):
        buffer(store(a=value)).increment("things", "a", 1)


def test_an_increment_that_leaves_64_bits_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="64 bits"):
        buffer(store(a=b"9223372036854775807")).increment("things", "a", 1)


def test_an_increment_keeps_the_time_to_live_and_a_set_ends_it() -> None:
    kv = buffer()
    kv.set("things", "a", b"1", ttl_ms=500)
    kv.increment("things", "a", 1)
    assert kv.writes[key("a")] == KvWrite(b"2", 500)
    kv.set("things", "a", b"3")
    assert kv.writes[key("a")] == KvWrite(b"3")


def test_a_listing_shows_what_is_committed_and_what_is_written_in_one_order() -> None:
    kv = buffer(store(b=b"2", d=b"4", f=b"6"))
    kv.set("things", "a", b"1")
    kv.set("things", "d", b"40")
    kv.delete("things", "f")
    kv.set("things", "z", b"26")
    assert kv.entries("things") == [("a", b"1"), ("b", b"2"), ("d", b"40"), ("z", b"26")]
    assert kv.entries("things", after="b", limit=1) == [("d", b"40")]
    assert kv.keys("things", "z") == ["z"]


def test_a_listing_goes_on_where_a_page_full_of_deleted_keys_ends() -> None:
    kept = store(**{f"k{number:03}": b"1" for number in range(40)})
    kv = buffer(kept)
    for number in range(35):
        kv.delete("things", f"k{number:03}")
    assert [name for name, _ in kv.entries("things", limit=3)] == ["k035", "k036", "k037"]


def test_a_listing_notes_the_keys_it_returned() -> None:
    kv = buffer(store(a=b"1", b=b"2", c=b"3"))
    kv.entries("things", limit=2)
    assert kv.reads == {key("a"): 1, key("b"): 2}


def test_too_many_keys_are_not_cut_off_in_silence() -> None:
    kept = MemoryStore({key(f"{number:05}"): Stored(b"1", 1) for number in range(MAX_LISTED + 1)})
    with pytest.raises(LimitExceededError, match="page by page"):
        buffer(kept).keys("things")


def test_one_run_touches_a_bounded_number_of_keys() -> None:
    kv = buffer(limits=KvLimits(10**6, 10**9, 1_000))
    for number in range(MOST_KEYS):
        kv.set("things", str(number), b"1")
    kv.set("things", "0", b"2")
    with pytest.raises(LimitExceededError, match="1000 keys"):
        kv.get("things", "one more")


def test_what_runs_before_in_the_chain_wrote_is_seen_and_not_noted_as_read() -> None:
    overlay = Overlay({key("a"): KvWrite(b"2"), key("b"): KvWrite(None)})
    kv = buffer(store(a=b"1", b=b"1"), overlay=overlay)
    assert (kv.get("things", "a"), kv.get("things", "b")) == (b"2", None)
    assert kv.increment("things", "a", 1) == 3
    assert kv.reads == {}
    assert kv.writes == {key("a"): KvWrite(b"3")}
    assert kv.entries("things") == [("a", b"3")]


def test_a_value_that_is_too_large_names_the_setting() -> None:
    with pytest.raises(LimitExceededError, match="PICLOUD_KV_MAX_VALUE_BYTES") as caught:
        buffer().set("things", "a", b'"' + b"x" * 1_000 + b'"')
    assert caught.value.code == "value_too_large"


def test_a_full_app_takes_no_new_key_and_still_lets_old_ones_change() -> None:
    limits = KvLimits(max_keys=2, max_bytes=10_000, max_value_bytes=1_000)
    kv = buffer(store(a=b"1", b=b"2"), limits)
    kv.set("things", "a", b"3")
    with pytest.raises(LimitExceededError, match="PICLOUD_KV_MAX_KEYS") as caught:
        kv.set("things", "c", b"4")
    assert caught.value.code == "quota_exceeded"
    assert key("c") not in kv.writes


def test_bytes_are_counted_as_what_the_app_would_keep() -> None:
    limits = KvLimits(max_keys=100, max_bytes=30, max_value_bytes=1_000)
    kv = buffer(store(a=b"1" * 20), limits)
    kv.set("things", "a", b"2" * 25)
    with pytest.raises(LimitExceededError, match="PICLOUD_KV_MAX_BYTES"):
        kv.set("things", "b", b"3" * 10)


@pytest.mark.parametrize("name", ["", "x" * 1_025, "a\0b", "a\U0010ffff"])
def test_a_key_that_cannot_be_kept_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="a key has"):
        buffer().set("things", name, b"1")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "a*"])
def test_a_collection_that_cannot_be_named_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="collection"):
        buffer().get(name, "a")


@pytest.mark.parametrize("ttl_ms", [0, -1, 10**15])
def test_a_time_to_live_is_some_time(ttl_ms: int) -> None:
    with pytest.raises(InvalidInputError, match="ttl_seconds"):
        buffer().set("things", "a", b"1", ttl_ms)
