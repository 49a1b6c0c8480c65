"""Signatures as `ssh-keygen -Y sign` writes them (OpenSSH's PROTOCOL.sshsig, PROTOCOL.u2f), of Ed25519 keys in files,
agents and FIDO tokens.

What a stranger wrote is read here before anything vouches for it, so the format is narrow: a bounded text, one
armour, exact lengths, nothing behind the end.
"""

import base64
import binascii
import hashlib
import re
from typing import List, NamedTuple

from ..system.failures import TrustError
from . import ed25519

LONGEST = 8192  # an Ed25519 signature is 300 bytes
MAGIC = b"SSHSIG"
PLAIN, TOKEN = b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"
COUNTED = 5  # bytes: a token's flags and how often it has signed
TOUCHED = 1  # flag: somebody was there
HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
ARMOUR = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END SSH SIGNATURE-----\s*\Z"
)


class Signature(NamedTuple):
    """A signature that has the right form; whether it is one of a message is asked by `holds`."""

    key: bytes  # the public key as SSH writes it, what `key_bytes` makes 32 bytes of
    namespace: bytes
    reserved: bytes
    hash_name: bytes
    value: bytes
    counted: bytes = b""  # of a token

    def holds(self, message: bytes) -> bool:
        """Whether it is one of `message`."""
        hashed = HASHES[self.hash_name](message).digest()
        signed = MAGIC + b"".join(map(string, (self.namespace, self.reserved, self.hash_name, hashed)))
        if self.counted:
            if not self.counted[0] & TOUCHED:
                return False
            application = hashlib.sha256(strings(self.key, 3)[2]).digest()
            signed = application + self.counted + hashlib.sha256(signed).digest()
        return ed25519.verify(key_bytes(self.key), signed, self.value)


def read(text: bytes) -> Signature:
    """The signature in an armoured text."""
    if len(text) > LONGEST:
        raise _malformed("longer than %d bytes" % LONGEST)
    inside = ARMOUR.match(text)
    if inside is None:
        raise _malformed("no SSH SIGNATURE block")
    try:
        blob = base64.b64decode(b"".join(inside.group(1).split()), validate=True)
    except binascii.Error as error:
        raise _malformed(str(error))
    if blob[:6] != MAGIC or blob[6:10] != b"\0\0\0\1":
        raise _malformed("not version 1")
    key, namespace, reserved, hash_name, wrapped = strings(blob[10:], 5)
    if hash_name not in HASHES:
        raise _malformed("its hash is neither sha256 nor sha512")
    key_bytes(key)
    end = len(wrapped) - (COUNTED if kind_of(key) == TOKEN else 0)
    kind, value = strings(wrapped[:end], 2)
    if kind != kind_of(key) or len(value) != 64:
        raise _malformed("not of its own key")
    return Signature(key, namespace, reserved, hash_name, value, wrapped[end:])


def key_bytes(blob: bytes) -> bytes:
    """The 32 bytes of an Ed25519 key as SSH writes it."""
    key = strings(blob, 2 if kind_of(blob) == PLAIN else 3)[1]
    if len(key) != 32:
        raise _malformed("its key has not 32 bytes")
    return key


def kind_of(blob: bytes) -> bytes:
    """What a key calls itself; one of the two that are known."""
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    if kind not in (PLAIN, TOKEN):
        raise _malformed("made by a key of another kind")
    return kind


def fingerprint(blob: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def string(value: bytes) -> bytes:
    """SSH's string: a length of four bytes, and the bytes (RFC 4251, 5)."""
    return len(value).to_bytes(4, "big") + value


def strings(blob: bytes, count: int) -> List[bytes]:
    """Exactly so many strings, and nothing behind them."""
    found: List[bytes] = []
    for _ in range(count):
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end or len(blob) < 4:
            raise _malformed("cut short")
        found.append(blob[4:end])
        blob = blob[end:]
    if blob:
        raise _malformed("%d bytes too long" % len(blob))
    return found


def _malformed(why: str) -> TrustError:
    return TrustError(
        "the signature is not one of `ssh-keygen -Y sign` with an Ed25519 key: %s" % why,
        "sign again: jetpress release RUN --key KEY",
    )
