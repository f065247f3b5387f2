"""Mails that scripts send: one for each run that committed, again while the server says "later", never after "no"."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from picloud.services.hops import HOPS_HEADER, Hops, read_hops
from tests.faults.cluster import THROWS, Cluster
from tests.integration.mail.mail_server import Script, mail_server

SENDS = 'email::send(#{ to: "bob@example.com", subject: ctx.execution_id, text: "Hi" });'


@dataclass
class Server(Script):
    """Keeps what it was sent, taken or not; ``late`` mails are told to come again."""

    late: int = 0
    sent: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.sent.append(message_from_bytes(envelope.content, policy=policy.default))
        if len(self.sent) <= self.late:
            return "451 4.3.0 later"
        return await super().handle_DATA(server, session, envelope)

    @property
    def subjects(self) -> Counter[str]:
        return Counter(str(mail["Subject"]) for mail in self.sent)


def master_key(cluster: Cluster) -> Path:
    path = cluster.folder / "master.key"
    if not path.exists():
        path.write_bytes(os.urandom(32))
    return path


def start(cluster: Cluster, port: int, *failpoints: str) -> None:
    """A relay, and workers that send mail to this port."""
    cluster.relay()
    for failpoint in failpoints or ("",):
        cluster.worker(
            failpoint,
            PICLOUD_SMTP_URL=f"smtp://127.0.0.1:{port}",
            PICLOUD_MAIL_FROM="PiCloud <picloud@shop.example>",
            PICLOUD_MASTER_KEY_FILE=str(master_key(cluster)),
            PICLOUD_TRIGGER_RETRY_BACKOFF="constant",
            PICLOUD_TRIGGER_RETRY_BASE_MS="50",
        )
    cluster.ready()


def settled_mails(cluster: Cluster, runs: list[UUID], *, as_status: str) -> list[UUID]:
    """The rows of the mails these runs have sent, when all of them have ended so."""
    cluster.settle(runs, 30, as_status="completed")
    mails = [row[0] for row in cluster.rows("select id from payloads where not id = any(%s)", runs)]
    cluster.settle(mails, 30, as_status=as_status)
    return mails


def test_each_run_sends_its_mail_once(cluster: Cluster) -> None:
    # Given a mail server
    server = Server()
    with mail_server(server) as port:
        start(cluster, port)
        # When scripts send
        runs = cluster.accept(20, cluster.script(SENDS))
        mails = settled_mails(cluster, runs, as_status="completed")
    # Then each mail has come once, under an id of its own, and says which chain it is part of
    assert server.subjects == Counter(map(str, runs))
    assert {str(mail["Message-ID"]) for mail in server.sent} == {f"<{each}@shop.example>" for each in mails}
    [mail] = [each for each in server.sent if each["Subject"] == str(runs[0])]
    assert read_hops(master_key(cluster).read_bytes(), mail[HOPS_HEADER]) == Hops(runs[0], 0)
    assert (mail["To"], mail["From"]) == ("bob@example.com", "PiCloud <picloud@shop.example>")


@pytest.mark.parametrize("failpoint", ["worker.running", "worker.flushing", "worker.flushed"])
def test_a_run_whose_worker_is_killed_sends_its_mail_once(cluster: Cluster, failpoint: str) -> None:
    # Given a worker that dies of the first run: while it runs, before its commit, right after it
    server = Server()
    with mail_server(server) as port:
        start(cluster, port, cluster.once(failpoint), "")
        cluster.ready(8)
        runs = cluster.accept(10, cluster.script(SENDS))
        settled_mails(cluster, runs, as_status="completed")
    assert "ended with signal SIGKILL" in cluster.logs()
    # Then there is one mail for each run all the same
    assert Counter(
        row[0] for row in cluster.rows("select root_execution_id from executions where source = 'send_email'")
    ) == (Counter(runs))
    assert set(server.subjects) == set(map(str, runs))


def test_a_run_that_fails_sends_nothing(cluster: Cluster) -> None:
    server = Server()
    with mail_server(server) as port:
        start(cluster, port)
        runs = cluster.accept(1, cluster.script(SENDS + THROWS))
        cluster.settle(runs, 20, as_status="dead")
    assert server.sent == []
    assert cluster.rows("select id from payloads where not id = any(%s)", runs) == []


def test_a_server_that_says_later_is_sent_the_same_mail_again(cluster: Cluster) -> None:
    # Given a server that is busy twice
    server = Server(late=2)
    with mail_server(server) as port:
        start(cluster, port)
        runs = cluster.accept(1, cluster.script(SENDS))
        [mail] = settled_mails(cluster, runs, as_status="completed")
    # Then it was sent three times, as one mail, and taken once
    assert [str(each["Message-ID"]) for each in server.sent] == [f"<{mail}@shop.example>"] * 3
    assert len(server.mails) == 1


def test_a_mail_that_is_refused_for_good_is_a_dead_letter_at_once(cluster: Cluster) -> None:
    server = Server(data="554 5.7.1 not wanted here")
    with mail_server(server) as port:
        start(cluster, port)
        runs = cluster.accept(1, cluster.script(SENDS))
        [mail] = settled_mails(cluster, runs, as_status="dead")
    # Then it was sent once, and the letter holds the mail and what the server said
    assert len(server.sent) == 1
    [(reason, error, event)] = cluster.rows("select reason, last_error, event from dead_letters where id = %s", mail)
    assert "not wanted here" in json.loads(error)["message"]
    assert (json.loads(error)["code"], reason) == ("mail_refused", "not_retryable")
    assert json.loads(event)["to"] == ["bob@example.com"]


def test_a_mail_that_a_script_sends_to_an_app_is_refused_there_and_no_loop_begins(cluster: Cluster) -> None:
    # Given an app that mails itself whenever mail comes
    _, port = cluster.mail(PICLOUD_MASTER_KEY_FILE=str(master_key(cluster)))
    source = 'email::send(#{ to: "loop@shop.example", subject: "again", text: "and again" });'
    trigger_id = cluster.value(
        "insert into triggers (app_id, name, kind, script_id, registered_by_principal, max_attempts, backoff,"
        " backoff_base_ms, backoff_max_ms, backoff_jitter_pct)"
        " values (%s, 'loop', 'email', %s, %s, 1, 'constant', 0, 0, 0) returning id",
        cluster.app.id,
        cluster.script(source),
        cluster.app.principal_id,
    )
    cluster.execute("insert into email_triggers (trigger_id, address) values (%s, 'loop')", trigger_id)
    start(cluster, port)
    runs = cluster.accept(1, cluster.script(source))
    # Then the first mail ends it
    [mail] = settled_mails(cluster, runs, as_status="dead")
    assert "automatic mail" in json.loads(cluster.value("select error from executions where id = %s", mail))["message"]
