"""What asks a web process or sends mail to a mail process, and what is answered."""

from __future__ import annotations

import json
import smtplib
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What a web process said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def post(
    url: str, body: bytes = b"{}", *, within_seconds: float = 30.0, headers: Mapping[str, str] | None = None
) -> Answer:
    """POST; an HTTP error is an answer too.

    Raises:
        OSError: the connection broke.
    """
    sent = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=body, method="POST", headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=within_seconds) as response:
            return Answer(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def is_listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Postbox:
    """A mail process as a sender sees it."""

    port: int

    def send(self, content: bytes, to: str = "orders@shop.example", *, sender: str = "ada@example.com") -> None:
        """One mail to one address; returns when the answer was 250.

        Raises:
            smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused: another answer.
            OSError: no answer. (smtplib.SMTPServerDisconnected is one.)
        """
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.sendmail(sender, [to], content)
