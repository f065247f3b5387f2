"""Mail, handed to the mail server of this installation once this run is committed.

A server that is away or busy is tried again; a mail that is refused for good becomes a dead letter.
"""

from __future__ import annotations

from typing import Any

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.mail.outgoing import OutgoingMail

EMAIL = SdkModule("email", __doc__)


@EMAIL.function
def send(run: RunContext, mail: dict[str, Any]) -> str:
    """Send a mail: `#{ to, subject, text, html }`, `to` an address or an array of them; text, html or both.

    The result is the id of the execution that sends it.

    Throws:
        invalid_mail: something in it cannot be sent.
        mail_not_configured: this installation sends no mail.

    Example:
        email::send(#{ to: "ada@example.com", subject: "Hello", text: "Your order is on its way." });
    """
    return str(run.services.send_email(OutgoingMail.from_script(mail).to_json()))
