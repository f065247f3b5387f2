"""Mail comes in, whatever is killed: what was answered 250 runs, what was not is still with its sender."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import threading
import time
from contextlib import closing
from typing import Any, Self
from uuid import UUID

import pytest

from picloud.ids import new_id
from picloud.services.hops import HOPS_HEADER, sign_hops
from tests.faults.clients import Postbox
from tests.faults.cluster import Cluster
from tests.faults.own_servers import LossyWay, OwnServers

MAIL = b"From: Ada <ada@example.com>\r\nTo: orders@shop.example\r\nSubject: Hello\r\n\r\nHi\r\n"

#: Says in the log what it was handed.
TELLS = "log::info(ctx.event.subject, #{ event: ctx.event, root: ctx.root_execution_id, depth: ctx.trigger_depth })"

_RUNS_BOUND_SECONDS = 5.0


def add_trigger(cluster: Cluster, address: str = "orders@shop.example", source: str = TELLS) -> int:
    """An email trigger with a script of its own; its id."""
    trigger_id: int = cluster.value(
        "insert into triggers (app_id, name, kind, script_id, registered_by_principal, max_attempts, backoff,"
        " backoff_base_ms, backoff_max_ms, backoff_jitter_pct)"
        " values (%s, %s, 'email', %s, %s, 3, 'constant', 50, 50, 0) returning id",
        cluster.app.id,
        f"mail-{new_id().hex}",
        cluster.script(source),
        cluster.app.principal_id,
    )
    cluster.execute("insert into email_triggers (trigger_id, address) values (%s, %s)", trigger_id, address)
    return trigger_id


def rows_of_mail(cluster: Cluster) -> list[UUID]:
    return [row[0] for row in cluster.rows("select id from payloads order by id")]


def told(cluster: Cluster, execution_id: UUID) -> dict[str, Any]:
    """What the script of a run was handed."""
    lines = cluster.value("select lines from execution_logs where execution_id = %s", execution_id)
    fields: dict[str, Any] = json.loads(lines)[0]["fields"]
    return fields


def refusal(postbox: Postbox, content: bytes = MAIL, to: str = "orders@shop.example") -> tuple[int, str]:
    """What a mail is refused with, at RCPT or after DATA."""
    try:
        postbox.send(content, to)
    except smtplib.SMTPRecipientsRefused as error:
        code, reply = error.recipients[to]
    except smtplib.SMTPDataError as error:
        code, reply = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
    else:
        raise AssertionError("it was taken")
    return code, reply.decode()


def test_a_mail_is_run_by_a_worker(cluster: Cluster) -> None:
    # Given a platform that takes mail
    trigger_id = add_trigger(cluster)
    cluster.relay()
    cluster.worker()
    cluster.ready()
    _, port = cluster.mail()
    # When a program sends one
    Postbox(port).send(MAIL)
    # Then it is the event of a run, which the trigger caused
    [mail] = rows_of_mail(cluster)
    took = cluster.settle([mail], _RUNS_BOUND_SECONDS, as_status="completed")
    print(f"BOUND mail taken until run: {took:.2f} s")
    event = told(cluster, mail)["event"]
    assert (event["source"], event["from"], event["to"]) == ("email", "ada@example.com", "orders@shop.example")
    assert (event["subject"], event["text"], event["attachments"]) == ("Hello", "Hi\n", [])
    assert cluster.rows("select source, trigger_id from executions") == [("email", trigger_id)]


def test_mail_for_nobody_is_refused_and_triggers_count_from_the_next_mail_on(cluster: Cluster) -> None:
    # Given one trigger for an address and one for a local part anywhere
    exact = add_trigger(cluster, "orders@shop.example")
    anywhere = add_trigger(cluster, "orders")
    _, port = cluster.mail()
    postbox = Postbox(port)
    # When mail comes for others
    # Then it is refused
    assert refusal(postbox, to="nobody@shop.example")[0] == 550
    assert refusal(postbox, to="orders+eu@shop.example")[0] == 550
    # The whole address goes first, in any case
    postbox.send(MAIL, "Orders@SHOP.example")
    postbox.send(MAIL, "orders@elsewhere.example")
    assert cluster.rows("select trigger_id from outbox order by id") == [(exact,), (anywhere,)]
    # And mail of a trigger that is disabled is nobody else's
    cluster.execute("update triggers set is_enabled = false where id = %s", exact)
    assert refusal(postbox, to="orders@shop.example")[0] == 550
    # Until that trigger is removed
    cluster.execute("delete from triggers where id = %s", exact)
    postbox.send(MAIL, "orders@shop.example")
    cluster.execute("delete from triggers where id = %s", anywhere)
    assert refusal(postbox, to="orders@shop.example")[0] == 550
    assert len(rows_of_mail(cluster)) == 3


def test_a_trigger_that_goes_while_its_mail_arrives_leaves_the_mail_with_its_sender(cluster: Cluster) -> None:
    # Given a mail whose recipients are known, one of whom goes before it has arrived
    add_trigger(cluster, "a@shop.example")
    gone = add_trigger(cluster, "b@shop.example")
    _, port = cluster.mail()
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo()
        client.mail("ada@example.com")
        assert [client.rcpt(f"{name}@shop.example")[0] for name in "ab"] == [250, 250]
        cluster.execute("update triggers set is_enabled = false where id = %s", gone)
        # Then nobody is given it, and it comes again
        assert client.data(MAIL)[0] == 451
        assert rows_of_mail(cluster) == []
        client.mail("ada@example.com")
        assert [client.rcpt(f"{name}@shop.example")[0] for name in "ab"] == [250, 550]
        assert client.data(MAIL)[0] == 250
    assert len(rows_of_mail(cluster)) == 1


def test_mail_for_a_paused_app_waits(cluster: Cluster) -> None:
    # Given a paused app
    add_trigger(cluster)
    cluster.execute("update apps set paused_at = now() where id = %s", cluster.app.id)
    cluster.relay()
    cluster.worker()
    cluster.ready()
    _, port = cluster.mail()
    # When mail comes
    Postbox(port).send(MAIL)
    # Then it is taken and waits
    [mail] = rows_of_mail(cluster)
    assert cluster.states([mail]) == {mail: 0}
    # And runs when the app goes on
    cluster.execute("update apps set paused_at = null where id = %s", cluster.app.id)
    cluster.wake()
    cluster.settle([mail], 10, as_status="completed")


def test_automatic_mail_is_refused(cluster: Cluster) -> None:
    add_trigger(cluster)
    _, port = cluster.mail()
    code, reply = refusal(Postbox(port), b"Auto-Submitted: auto-replied\r\n" + MAIL)
    assert (code, "auto-replied" in reply) == (550, True)
    Postbox(port).send(b"Auto-Submitted: no\r\n" + MAIL)
    assert len(rows_of_mail(cluster)) == 1


def test_a_mail_that_a_run_has_sent_is_one_deeper_under_the_same_root(cluster: Cluster) -> None:
    # Given runs that sent mail: at the root, at the deepest that is allowed, and one that somebody made up
    key = cluster.folder / "master.key"
    key.write_bytes(os.urandom(32))
    add_trigger(cluster)
    cluster.relay()
    cluster.worker()
    cluster.ready()
    _, port = cluster.mail(PICLOUD_MASTER_KEY_FILE=str(key))
    root = new_id()
    for signed in (
        sign_hops(key.read_bytes(), root, 0),
        sign_hops(key.read_bytes(), root, 8),
        sign_hops(b"x", root, 3),
    ):
        Postbox(port).send(f"{HOPS_HEADER}: {signed}\r\n".encode() + MAIL)
    # Then the first is run under the sender's root, the second is one hop too far, the third begins anew
    near, far, own = rows_of_mail(cluster)
    cluster.settle([near, far, own], 10)
    assert (told(cluster, near)["root"], told(cluster, near)["depth"]) == (str(root), 1)
    assert cluster.status(far) == "depth_exceeded"
    assert (told(cluster, own)["root"], told(cluster, own)["depth"]) == (str(own), 0)


def test_a_mail_process_killed_before_its_commit_has_taken_nothing(cluster: Cluster) -> None:
    add_trigger(cluster)
    process, port = cluster.mail(cluster.once("mail.received"))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        Postbox(port).send(MAIL)
    assert rows_of_mail(cluster) == []
    # And its successor takes the mail, which is still with its sender
    process.child.wait()
    process.start()
    cluster.wait_until(lambda: _is_taken(Postbox(port)), 20, "it is taken")
    assert len(rows_of_mail(cluster)) == 1


def test_a_mail_of_a_process_killed_between_commit_and_250_runs(cluster: Cluster) -> None:
    # Given a process that dies when its row is committed, before it wakes anybody
    add_trigger(cluster)
    cluster.relay()
    cluster.worker()
    cluster.ready()
    _, port = cluster.mail(cluster.once("mail.accepted"))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        Postbox(port).send(MAIL)
    # Then the mail runs, although its sender was not told
    ids = rows_of_mail(cluster)
    assert len(ids) == 1
    cluster.settle(ids, _RUNS_BOUND_SECONDS, as_status="completed")


def test_everything_answered_250_runs_although_the_mail_process_is_killed_again_and_again(cluster: Cluster) -> None:
    # Given senders that send all the time, as a mail server does: again when there was no answer
    add_trigger(cluster)
    cluster.relay()
    cluster.worker()
    cluster.ready()
    process, port = cluster.mail()
    with _Senders(port, count=3) as senders:
        # When the process is killed three times
        for _ in range(3):
            least = len(senders.taken) + 10
            cluster.wait_until(lambda least=least: len(senders.taken) >= least, 30, "mail is taken")  # type: ignore[misc]
            process.kill()
            process.start()
        least = len(senders.taken) + 10
        cluster.wait_until(lambda: len(senders.taken) >= least, 30, "mail is taken again")
    # Then everything that was answered 250 has run; of what was not, at most what each sender had under way
    ids = rows_of_mail(cluster)
    cluster.settle(ids, 30, as_status="completed")
    ran = [told(cluster, each)["event"]["subject"] for each in ids]
    assert set(senders.taken) <= set(ran)
    assert len(ran) <= len(senders.taken) + 3 * 3


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_postgresql_that_restarts_loses_no_mail(fragile: Cluster, servers: OwnServers, how: signal.Signals) -> None:
    # Given senders at work
    add_trigger(fragile)
    fragile.relay()
    fragile.worker()
    fragile.ready()
    _, port = fragile.mail()
    with _Senders(port, count=3) as senders:
        fragile.wait_until(lambda: len(senders.taken) >= 10, 20, "mail is taken")
        # When PostgreSQL restarts
        servers.stop_postgres(how)
        servers.start_postgres()
        least = len(senders.taken) + 20
        fragile.wait_until(lambda: len(senders.taken) >= least, 20, "mail is taken again")
    # Then nothing that was answered 250 is missing, and nobody was refused for good
    ids = rows_of_mail(fragile)
    fragile.settle(ids, 30, as_status="completed")
    ran = [told(fragile, each)["event"]["subject"] for each in ids]
    assert set(senders.taken) <= set(ran)
    assert senders.refused == []


def test_a_mail_that_comes_while_postgresql_is_away_is_taken_when_it_is_back(
    fragile: Cluster, servers: OwnServers
) -> None:
    # Given a mail on its way when PostgreSQL stops
    add_trigger(fragile)
    process, port = fragile.mail()
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo()
        client.mail("ada@example.com")
        assert client.rcpt("orders@shop.example")[0] == 250
        servers.stop_postgres(signal.SIGQUIT)
        try:
            answers: list[int] = []
            sender = threading.Thread(target=lambda: answers.append(client.data(MAIL)[0]))
            sender.start()
            fragile.wait_until(lambda: process.said("waiting for PostgreSQL"), 20, "it has noticed")
        finally:
            servers.start_postgres()
        sender.join(60)
    # Then it is answered when its row is there
    assert answers == [250]
    assert len(rows_of_mail(fragile)) == 1


def test_a_mail_whose_commit_was_never_answered_is_taken_once(fragile: Cluster) -> None:
    # Given a way to PostgreSQL that loses the answer to the commit
    trigger_id = add_trigger(fragile)
    with LossyWay(fragile.database_url) as way:
        _, port = fragile.mail(PICLOUD_DATABASE_URL=way.url)
        way.lose_the_answer_to(b"row_of_trigger")
        # When mail comes
        Postbox(port).send(MAIL)
        # Then it is sent to PostgreSQL again, which has it already
        assert way.has_lost()
    assert fragile.rows("select source, trigger_id from outbox") == [("email", trigger_id)]


def test_it_tells_systemd_when_it_listens_that_it_lives_and_when_it_stops(cluster: Cluster) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(str(cluster.folder / "notify"))
        process, port = cluster.mail(NOTIFY_SOCKET=str(cluster.folder / "notify"), WATCHDOG_USEC="200000")
        assert manager.recv(1000).decode() == f"READY=1\nSTATUS=taking mail on 127.0.0.1:{port}"
        assert [manager.recv(1000) for _ in range(2)] == [b"WATCHDOG=1", b"WATCHDOG=1"]
        assert process.terminate() == 0
        said = iter(lambda: manager.recv(1000), b"STOPPING=1")
        assert set(said) <= {b"WATCHDOG=1"}


def test_a_place_that_is_taken_is_named_in_one_line(cluster: Cluster) -> None:
    _, port = cluster.mail()
    other, _ = cluster.mail(PICLOUD_SMTP_BIND=f"127.0.0.1:{port}")
    assert other.child.wait(20) == 1
    assert other.log.read_text() == f"error: cannot take mail on 127.0.0.1:{port}: Address already in use\n"


def test_a_mail_process_that_is_stopped_finishes_what_it_receives(cluster: Cluster) -> None:
    # Given a mail of which the last line is missing, and a connection that only holds the line
    add_trigger(cluster)
    process, port = cluster.mail()
    with (
        closing(smtplib.SMTP("127.0.0.1", port, timeout=30)) as idle,
        closing(smtplib.SMTP("127.0.0.1", port, timeout=30)) as client,
    ):
        idle.ehlo()
        client.ehlo()
        client.mail("ada@example.com")
        client.rcpt("orders@shop.example")
        assert client.docmd("DATA")[0] == 354
        client.send(MAIL)
        # When it is told to stop
        process.send(signal.SIGTERM)
        assert idle.getreply()[0] == 421
        # Then the mail is taken, and the process ends well
        client.send(b".\r\n")
        assert client.getreply()[0] == 250
        assert process.child.wait(20) == 0
    assert len(rows_of_mail(cluster)) == 1


class _Senders:
    """Threads that send mails, each with a subject of its own, until they are taken."""

    def __init__(self, port: int, count: int) -> None:
        self._postbox = Postbox(port)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]
        #: Subjects answered 250, each once.
        self.taken: list[str] = []
        #: Answers that forbid another try.
        self.refused: list[int] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        subject = new_id().hex
        while not self._is_over.is_set():
            try:
                self._postbox.send(MAIL.replace(b"Hello", subject.encode()))
            except smtplib.SMTPRecipientsRefused as error:
                self.refused += [code for code, _ in error.recipients.values() if code >= 500]
                time.sleep(0.05)
            except smtplib.SMTPResponseException as error:
                self.refused += [error.smtp_code] if error.smtp_code >= 500 else []
                time.sleep(0.05)
            except OSError:
                time.sleep(0.05)
            else:
                self.taken.append(subject)
                subject = new_id().hex


def _is_taken(postbox: Postbox) -> bool:
    try:
        postbox.send(MAIL)
    except OSError:
        return False
    return True
