"""Triggers and queues of a manifest: what is read, what is sent, and every refusal with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from picloud.errors import ManifestError
from picloud.manifest import (
    Manifest,
    QueueEntry,
    ScriptEntry,
    TriggerEntry,
    examine_manifest,
    load_manifest,
    parse_manifest,
)
from picloud.triggers import (
    CronTrigger,
    DeadLetterTrigger,
    Detail,
    EmailTrigger,
    KvTrigger,
    PubsubTrigger,
    QueueTrigger,
    RetryOverrides,
    Trigger,
)

APP = '[app]\nname = "shop"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "picloud.toml"
    path.write_text(APP + text, encoding="utf-8")
    return path


def trigger_table(lines: str, script: str = "scripts/t.rhai") -> str:
    return f'[[trigger]]\n{lines}\nscript = "{script}"\n'


def read(folder: Path, *tables: str) -> Manifest:
    return load_manifest(write(folder, "".join(tables)))


def problems_of(folder: Path, *tables: str) -> list[str]:
    """Every problem as ``line:column: message``; the first table starts in line 3."""
    manifest, problems = examine_manifest(write(folder, "".join(tables)))
    assert manifest is None
    return [f"{each.line}:{each.column}: {each.message}" for each in problems]


@pytest.mark.parametrize(
    ("lines", "name", "detail"),
    [
        ('kind = "kv"\ncollection = "orders:*"', "kv-orders:*-t", KvTrigger("orders:*")),
        (
            'kind = "kv"\ncollection = "orders"\nops = ["delete", "insert", "delete"]',
            "kv-orders-t",
            KvTrigger("orders", ("insert", "delete")),
        ),
        ('kind = "cron"\nschedule = "*/5 * * * *"', "cron-*.5_*_*_*_*-t", CronTrigger("*/5 * * * *", "UTC", "once")),
        (
            'kind = "cron"\nschedule = " 0 30  2 * * MON#1 "\ntimezone = "Europe/Berlin"\nmissed = "all"',
            "cron-0_30_2_*_*_MON@1-t",
            CronTrigger("0 30 2 * * MON#1", "Europe/Berlin", "all"),
        ),
        ('kind = "pubsub"\ntopic = "*"', "pubsub-*-t", PubsubTrigger("*")),
        ('kind = "queue"\nqueue = "mails"', "queue-mails-t", QueueTrigger("mails")),
        ('kind = "queue"\nqueue = "mails"\nconcurrency = 2\nname = "mailer"', "mailer", QueueTrigger("mails", 2)),
        ('kind = "email"\naddress = "In@Example.org"', "email-in@example.org-t", EmailTrigger("in@example.org")),
        ('kind = "dead_letter"', "dead_letter-*-t", DeadLetterTrigger()),
        ('kind = "dead_letter"\nsource = "kv"', "dead_letter-kv-t", DeadLetterTrigger("kv")),
    ],
)
def test_each_kind_is_read(tmp_path: Path, lines: str, name: str, detail: Detail) -> None:
    manifest = read(tmp_path, trigger_table(lines))
    assert manifest.triggers == (TriggerEntry(Trigger(name, "t", detail), "scripts/t.rhai"),)
    assert manifest.scripts == (ScriptEntry("t", "scripts/t.rhai"),)


def test_a_trigger_s_retry_is_what_it_says_and_no_more(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        trigger_table('kind = "queue"\nqueue = "a"\nenabled = false\nretry = { max_attempts = 5, jitter_pct = 0 }'),
        trigger_table('kind = "queue"\nqueue = "b"'),
        '[trigger.retry]\nbackoff = "linear"\nbase_ms = 500\nmax_ms = 60_000\n',
    )
    first, second = (entry.trigger for entry in manifest.triggers)
    assert (first.enabled, first.retry) == (False, RetryOverrides(max_attempts=5, jitter_pct=0))
    assert (second.enabled, second.retry) == (True, RetryOverrides(backoff="linear", base_ms=500, max_ms=60_000))


def test_a_trigger_runs_the_script_its_file_is_called(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        '[[script]]\nname = "other"\nfile = "scripts/t.rhai"\n',
        '[[route]]\nmethod = "GET"\npath = "/"\nscript = "scripts/r.rhai"\n',
        trigger_table('kind = "pubsub"\ntopic = "a"'),
        trigger_table('kind = "pubsub"\ntopic = "a"', "scripts/lib/u.rhai"),
    )
    assert [entry.name for entry in manifest.scripts] == ["other", "r", "lib/u"]
    assert [entry.trigger.script for entry in manifest.triggers] == ["other", "lib/u"]
    assert manifest.triggers[1].trigger.name.startswith("pubsub-a-lib.u")


def test_a_dead_letter_trigger_filters_by_trigger_and_failed_script(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        '[[script]]\nname = "orders"\nfile = "scripts/on_order.rhai"\n',
        trigger_table(
            'kind = "dead_letter"\ntrigger = "kv-orders-orders"\nfailed_script = "scripts/on_order.rhai"',
            "scripts/dead.rhai",
        ),
        trigger_table('kind = "kv"\ncollection = "orders"', "scripts/on_order.rhai"),
    )
    entry = manifest.triggers[0]
    assert entry.trigger.detail == DeadLetterTrigger(None, "kv-orders-orders", "orders")
    assert (entry.file, entry.failed_file) == ("scripts/dead.rhai", "scripts/on_order.rhai")


def test_queues_are_those_declared_and_those_consumed(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        '[[queue]]\nname = "later"\n[[queue]]\nname = "mails"\n',
        trigger_table('kind = "queue"\nqueue = "mails"'),
        trigger_table('kind = "queue"\nqueue = "bills"'),
    )
    assert manifest.queues == (QueueEntry("later"), QueueEntry("mails"))
    assert manifest.queue_names == ("bills", "later", "mails")


def test_what_is_sent_is_read_as_the_same_manifest(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        '[[script]]\nname = "other"\nfile = "scripts/t.rhai"\n[[queue]]\nname = "later"\n',
        trigger_table('kind = "kv"\ncollection = "a:*"\nops = ["insert"]\nretry = { base_ms = 0 }'),
        trigger_table('kind = "cron"\nschedule = "0 3 * * *"\ntimezone = "Asia/Kolkata"\nmissed = "skip"'),
        trigger_table('kind = "pubsub"\ntopic = "a"\nname = "news"\nenabled = false'),
        trigger_table('kind = "queue"\nqueue = "mails"\nconcurrency = 7'),
        trigger_table('kind = "email"\naddress = "orders"'),
        trigger_table('kind = "dead_letter"\nsource = "http"\ntrigger = "news"\nfailed_script = "scripts/x.rhai"'),
    )
    assert parse_manifest(json.loads(json.dumps(manifest.to_data()))) == manifest


def test_null_in_json_says_nothing() -> None:
    trigger = {"kind": "dead_letter", "script": "t.rhai", "source": None, "name": None, "retry": None, "enabled": None}
    manifest = parse_manifest({"app": {"name": "a"}, "trigger": [trigger]})
    assert manifest.triggers[0].trigger == Trigger("dead_letter-*-t", "t", DeadLetterTrigger())


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('kind = "kvv"', "4:8: trigger[1].kind: 'kvv' is not one of kv, cron, pubsub, queue, email, dead_letter"),
        ('kind = "kv"', "3:3: trigger[1].collection: missing: expected a string"),
        ('kind = "kv"\ncollection = ""', "5:14: trigger[1].collection: a collection's name has 1 to 200 characters,"),
        (
            'kind = "kv"\ncollection = "a*b"',
            "5:14: trigger[1].collection: 'a*b' is not a glob: expected a collection's",
        ),
        ('kind = "kv"\ncollection = "a"\nops = "insert"', "6:7: trigger[1].ops: expected an array of strings, not"),
        ('kind = "kv"\ncollection = "a"\nops = []', "6:7: trigger[1].ops: expected at least one of insert, update"),
        ('kind = "kv"\ncollection = "a"\nops = [1]', "6:8: trigger[1].ops[1]: expected a string, not the number 1"),
        (
            'kind = "kv"\ncollection = "a"\nops = ["insert", "updated"]',
            "6:18: trigger[1].ops[2]: 'updated' is not one of insert, update, delete (did you mean update?)",
        ),
        ('kind = "cron"', "3:3: trigger[1].schedule: missing: expected a string"),
        ('kind = "cron"\nschedule = "* * * *"', "5:12: trigger[1].schedule: '* * * *' has 4 fields: expected five"),
        ('kind = "cron"\nschedule = "* 24 * * *"', "5:12: trigger[1].schedule: '24' is no hour: expected 0-23, *, a"),
        ('kind = "cron"\nschedule = "0 0 30 2 *"', "5:12: trigger[1].schedule: '0 0 30 2 *' never fires: there is no"),
        (
            'kind = "cron"\nschedule = "0 0 2 * 3 7L"\ntimezone = "Europe/Berlin"',
            "5:12: trigger[1].schedule: '0 0 2 * 3 7L' never fires in Europe/Berlin",
        ),
        (
            'kind = "cron"\nschedule = "* * * * *"\ntimezone = "Europe/Berln"',
            (
                "6:12: trigger[1].timezone: 'Europe/Berln' is not a time zone: expected an IANA name, as in"
                " Europe/Berlin or UTC (did you mean Europe/Berlin?)"
            ),
        ),
        ('kind = "cron"\nschedule = "* * * * *"\nmissed = "never"', "6:10: trigger[1].missed: 'never' is not one of"),
        ('kind = "cron"\nschedule = "* * * * *"\ntopic = "x"', "6:1: trigger[1].topic: no such key"),
        ('kind = "pubsub"\ntopic = "**"', "5:9: trigger[1].topic: '**' is not a glob: expected a topic's name"),
        ('kind = "queue"\nqueue = "mails:*"', "5:9: trigger[1].queue: 'mails:*' cannot be a queue's name: * is what"),
        (
            'kind = "queue"\nqueue = "a"\nconcurrency = 0',
            "6:15: trigger[1].concurrency: expected a whole number from 1",
        ),
        (
            'kind = "queue"\nqueue = "a"\nconcurrency = 1001',
            "6:15: trigger[1].concurrency: expected a whole number from 1 to 1000, not 1001",
        ),
        ('kind = "email"\naddress = "a b"', "5:11: trigger[1].address: 'a b' is not an address: expected up to 64"),
        ('kind = "email"\naddress = "a"\nenabled = 1', "6:11: trigger[1].enabled: expected true or false, not"),
        ('kind = "email"\naddress = "a"\nretry = 3', "6:9: trigger[1].retry: expected a table, not the number 3"),
        ('kind = "email"\naddress = "a"\nretry = {tries = 3}', "6:10: trigger[1].retry.tries: no such key"),
        (
            'kind = "email"\naddress = "a"\nretry = {max_attempts = 0}',
            "6:25: trigger[1].retry.max_attempts: expected a whole number from 1 to 1000, not the number 0",
        ),
        ('kind = "email"\naddress = "a"\nretry = {backoff = "x"}', "6:20: trigger[1].retry.backoff: 'x' is not one of"),
        ('kind = "email"\naddress = "a"\nname = "a b"', "6:8: trigger[1].name: 'a b' cannot be a trigger's name:"),
        ('kind = "email"\naddress = "a"\nfailed_script = "a.rhai"', "6:1: trigger[1].failed_script: no such key"),
        ('kind = "dead_letter"\nsource = "dead_letter"', "5:10: trigger[1].source: 'dead_letter' is not one of http,"),
        (
            'kind = "dead_letter"\ntrigger = "x"',
            "5:11: trigger[1].trigger: no trigger whose runs can die is called 'x'",
        ),
        ('kind = "dead_letter"\nfailed_script = "x"', "5:17: trigger[1].failed_script: 'x' is not a script's file"),
    ],
)
def test_a_wrong_trigger_is_told_place_by_place(tmp_path: Path, lines: str, problem: str) -> None:
    found = problems_of(tmp_path, trigger_table(lines))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_trigger_without_a_script_is_told(tmp_path: Path) -> None:
    assert problems_of(tmp_path, '[[trigger]]\nkind = "pubsub"\ntopic = "a"\n') == [
        "3:3: trigger[1].script: missing: expected a string"
    ]


def test_two_triggers_of_one_name_are_told_given_or_derived(tmp_path: Path) -> None:
    same = trigger_table('kind = "kv"\ncollection = "a"')
    assert problems_of(tmp_path, same, same) == [
        "7:3: trigger[2].name: another trigger is called 'kv-a-t' already: give this one its own"
    ]
    given = trigger_table('kind = "pubsub"\ntopic = "b"\nname = "kv-a-t"')
    assert problems_of(tmp_path, same, given) == [
        "10:8: trigger[2].name: another trigger is called 'kv-a-t' already: give this one its own"
    ]


@pytest.mark.parametrize(("kind", "key", "taken"), [("queue", "queue", "mails"), ("email", "address", "in@a.org")])
def test_a_queue_and_an_address_have_one_trigger(tmp_path: Path, kind: str, key: str, taken: str) -> None:
    first = trigger_table(f'kind = "{kind}"\n{key} = "{taken}"')
    second = trigger_table(f'kind = "{kind}"\n{key} = "{taken}"', "scripts/u.rhai")
    assert problems_of(tmp_path, first, second) == [
        f"9:{len(key) + 4}: trigger[2].{key}: the {key} '{taken}' has its one trigger already, '{kind}-{taken}-t'"
    ]


def test_an_address_is_the_same_in_any_case(tmp_path: Path) -> None:
    first = trigger_table('kind = "email"\naddress = "in"\nname = "a"')
    second = trigger_table('kind = "email"\naddress = "IN"\nname = "b"')
    assert len(problems_of(tmp_path, first, second)) == 1


def test_a_handler_of_dead_letters_cannot_wait_for_another(tmp_path: Path) -> None:
    handler = trigger_table('kind = "dead_letter"\nname = "last"')
    other = trigger_table('kind = "dead_letter"\ntrigger = "last"')
    firing = trigger_table('kind = "pubsub"\ntopic = "a"\nname = "least"')
    assert problems_of(tmp_path, handler, other, firing) == [
        "9:11: trigger[2].trigger: no trigger whose runs can die is called 'last' (did you mean least?)"
    ]


def test_a_filter_for_a_trigger_that_cannot_be_read_is_not_a_second_problem(tmp_path: Path) -> None:
    wrong = trigger_table('kind = "pubsub"\ntopic = "**"\nname = "news"')
    assert len(problems_of(tmp_path, wrong, trigger_table('kind = "dead_letter"\ntrigger = "news"'))) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[queue]]\n", "3:3: queue[1].name: missing: expected a string"),
        (
            '[[queue]]\nname = "a*"\n',
            "4:8: queue[1].name: 'a*' cannot be a queue's name: * is what globs are made with",
        ),
        ('[[queue]]\nname = "a"\nsize = 3\n', "5:1: queue[1].size: no such key"),
        ('[[queue]]\nname = "a"\n[[queue]]\nname = "a"\n', "6:8: queue[2].name: the queue 'a' has an entry already"),
    ],
)
def test_a_wrong_queue_is_told(tmp_path: Path, text: str, problem: str) -> None:
    assert problems_of(tmp_path, text) == [problem]


@pytest.mark.parametrize("trigger", [None, 3, [], [[]], {"kind": {}}, {"kind": "kv", "ops": {}}, {"retry": []}])
def test_json_that_is_no_trigger_is_refused_and_not_a_crash(trigger: object) -> None:
    with pytest.raises(ManifestError):
        parse_manifest({"app": {"name": "a"}, "trigger": [trigger]})


def test_a_script_that_only_a_trigger_names_has_to_be_there(tmp_path: Path) -> None:
    manifest = read(tmp_path, trigger_table('kind = "dead_letter"\nfailed_script = "scripts/gone.rhai"'))
    with pytest.raises(ManifestError) as caught:
        manifest.scripts_of(["scripts/t.rhai"])
    assert caught.value.message == "picloud.toml: scripts/gone.rhai does not exist"
