"""Sends the mails that scripts wrote: rows of their own, with retries and dead letters like any other.

A server may take a mail and its answer be lost; then the mail is sent again, under the
same Message-ID, by which a mailbox can tell that it has it.
"""

from __future__ import annotations

import time
from functools import cached_property

from picloud.engine import RunFailure, RunResult
from picloud.errors import ConfigurationError
from picloud.mail.errors import InvalidMailError, MailRefusedError, MailUnavailableError
from picloud.mail.outgoing import OutgoingMail
from picloud.mail.transport import MailTransport
from picloud.outbox.run_rows import BegunRow
from picloud.services.hops import sign_hops
from picloud.services.vault import MasterKeys
from picloud.settings import Settings

#: For each answer of the mail server.
_TIMEOUT_SECONDS = 10.0


class Postman:
    """Shared by all threads of the process."""

    def __init__(self, settings: Settings, master_keys: MasterKeys) -> None:
        self._settings = settings
        self._master_keys = master_keys

    @cached_property
    def _transport(self) -> MailTransport:
        return MailTransport(self._settings.smtp_url, self._settings.mail_from, _TIMEOUT_SECONDS)

    def deliver(self, row: BegunRow, mail: bytes) -> RunResult:
        """Hand a mail (as ``OutgoingMail`` stores it) to the mail server."""
        started = time.perf_counter()
        failure = self._send(row, mail)
        return RunResult(
            kind=None if failure else "unit", failure=failure, run_us=round((time.perf_counter() - started) * 1e6)
        )

    def _send(self, row: BegunRow, mail: bytes) -> RunFailure | None:
        if not self._settings.smtp_url:
            return RunFailure("mail_not_configured", "PICLOUD_SMTP_URL is not set for this worker")
        try:
            hops = sign_hops(self._master_keys()[0], row.root_execution_id, row.trigger_depth)
            self._transport.send(OutgoingMail.from_json(mail), str(row.id), hops)
        except (MailRefusedError, InvalidMailError) as error:
            return RunFailure("mail_refused", error.message, retryable=False)
        except (MailUnavailableError, ConfigurationError) as error:
            return RunFailure("mail_not_sent", error.message)
        return None
