"""Ed25519 in pure Python: the vectors of RFC 8032, the edge cases that Wycheproof tries, and OpenSSH beside it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetpress.deploy.runner.trust import ed25519
from jetpress.deploy.runner.trust.ed25519 import BASE, L, P, decode, encode, verify

# RFC 8032, 7.1: public key, message, signature
VECTORS = {
    "1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    "2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    "3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    "SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
}
KEY, MESSAGE, SIGNATURE = (bytes.fromhex(part) for part in VECTORS["3"])
SCALAR = int.from_bytes(SIGNATURE[32:], "little")


def octets(number: int) -> bytes:
    return number.to_bytes(32, "little")


@pytest.mark.parametrize("name", VECTORS)
def test_the_vectors_of_the_rfc(name: str) -> None:
    key, message, signature = (bytes.fromhex(part) for part in VECTORS[name])
    assert verify(key, message, signature)
    assert not verify(key, message + b"\0", signature)


@pytest.mark.parametrize(
    "signature",
    [
        SIGNATURE[:32] + octets(SCALAR + L),  # the same number modulo L
        SIGNATURE[:32] + octets(SCALAR | 1 << 255),
        SIGNATURE[:32] + octets(L - SCALAR),
        SIGNATURE[:32] + octets(0),
        octets(0) + SIGNATURE[32:],
        octets(P) + SIGNATURE[32:],
        octets(2**255 - 1) + SIGNATURE[32:],
        encode(BASE) + SIGNATURE[32:],
        SIGNATURE[32:] + SIGNATURE[:32],
        SIGNATURE[:31] + bytes([SIGNATURE[31] ^ 0x80]) + SIGNATURE[32:],  # -R
        SIGNATURE[:-1],
        SIGNATURE + b"\0",
        b"",
        bytes(64),
    ],
)
def test_a_signature_of_another_form_is_none(signature: bytes) -> None:
    assert not verify(KEY, MESSAGE, signature)


SMALL = {  # all points of order 1, 2, 4 and 8, and how else some of them could be written
    "1": octets(1), "2": octets(P - 1), "4": octets(0), "-4": octets(1 << 255),
    "8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "-8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    "8'": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    "-8'": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_key_of_small_order_signs_nothing(name: str) -> None:
    """Under such a key R = [S]B is a signature of every message whose challenge is a multiple of the order."""
    point = decode(SMALL[name])
    assert point is not None
    assert ed25519.is_small(point)
    forged = encode(BASE) + octets(1)
    assert not any(verify(SMALL[name], bytes([number]), forged) for number in range(16))


@pytest.mark.parametrize(
    "written",
    [octets(P), octets(P + 1), octets(1 | 1 << 255), octets(P - 1 | 1 << 255), octets(2**255 - 1), octets(2), b"",
     octets(1)[:-1], octets(1) + b"\0"],
)  # fmt: skip
def test_only_the_one_way_to_write_a_point_is_read(written: bytes) -> None:
    assert decode(written) is None
    assert not verify(written, MESSAGE, SIGNATURE)


@given(st.integers(0, 2**256 - 1))
@settings(max_examples=50, deadline=None)
def test_what_is_read_is_written_alike(number: int) -> None:
    point = decode(octets(number))
    if point is not None:
        assert encode(point) == octets(number)
        assert encode(ed25519.twice(point)) == encode(ed25519.add(point, point))
        assert encode(ed25519.add(point, ed25519.negative(point))) == octets(1)


@given(st.sampled_from(["key", "message", "signature"]), st.integers(0, 511))
@settings(max_examples=80, deadline=None)
def test_a_bit_that_is_flipped_anywhere_is_seen(part: str, bit: int) -> None:
    parts = {"key": KEY, "message": MESSAGE, "signature": SIGNATURE}
    flipped = bytearray(parts[part])
    flipped[bit // 8 % len(flipped)] ^= 1 << bit % 8
    parts[part] = bytes(flipped)
    assert not verify(parts["key"], parts["message"], parts["signature"])
