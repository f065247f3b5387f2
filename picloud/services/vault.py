"""Seals secrets and opens them: AES-256-GCM in two layers, so that a new master key touches no secret.

::

    master key ── HKDF ──> wrapping key          a file; signs other things too, so the key that wraps is derived
    wrapping key ── seals ──> data key           one an app; authenticated with it: the data key's id
    data key ── seals ──> value of a secret      authenticated with it: app, name, version

What is authenticated is not stored beside what is sealed but taken from where it was found.
A row that was altered, or copied to another app, name or version, does not open: the
answer is an error, never another value.

A file of master keys may hold two, while one takes the other's place: a data key says which
one wraps it, and opens with that one wherever it stands in the file.

Values are in no ``repr``, no error, and no cache: a run reads what is set when it asks.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg import Connection
from psycopg_pool import ConnectionPool

from picloud.errors import ConfigurationError, InvalidInputError, NotFoundError, PiCloudError
from picloud.ids import new_id
from picloud.manifest.names import wrong_secret_name
from picloud.queries import Queries
from picloud.services.reading import Reader

_SQL = Queries("secrets")

MAX_VALUE_BYTES = 64 * 1024

_SURROGATE = re.compile("[\ud800-\udfff]")

_KEY_BYTES = 32
#: Random, and new for every value: with 96 bits one key seals 2^32 values safely (NIST SP 800-38D, 8.3).
_NONCE_BYTES = 12
_MASTER_KEY_ID_BYTES = 8

#: Gives the master keys there are, 32 bytes each, the one that signs first; raises ConfigurationError without any.
MasterKeys: TypeAlias = Callable[[], Sequence[bytes]]


class MasterKeyError(ConfigurationError):
    """Raised when secrets are needed where no master key can be read."""

    code = "master_key_missing"


class WrongMasterKeyError(MasterKeyError):
    """Raised when the master key is not the one that this installation's secrets are sealed with."""

    code = "wrong_master_key"


class BrokenSealError(PiCloudError):
    """Raised when what is stored is not what was sealed for this place; it was altered, or belongs elsewhere."""

    code = "broken_seal"


