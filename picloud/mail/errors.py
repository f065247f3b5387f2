"""What mail may come to, as errors.

::

    InvalidInputError
    ├── UnusableMailError     a received mail that no script could be given
    └── InvalidMailError      a mail a script asked for that cannot be sent to anybody
    PiCloudError
    ├── MailRefusedError      the server said no to this mail: asking again changes nothing
    └── MailUnavailableError  the server cannot be reached, or said "later"
"""

from __future__ import annotations

from picloud.errors import InvalidInputError, PiCloudError


class UnusableMailError(InvalidInputError):
    """Raised when a received mail is beyond the bounds, or cannot be read at all."""

    code = "mail_not_usable"


class InvalidMailError(InvalidInputError):
    """Raised when what a script wants to send is no mail; nothing was queued."""

    code = "invalid_mail"


class MailRefusedError(PiCloudError):
    """Raised when the mail server refuses this mail for good (5xx); nobody has received it.

    Attributes:
        recipients: those refused by name, with what the server said; empty: the mail as a whole.
    """

    code = "mail_refused"

    def __init__(self, message: str, *, recipients: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.recipients = recipients or {}


class MailUnavailableError(PiCloudError):
    """Raised when the mail server does not answer, is not ready (4xx) or does not let us in."""

    code = "mail_unavailable"
    retryable = True
