"""One mailbox: ``ada@example.com`` or ``Ada Lovelace <ada@example.com>``, read strictly.

Only the forms people use are taken. Quoted local parts, comments, groups and
routes (RFC 5322, section 3.4) are refused: two readers that disagree about such an
address deliver to two places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.headerregistry import Address

#: RFC 5321, section 4.5.3.1.
_LONGEST_LOCAL_BYTES = 64
_LONGEST_DOMAIN_BYTES = 255
_LONGEST_NAME = 200

#: An atom of RFC 5322, and by RFC 6532 every letter beyond ASCII.
_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>\s]+)>")

#: Everything that ends a line somewhere, the other controls, and surrogates, which are no text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

EXPECTED = "an address, as in ada@example.com or Ada Lovelace <ada@example.com>"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Somebody mail can be sent to or come from.

    Attributes:
        name: the display name, empty when there is none.
        local: what is before the ``@``; letters beyond ASCII need a server with SMTPUTF8.
        domain: in ASCII (IDNA), in lower case.
    """

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}"

    def as_header(self) -> Address:
        """As the stdlib's headers take it."""
        return Address(self.name, self.local, self.domain)


def is_one_line(text: str) -> bool:
    """May ``text`` stand in a header? A line break would begin another one."""
    return _CONTROL.search(text) is None


def parse_mailbox(text: str) -> Mailbox:
    """The mailbox ``text`` names.

    Raises:
        ValueError: says what was expected.
    """
    text = text.strip(" ")
    if not is_one_line(text):
        raise ValueError(EXPECTED)
    name, address = "", text
    if text.endswith(">"):
        named = _NAMED.fullmatch(text)
        if named is None:
            raise ValueError(EXPECTED)
        name, address = _plain_name(named["name"].strip(" ")), named["address"]
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or len(local.encode()) > _LONGEST_LOCAL_BYTES:
        raise ValueError(EXPECTED)
    return Mailbox(name, local, _ascii_domain(domain))


def _plain_name(name: str) -> str:
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a name of at most {_LONGEST_NAME} characters")
    return name


def _ascii_domain(domain: str) -> str:
    if len(domain) > _LONGEST_DOMAIN_BYTES:
        raise ValueError(EXPECTED)
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError(EXPECTED) from None
    if len(domain) > _LONGEST_DOMAIN_BYTES or not all(map(_LABEL.fullmatch, domain.split("."))):
        raise ValueError(EXPECTED)
    return domain.lower()