class SecretPlace(NamedTuple):
    """Where a sealed value belongs; it opens nowhere else."""

    app_id: int
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key as it is stored.

    Attributes:
        wrapped: sealed with the master key.
        master_key_id: which one that was; says nothing about the key itself.
    """

    id: UUID
    wrapped: bytes = field(repr=False)
    master_key_id: bytes


class _Master(NamedTuple):
    id: bytes
    cipher: AESGCM


class Vault:
    """Seals and opens. Thread-safe; keeps opened data keys for as long as it lives, and asks for master keys anew."""

    def __init__(self, master_keys: MasterKeys) -> None:
        """Reads nothing yet.

        Args:
            master_keys: asked whenever one is needed, so that a file that was replaced is noticed.
        """
        self._load = master_keys
        self._lock = threading.Lock()
        self._masters: dict[bytes, _Master] = {}
        self._opened: dict[UUID, AESGCM] = {}

    def first_master_key_id(self) -> bytes:
        """The id of the master key that an installation without any begins with.

        Raises:
            MasterKeyError: there is none here.
        """
        return self._use_masters()[0].id

    def new_data_key(self, master_key_id: bytes) -> DataKey:
        """A data key that was never made before.

        Args:
            master_key_id: of the master key that wraps it.

        Raises:
            MasterKeyError: that one is not here.
        """
        return self._wrapped(new_id(), AESGCM.generate_key(8 * _KEY_BYTES), self._master(master_key_id))

    def rewrap(self, data_key: DataKey, master_key_id: bytes) -> DataKey:
        """The same data key, wrapped by another master key; what it seals opens as before.

        Raises:
            MasterKeyError: one of the two master keys is not here.
            BrokenSealError: the data key is damaged.
        """
        return self._wrapped(data_key.id, self._unwrapped(data_key), self._master(master_key_id))

    def seal(self, data_key: DataKey, place: SecretPlace, value: str) -> bytes:
        """The value, to be opened at its place only.

        Raises:
            InvalidInputError: the value is empty, too long, or no text.
            MasterKeyError: there is no master key here, or the wrong one.
            BrokenSealError: the data key is damaged.
        """
        content = checked_value(value)
        return _seal(self._cipher(data_key), content, _bound_to_place(place))

    def open(self, data_key: DataKey, place: SecretPlace, sealed: bytes) -> str:
        """The value that was sealed for ``place``.

        Raises:
            MasterKeyError: there is no master key here, or the wrong one.
            BrokenSealError: it was not sealed for this place by this data key, or was altered since.
        """
        cipher = self._cipher(data_key)
        try:
            return _open(cipher, sealed, _bound_to_place(place)).decode()
        except InvalidTag:
            raise BrokenSealError(
                f"secret {place.name} cannot be opened: its row was altered, or was sealed for another app,"
                " name or version",
                hint="setting it again writes a row that opens",
            ) from None

    def _cipher(self, data_key: DataKey) -> AESGCM:
        with self._lock:
            known = self._opened.get(data_key.id)
        if known is not None:
            return known
        opened = AESGCM(self._unwrapped(data_key))
        with self._lock:
            self._opened[data_key.id] = opened
        return opened

    def _unwrapped(self, data_key: DataKey) -> bytes:
        master = self._master(data_key.master_key_id)
        try:
            return _open(master.cipher, data_key.wrapped, _bound_to_key(data_key.id))
        except InvalidTag:
            raise BrokenSealError(
                f"data key {data_key.id} cannot be opened: its row was altered",
                hint="restore table data_keys from a backup, or set the secrets of the app anew",
            ) from None

    @staticmethod
    def _wrapped(identifier: UUID, key: bytes, master: _Master) -> DataKey:
        return DataKey(identifier, _seal(master.cipher, key, _bound_to_key(identifier)), master.id)

    def _master(self, identifier: bytes) -> _Master:
        here = self._use_masters()
        for master in here:
            if master.id == identifier:
                return master
        raise WrongMasterKeyError(
            f"secrets are sealed with master key {identifier.hex()}, and this process has"
            f" {' and '.join(master.id.hex() for master in here)}",
            hint="copy the file from a machine that has the right one, and name it with PICLOUD_MASTER_KEY_FILE;"
            " under systemd, restart the service afterwards",
        )

    def _use_masters(self) -> list[_Master]:
        try:
            keys = self._load()
        except ConfigurationError as error:
            raise MasterKeyError(f"secrets need the master key: {error.message}", hint=error.hint) from error
        return [self._derived(key) for key in keys]

    def _derived(self, key: bytes) -> _Master:
        identifier = master_key_id(key)
        with self._lock:
            master = self._masters.get(identifier)
            if master is None:
                master = self._masters[identifier] = _master_of(identifier, key)
            return master


class SecretReader:
    """Reads the secrets of running scripts. Thread-safe; needs the master key when the first secret is read."""

    def __init__(self, pool: ConnectionPool[Connection[Any]], master_keys: MasterKeys) -> None:
        self._reader = Reader(pool)
        self._vault = Vault(master_keys)

    def get(self, app_id: int, name: str) -> str:
        """The value of a secret as it is set now.

        Raises:
            NotFoundError: the app has none of this name.
            MasterKeyError: there is no master key here, or the wrong one.
            BrokenSealError: what is stored is not what was set.
        """
        # A name that cannot be a secret's is not asked for: it may hold what PostgreSQL refuses.
        if wrong := wrong_secret_name(name):
            raise NotFoundError(f"the app has no secret of this name: {wrong}", code="secret_not_found")
        rows = self._reader.ask(_SQL.secret_of_run, {"app_id": app_id, "name": name})
        if not rows or rows[0].sealed is None:
            app = rows[0].app if rows else "APP"
            raise NotFoundError(
                f"the app has no secret {name!r}",
                hint=f"`picloud secrets set {app} {name}` sets it",
                code="secret_not_found",
            )
        (row,) = rows
        data_key = DataKey(row.data_key_id, bytes(row.wrapped), bytes(row.master_key_id))
        return self._vault.open(data_key, SecretPlace(app_id, name, row.version), bytes(row.sealed))


def checked_value(value: str) -> bytes:
    """The value as it is sealed.

    Raises:
        InvalidInputError: it is empty, too long, or no text. The value is not in the message.
    """
    # Asked before it is encoded: the error of a failed encoding holds what it could not encode.
    if _SURROGATE.search(value):
        raise InvalidInputError("value: holds half a character (a lone surrogate)")
    content = value.encode()
    if not 1 <= len(content) <= MAX_VALUE_BYTES:
        raise InvalidInputError(f"value: a secret has 1 to {MAX_VALUE_BYTES} bytes, not {len(content)}")
    return content


def master_key_id(key: bytes) -> bytes:
    """What a master key is known by; says nothing about the key itself.

    Raises:
        MasterKeyError: it has not the length of one.
    """
    if len(key) != _KEY_BYTES:
        raise MasterKeyError(f"a master key has {_KEY_BYTES} bytes, not {len(key)}")
    return hmac.digest(key, b"picloud master key id", hashlib.sha256)[:_MASTER_KEY_ID_BYTES]


def _master_of(identifier: bytes, key: bytes) -> _Master:
    derived = HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"picloud wraps data keys").derive(key)  # RFC 5869
    return _Master(identifier, AESGCM(derived))


def _seal(cipher: AESGCM, content: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, content, bound_to)


def _open(cipher: AESGCM, sealed: bytes, bound_to: bytes) -> bytes:
    """Raises: InvalidTag."""
    if len(sealed) < _NONCE_BYTES:
        raise InvalidTag
    return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)


def _bound_to_key(identifier: UUID) -> bytes:
    return b"picloud data key\0" + identifier.bytes


def _bound_to_place(place: SecretPlace) -> bytes:
    # The name comes last: it alone could hold what separates.
    return f"picloud secret\0{place.app_id}\0{place.version}\0{place.name}".encode()
