"""Where the listener listens: what ``PICLOUD_SMTP_BIND`` says.

::

    127.0.0.1:2525          SMTP; so does [::1]:2525
    lmtp:127.0.0.1:2424     LMTP: a mail server on this machine hands over, and hears of each recipient
    unix:/run/picloud/mail  LMTP on a socket whose group may connect
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MailProtocol = Literal["smtp", "lmtp"]

EXPECTED = "HOST:PORT, lmtp:HOST:PORT or unix:/PATH, as in 127.0.0.1:2525"


@dataclass(frozen=True, slots=True)
class Bind:
    """One place to listen.

    Attributes:
        port: 0: any that is free.
        path: of a Unix socket; host and port mean nothing then.
    """

    protocol: MailProtocol = "smtp"
    host: str = "127.0.0.1"
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'lmtp:' if self.protocol == 'lmtp' else ''}{host}:{self.port}"


def parse_bind(text: str) -> Bind:
    """Read ``PICLOUD_SMTP_BIND``.

    Raises:
        ValueError: says what was expected.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError(EXPECTED)
        return Bind("lmtp", path=path)
    protocol: MailProtocol = "lmtp" if text.startswith("lmtp:") else "smtp"
    host, _, port = text.removeprefix("lmtp:").rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_usable = bare and (bare != host or ":" not in host) and port.isascii() and port.isdigit() and len(port) <= 5
    if not is_usable or not 0 <= int(port) < 65_536:
        raise ValueError(EXPECTED)
    return Bind(protocol, bare, int(port))
