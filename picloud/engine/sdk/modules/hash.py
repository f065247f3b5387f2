"""Digests of strings (their UTF-8 bytes) and blobs, in lower-case hex.

`md5` and `sha1` are for checksums and old protocols: they protect nothing. To sign something, use `hmac`.
"""

from __future__ import annotations

import hashlib

from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import ArgumentError

HASH = SdkModule("hash", __doc__)

#: Names scripts may use. More would come with every OpenSSL, and leave with the next.
ALGORITHMS = ("md5", "sha1", "sha256", "sha384", "sha512")


@HASH.function
def md5(data: str | bytes) -> str:
    """MD5, 32 digits.

    Example:
        hash::md5("abc")  // "900150983cd24fb0d6963f7d28e17f72"
    """
    return digest("md5", data).hex()


@HASH.function
def sha1(data: str | bytes) -> str:
    """SHA-1, 40 digits.

    Example:
        hash::sha1("abc")  // "a9993e364706816aba3e25717850c26c9cd0d89d"
    """
    return digest("sha1", data).hex()


@HASH.function
def sha256(data: str | bytes) -> str:
    """SHA-256, 64 digits.

    Example:
        hash::sha256("abc")  // "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    """
    return digest("sha256", data).hex()


@HASH.function
def sha384(data: str | bytes) -> str:
    """SHA-384, 96 digits.

    Example:
        hash::sha384("").len  // 96
    """
    return digest("sha384", data).hex()


@HASH.function
def sha512(data: str | bytes) -> str:
    """SHA-512, 128 digits.

    Example:
        hash::sha512("").len  // 128
    """
    return digest("sha512", data).hex()


@HASH.function
def digest(algorithm: str, data: str | bytes) -> bytes:
    """The raw bytes, for where hex is not wanted; the algorithm by its name here.

    Throws:
        invalid_input: there is no such algorithm.

    Example:
        base64::encode(hash::digest("md5", "abc"))  // "kAFQmDzST7DWlj99KOF/cg=="
    """
    content = data.encode() if isinstance(data, str) else data
    return hashlib.new(known_algorithm(algorithm), content, usedforsecurity=False).digest()


def known_algorithm(name: str) -> str:
    """A name out of ``ALGORITHMS``.

    Raises:
        ArgumentError: it is another.
    """
    if name not in ALGORITHMS:
        raise ArgumentError(f"there is no algorithm `{name}`; there are {', '.join(ALGORITHMS)}")
    return name
