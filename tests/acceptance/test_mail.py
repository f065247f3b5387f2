"""Mail on a running platform: deployed from a manifest, sent by a program, and answered by a script's own mail."""

from __future__ import annotations

import json
import smtplib
import socket
import time
from email.message import EmailMessage

import pytest

from tests.acceptance.running import running_platform
from tests.integration.mail.mail_server import Script, mail_server

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

MANIFEST = """
[app]
name = "shop"

[[trigger]]
kind = "email"
address = "Orders@shop.example"
script = "scripts/on_mail.rhai"
"""

SCRIPT = """
    let mail = ctx.event;
    let attachment = mail.attachments[0];
    kv::collection("mails").set(mail.subject, #{ from: mail.from, text: mail.text, file: attachment.filename });
    email::send(#{ to: mail.from, subject: `Re: ${mail.subject}`, text: "It is on its way." });
"""


def test_a_mail_runs_a_script_that_answers_it() -> None:
    # Given a platform that takes and sends mail
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    outbox = Script()
    with (
        mail_server(outbox) as server_port,
        running_platform(
            PICLOUD_SMTP_BIND=f"127.0.0.1:{port}",
            PICLOUD_SMTP_URL=f"smtp://127.0.0.1:{server_port}",
            PICLOUD_MAIL_FROM="Shop <shop@shop.example>",
        ) as platform,
    ):
        folder = platform.folder / "shop"
        (folder / "scripts").mkdir(parents=True)
        (folder / "scripts" / "on_mail.rhai").write_text(SCRIPT, "utf-8")
        (folder / "picloud.toml").write_text(MANIFEST, "utf-8")
        platform.picloud("deploy", "shop")
        # When a mail comes
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "Ada <ada@example.com>", "orders@shop.example", "Büchse"
        mail.set_content("Eine, bitte.")
        mail.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="plan.bin")
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.send_message(mail)
        # Then its script has run, and answered
        give_up_at = time.monotonic() + 30
        while not outbox.mails:
            assert time.monotonic() < give_up_at, platform.picloud("executions", "ls", "--app", "shop")
            time.sleep(0.05)
        kept = json.loads(platform.picloud("kv", "get", "shop", "mails", "Büchse", "--json"))
        answers = [envelope.rcpt_tos for envelope in outbox.mails]
        proof = json.loads(platform.picloud("doctor", "--prove", "--json"))
    assert kept == {"from": "ada@example.com", "text": "Eine, bitte.\n", "file": "plan.bin"}
    assert answers == [["ada@example.com"]]
    assert (proof["accepted"], proof["balanced"]) == (2, True)
