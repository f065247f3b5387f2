"""What a route asks of its callers: nothing, an API key, or a signature over the request.

Presets are the schemes of those who send webhooks; each is checked in ``picloud.access.signatures``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

AuthKind: TypeAlias = Literal["none", "api_key", "github", "stripe", "slack", "hmac"]
AUTH_KINDS: tuple[AuthKind, ...] = ("none", "api_key", "github", "stripe", "slack", "hmac")

Algorithm: TypeAlias = Literal["sha1", "sha256", "sha512"]
ALGORITHMS: tuple[Algorithm, ...] = ("sha1", "sha256", "sha512")

Encoding: TypeAlias = Literal["hex", "base64"]
ENCODINGS: tuple[Encoding, ...] = ("hex", "base64")


class RouteAuth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a route asks of its callers.

    Attributes:
        kind: ``none``; ``api_key``: one that may run scripts of the app; else how requests are signed.
        secret: the name of the app's secret that signs; for signatures only.
        header: where the signature is; for ``hmac`` only, as the three after it.
        algorithm: of the hash below the HMAC.
        encoding: of the signature.
        prefix: what stands before the signature, as ``sha256=``.
    """

    kind: AuthKind = "none"
    secret: str | None = None
    header: str = "X-Signature"
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""

    @property
    def is_signature(self) -> bool:
        return self.kind not in {"none", "api_key"}

    def to_json(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()

    def to_data(self) -> str | dict[str, str]:
        """As a manifest writes it: a word, or a table."""
        if not self.is_signature:
            return self.kind
        values: dict[str, str] = msgspec.to_builtins(self)
        return values


OPEN = RouteAuth()


def stored_auth(text: str) -> RouteAuth:
    """What ``to_json`` wrote."""
    return msgspec.json.decode(text, type=RouteAuth)
