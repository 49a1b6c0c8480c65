"""Ed25519 signatures, verified in pure Python (RFC 8032, 5.1.7), for boards whose OpenSSH cannot.

Public data only: nothing here takes the same time for every input, and nothing here signs. The check has no cofactor,
as OpenSSH's: the encoding of [S]B - [k]A must be R, byte for byte. Refused are S >= L (a second signature made of
the first), points that are not written in the one way there is, and public keys of small order (anybody signs for
those).
"""

import hashlib
from typing import List, Optional, Tuple

Point = Tuple[int, int, int, int]  # X, Y, Z, T with x = X / Z, y = Y / Z, x * y = T / Z (RFC 8032, 5.1.4)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of -1
NEUTRAL = (0, 1, 1, 0)
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)
WINDOW = 4  # bits of both scalars at a time


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is one of `message` under the key `public` (32 bytes)."""
    key = decode(public)
    if key is None or len(signature) != 64 or is_small(key):
        return False
    scalar = int.from_bytes(signature[32:], "little")
    if scalar >= L:
        return False
    hashed = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(hashed, "little") % L
    return encode(_sum_of_products(scalar, BASE, challenge, negative(key))) == signature[:32]


def decode(octets: bytes) -> Optional[Point]:
    """The point, by RFC 8032, 5.1.3; None where the bytes are not the encoding of one."""
    if len(octets) != 32:
        return None
    number = int.from_bytes(octets, "little")
    odd, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    over, under = (y * y - 1) % P, (D * y * y + 1) % P
    x = over * pow(under, 3, P) * pow(over * pow(under, 7, P), (P - 5) // 8, P) % P
    if (under * x * x + over) % P == 0:
        x = x * ROOT % P
    if (under * x * x - over) % P or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = P - x
    return x, y, 1, x * y % P


def encode(point: Point) -> bytes:
    """32 bytes: y, and the lowest bit of x."""
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def is_small(point: Point) -> bool:
    """Whether eight times the point is the neutral one."""
    for _ in range(3):
        point = twice(point)
    return point[0] == 0 and point[1] == point[2]


def negative(point: Point) -> Point:
    """-point."""
    x, y, z, t = point
    return -x % P, y, z, -t % P


def add(one: Point, other: Point) -> Point:
    """one + other; the formulas of RFC 8032, 5.1.4, are complete."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def twice(point: Point) -> Point:
    """point + point, with less work (RFC 8032, 5.1.4)."""
    x, y, z, _ = point
    a, b, c = x * x % P, y * y % P, 2 * z * z % P
    h = a + b
    e, g = h - (x + y) * (x + y), a - b
    f = c + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def _sum_of_products(first: int, one: Point, second: int, other: Point) -> Point:
    """[first]one + [second]other, both scalars read a window at a time from the top (Straus)."""
    tables, total = (_multiples(one), _multiples(other)), NEUTRAL
    for shift in range(256 - WINDOW, -1, -WINDOW):
        for _ in range(WINDOW):
            total = twice(total)
        for scalar, table in zip((first, second), tables):  # noqa: B905 - Python 3.6
            total = add(total, table[(scalar >> shift) % 2**WINDOW])
    return total


def _multiples(point: Point) -> List[Point]:
    made = [NEUTRAL]
    for _ in range(2**WINDOW - 1):
        made.append(add(made[-1], point))
    return made
