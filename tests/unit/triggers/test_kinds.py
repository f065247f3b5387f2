"""Triggers as data: their JSON form, their names, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from picloud.errors import InvalidInputError
from picloud.retries import RetryPolicy
from picloud.settings import RetryDefaults
from picloud.triggers import (
    BACKOFFS,
    KINDS,
    KV_OPS,
    MISSED,
    NO_OVERRIDES,
    RETRY_BOUNDS,
    SOURCES,
    CronTrigger,
    DeadLetterTrigger,
    Detail,
    EmailTrigger,
    KvTrigger,
    PubsubTrigger,
    QueueTrigger,
    RetryOverrides,
    Trigger,
    derived_name,
    problems_of,
    tidied,
    trigger_from_data,
    wrong_trigger_name,
)

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="*"), min_size=1, max_size=200)
GLOBS = NAMES | NAMES.map(lambda name: f"{name}*") | st.just("*")
SCRIPTS = st.sampled_from(["t", "on_order", "lib/util", "a" * 200])
SCHEDULES = st.sampled_from(["* * * * *", "0 30 2 * * MON-FRI", "0 0 L * *", "*/5 8-18 * 1,JUL *", "0 0 * * 5#2"])
DETAILS: st.SearchStrategy[Detail] = st.one_of(
    st.builds(KvTrigger, GLOBS, st.lists(st.sampled_from(KV_OPS), min_size=1).map(tuple)),
    st.builds(
        CronTrigger, SCHEDULES, st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]), st.sampled_from(MISSED)
    ),
    st.builds(PubsubTrigger, GLOBS),
    st.builds(QueueTrigger, NAMES, st.none() | st.integers(1, 1_000)),
    st.builds(EmailTrigger, st.sampled_from(["orders", "Orders@Example.org"])),
    st.builds(
        DeadLetterTrigger, st.none() | st.sampled_from(SOURCES), st.none() | st.just("kv-a-b"), st.none() | SCRIPTS
    ),
).map(tidied)
RETRIES = st.just(NO_OVERRIDES) | st.builds(
    RetryOverrides,
    backoff=st.none() | st.sampled_from(BACKOFFS),
    **{name: st.none() | st.integers(low, high) for name, (low, high) in RETRY_BOUNDS.items()},
)
TRIGGERS = st.builds(Trigger, st.sampled_from(["a", "kv-orders:*-t"]), SCRIPTS, DETAILS, st.booleans(), RETRIES)


@given(TRIGGERS)
def test_what_is_stored_is_read_as_the_same_trigger(trigger: Trigger) -> None:
    assert problems_of(trigger.detail) == []
    assert trigger_from_data(json.loads(json.dumps(trigger.to_data()))) == trigger


def test_the_json_form_is_flat_and_leaves_out_what_is_not_said() -> None:
    trigger = Trigger("a", "t", KvTrigger("orders:*", ("insert",)), retry=RetryOverrides(base_ms=0))
    assert trigger.to_data() == {
        "kind": "kv",
        "name": "a",
        "script": "t",
        "enabled": True,
        "collection": "orders:*",
        "ops": ["insert"],
        "retry": {"base_ms": 0},
    }
    assert Trigger("b", "t", DeadLetterTrigger(), enabled=False).to_data() == {
        "kind": "dead_letter",
        "name": "b",
        "script": "t",
        "enabled": False,
    }


@pytest.mark.parametrize(
    ("least", "detail"),
    [
        ({"kind": "kv", "collection": "a"}, KvTrigger("a", ("insert", "update", "delete"))),
        ({"kind": "cron", "schedule": "* * * * *"}, CronTrigger("* * * * *", "UTC", "once")),
        ({"kind": "pubsub", "topic": "a"}, PubsubTrigger("a")),
        ({"kind": "queue", "queue": "a"}, QueueTrigger("a", None)),
        ({"kind": "email", "address": "A"}, EmailTrigger("a")),
        ({"kind": "dead_letter"}, DeadLetterTrigger(None, None, None)),
    ],
)
def test_each_kind_has_its_defaults(least: dict[str, Any], detail: Detail) -> None:
    trigger = trigger_from_data(least | {"script": "t"})
    assert trigger == Trigger(derived_name(detail, "t"), "t", detail, enabled=True, retry=NO_OVERRIDES)
    assert trigger.kind == least["kind"]


def test_there_is_a_class_for_every_kind() -> None:
    kinds = {each.kind for each in (KvTrigger, CronTrigger, PubsubTrigger, QueueTrigger, EmailTrigger)}
    assert {*kinds, DeadLetterTrigger.kind} == set(KINDS)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "kind: None is not one of kv, cron, pubsub, queue, email, dead_letter"),
        ({"kind": {}}, "kind: {} is not one of kv, cron, pubsub, queue, email, dead_letter"),
        ({"kind": "kv", "script": "t"}, "Object missing required field `collection`"),
        ({"kind": "kv", "collection": "a"}, "Object missing required field `script`"),
        ({"kind": "kv", "collection": 1, "script": "t"}, "Expected `str`, got `int` - at `$.collection`"),
        ({"kind": "kv", "collection": "a", "script": "t", "enabled": 1}, "Expected `bool`, got `int` - at `$.enabled`"),
        ({"kind": "kv", "collection": "a", "script": "t", "retry": 1}, "Expected `object`, got `int` - at `$.retry`"),
        ({"kind": "kv", "collection": "a", "script": "t", "ops": ["x"]}, "Invalid enum value 'x' - at `$.ops[0]`"),
        ({"kind": "kv", "collection": "a", "script": "t", "topic": "a"}, "topic: no such key"),
        ({"kind": "kv", "collection": "a", "script": "t", "retry": {"tries": 1}}, "retry.tries: no such key"),
        (
            {"kind": "kv", "collection": "**", "script": "t", "name": "a b", "ops": [], "retry": {"max_attempts": 0}},
            (
                "collection: '**' is not a glob: expected a collection's name, the start of one with * behind it, or *;"
                " name: 'a b' cannot be a trigger's name: letters, digits and _ . : , * @ + -,"
                " with a letter, a digit or _ first;"
                " ops: expected at least one of insert, update, delete;"
                " retry.max_attempts: expected a whole number from 1 to 1000, not 0"
            ),
        ),
        (
            {"kind": "queue", "queue": "a", "script": "t", "concurrency": 1_001},
            "concurrency: expected a whole number from 1 to 1000, not 1001",
        ),
    ],
)
def test_data_that_is_no_trigger_is_told_why(data: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        trigger_from_data(data)
    assert caught.value.message == problem


# Names


@given(DETAILS, SCRIPTS)
def test_a_derived_name_is_legal_and_always_the_same(detail: Detail, script: str) -> None:
    name = derived_name(detail, script)
    assert wrong_trigger_name(name) is None
    assert name.startswith(f"{detail.kind}-")
    assert derived_name(detail, script) == name


@given(NAMES, NAMES)
def test_different_collections_have_different_names(one: str, other: str) -> None:
    assume(one != other)
    assert derived_name(KvTrigger(one), "t") != derived_name(KvTrigger(other), "t")


@pytest.mark.parametrize(
    ("detail", "script", "name"),
    [
        (KvTrigger("orders:*"), "on_order", "kv-orders:*-on_order"),
        (KvTrigger("my orders"), "t", "kv-my_orders-t-03568e3b"),
        (CronTrigger("*/5 * * * *"), "jobs/tick", "cron-*.5_*_*_*_*-jobs.tick"),
        (CronTrigger("0 0 * * mon#1"), "t", "cron-0_0_*_*_MON@1-t"),
        (PubsubTrigger("*"), "t", "pubsub-*-t"),
        (QueueTrigger("mails"), "t", "queue-mails-t"),
        (EmailTrigger("in@example.org"), "t", "email-in@example.org-t"),
        (DeadLetterTrigger(), "t", "dead_letter-*-t"),
        (DeadLetterTrigger("kv", "kv-a-b", "lib/b"), "t", "dead_letter-kv:kv-a-b:lib.b-t"),
    ],
)
def test_a_derived_name_says_what_the_trigger_listens_to(detail: Detail, script: str, name: str) -> None:
    """Names are what deploys recognise triggers by: one that changes here makes every trigger a new one."""
    assert derived_name(detail, script) == name


@pytest.mark.parametrize("name", ["", "-a", "*", "a b", "a/b", "ä", "a\n", "a" * 201])
def test_a_name_no_command_line_or_url_could_take_is_refused(name: str) -> None:
    assert wrong_trigger_name(name) is not None


# Retries


def test_the_handler_of_a_dead_letter_has_one_attempt_whatever_it_says() -> None:
    retry = RetryOverrides(max_attempts=9, base_ms=5)
    policy = RetryPolicy(9, "exponential", 5, 3_600_000, 20)
    assert Trigger("a", "t", PubsubTrigger("a"), retry=retry).retry_policy(RetryDefaults()) == policy
    assert Trigger("a", "t", DeadLetterTrigger(), retry=retry).retry_policy(RetryDefaults()).max_attempts == 1
