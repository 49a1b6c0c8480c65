"""Signatures of ssh-keygen, read by us: all that ssh-keygen writes, nothing that is longer, shorter or otherwise."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetpress.deploy.release.keys import Key
from jetpress.deploy.runner.system.failures import TrustError
from jetpress.deploy.runner.trust import openssh, sshsig
from jetpress.deploy.runner.trust.ed25519 import BASE, NEUTRAL, L, add, encode
from jetpress.deploy.runner.trust.release import CLAIMS, SIGNATURE
from jetpress.deploy.runner.trust.signers import NAMESPACE
from tests.deploy.release.places import SIGNER, armoured, block


@pytest.fixture(scope="module")
def signed(made: tuple) -> tuple[bytes, bytes]:
    folder, _ = made
    return (folder / CLAIMS).read_bytes(), (folder / SIGNATURE).read_bytes()


def openssh_takes(message: bytes, text: bytes, key: bytes) -> bool:
    try:
        return openssh.confirm(message, text, SIGNER, key, NAMESPACE)
    except TrustError:
        return False


def test_both_verifiers_take_what_was_signed(signed: tuple[bytes, bytes], key: Key) -> None:
    text, armour = signed
    signature = sshsig.read(armour)
    assert armoured(signature) == armour
    assert signature.key == key.blob
    assert signature.holds(text)
    assert openssh_takes(text, armour, key.blob)


@given(st.sampled_from(["message", "key", "value", "namespace"]), st.integers(0, 511))
@settings(max_examples=15, deadline=None)
def test_both_verifiers_refuse_a_flipped_bit(
    signed: tuple[bytes, bytes], key: Key, part: str, bit: int
) -> None:
    """OpenSSH is asked for every one: where both exist they agree."""
    text, armour = signed
    signature = sshsig.read(armour)
    old = text if part == "message" else getattr(signature, part)
    flipped = bytearray(old)
    at = bit // 8 % len(old) if part != "key" else len(old) - 1 - bit // 8 % 32
    flipped[at] ^= 1 << bit % 8
    text = bytes(flipped) if part == "message" else text
    if part != "message":
        signature = signature._replace(**{part: bytes(flipped)})
    assert not signature.holds(text) or signature.namespace != NAMESPACE.encode()
    assert not openssh_takes(text, armoured(signature), signature.key)


def test_we_refuse_a_second_signature_made_of_the_first(signed: tuple[bytes, bytes], key: Key) -> None:
    """S + L: OpenSSH 9.2 takes it; both must take a signature, so it is refused."""
    text, armour = signed
    signature = sshsig.read(armour)
    scalar = int.from_bytes(signature.value[32:], "little") + L
    second = signature._replace(value=signature.value[:32] + scalar.to_bytes(32, "little"))
    assert not second.holds(text)


TOKEN_SECRET = hashlib.sha512(b"a token").digest()


def of_token(text: bytes, flags: int) -> tuple[bytes, bytes]:
    """A signature as a FIDO token makes it (PROTOCOL.u2f), by RFC 8032; the armour and the key."""
    scalar = int.from_bytes(TOKEN_SECRET[:32], "little") & ((1 << 254) - 8) | 1 << 254
    public, nonce = times(scalar), int.from_bytes(TOKEN_SECRET[32:], "little") % L
    key = b"".join(map(sshsig.string, (sshsig.TOKEN, public, b"ssh:")))
    counted = bytes([flags]) + (7).to_bytes(4, "big")
    parts = (NAMESPACE.encode(), b"", b"sha512", hashlib.sha512(text).digest())
    inside = hashlib.sha256(sshsig.MAGIC + b"".join(map(sshsig.string, parts))).digest()
    message = hashlib.sha256(b"ssh:").digest() + counted + inside
    challenge = int.from_bytes(hashlib.sha512(times(nonce) + public + message).digest(), "little")
    value = times(nonce) + ((nonce + challenge * scalar) % L).to_bytes(32, "little")
    return armoured(sshsig.Signature(key, NAMESPACE.encode(), b"", b"sha512", value, counted)), key


def times(scalar: int) -> bytes:
    total, point = NEUTRAL, BASE
    while scalar:
        total, point, scalar = add(total, point) if scalar & 1 else total, add(point, point), scalar >> 1
    return encode(total)


def test_a_token_signs_when_it_is_touched() -> None:
    armour, key = of_token(b"release", flags=sshsig.TOUCHED)
    signature = sshsig.read(armour)
    assert signature.holds(b"release")
    assert not signature.holds(b"Release")
    assert not signature._replace(counted=b"\1\0\0\0\x08").holds(b"release")
    assert openssh_takes(b"release", armour, key)
    assert not openssh_takes(b"Release", armour, key)
    assert not sshsig.read(of_token(b"release", flags=0)[0]).holds(b"release")


def damaged(armour: bytes) -> dict[str, bytes]:
    signature = sshsig.read(armour)
    whole = armoured(signature)
    return {
        "empty": b"",
        "no armour": b"SSHSIG",
        "two": whole + whole,
        "words before": b"hello\n" + whole,
        "bytes behind": armoured(signature, b"\0"),
        "long": whole + b"\n" * sshsig.LONGEST,
        "base64": whole.replace(b"U", b"=", 1),
        "version 2": block(b"SSHSIG\0\0\0\2"),
        "cut": block(b"SSHSIG\0\0\0\1\0\0\0\x33"),
        "a length without end": block(b"SSHSIG\0\0\0\1\xff\xff\xff\xff"),
        "hash": armoured(signature._replace(hash_name=b"md5")),
        "rsa": armoured(signature._replace(key=sshsig.string(b"ssh-rsa") + sshsig.string(bytes(32)))),
        "short key": armoured(
            signature._replace(key=sshsig.string(b"ssh-ed25519") + sshsig.string(bytes(31)))
        ),
        "short value": armoured(signature._replace(value=signature.value[:-1])),
    }


def test_what_is_not_exactly_a_signature_is_one_message(signed: tuple[bytes, bytes]) -> None:
    for name, text in damaged(signed[1]).items():
        with pytest.raises(TrustError, match="is not one of `ssh-keygen"):
            pytest.fail(f"{name}: {sshsig.read(text)}")


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_signature_or_one_message(blob: bytes) -> None:
    for text in (blob, block(b"SSHSIG\0\0\0\1" + blob)):
        with pytest.raises(TrustError):
            sshsig.read(text)
