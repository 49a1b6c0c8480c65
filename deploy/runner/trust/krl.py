"""Which keys are trusted no more, as `ssh-keygen -k` writes it (OpenSSH's PROTOCOL.krl): keys, and their fingerprints.

What it says of certificates is passed over: none signs a release. What is not understood refuses everything.
"""

import hashlib
from typing import Iterator, NamedTuple, Set

from ..system.failures import TrustError

MAGIC = b"SSHKRL\n\0\0\0\0\1"  # with the version of the format
NUMBERS = 24  # bytes: version and date of the list, flags
CERTIFICATES, KEYS, SHA1, SHA256 = 1, 2, 3, 5
LENGTHS = {SHA1: 20, SHA256: 32}
LARGEST = 2**24


class Revocations(NamedTuple):
    """A list of revoked keys."""

    content: bytes  # as it is in the file, for OpenSSH
    keys: Set[bytes]  # as SSH writes them
    fingerprints: Set[bytes]

    def has(self, key: bytes) -> bool:
        """Whether a key, as SSH writes it, is revoked."""
        found = {hashlib.sha1(key).digest(), hashlib.sha256(key).digest()} & self.fingerprints  # noqa: S324
        return bool(found) or key in self.keys


def read(content: bytes, path: str) -> Revocations:
    """The list in a file's bytes; `path` is for the message."""
    if not content.startswith(MAGIC):
        raise _strange(path, "it does not begin as one of version 1")
    keys: Set[bytes] = set()
    fingerprints: Set[bytes] = set()
    at = len(MAGIC) + NUMBERS
    for _ in ("reserved", "comment"):
        at = _end(content, at, path)
    while at < len(content):
        kind, start, at = content[at], at + 5, _end(content, at + 1, path)
        if kind == CERTIFICATES:
            continue
        if kind != KEYS and kind not in LENGTHS:
            raise _strange(path, "its section of kind %d is not known" % kind)
        for one in _strings(content[start:at], path):
            if len(one) != LENGTHS.get(kind, len(one)):
                raise _strange(path, "a fingerprint of %d bytes" % len(one))
            (keys if kind == KEYS else fingerprints).add(one)
    return Revocations(content, keys, fingerprints)


def _strings(section: bytes, path: str) -> Iterator[bytes]:
    at = 0
    while at < len(section):
        start, at = at + 4, _end(section, at, path)
        yield section[start:at]


def _end(content: bytes, at: int, path: str) -> int:
    """Where the string that begins at `at` ends (RFC 4251, 5)."""
    end = at + 4 + int.from_bytes(content[at : at + 4], "big")
    if at + 4 > len(content) or end > len(content):
        raise _strange(path, "cut short")
    return end


def _strange(path: str, why: str) -> TrustError:
    return TrustError(
        "%s is no list of revoked keys that can be read: %s" % (path, why),
        "make it with `ssh-keygen -k -f FILE KEY.pub...`; until then nothing is trusted here",
    )
