"""Points of edwards25519 in affine coordinates, slow and short, to craft odd signatures."""

from __future__ import annotations

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    """Return the sum."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    """Return the multiple."""
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def from_y(y: int, sign: int) -> Point:
    """Return the point with this y, if it is on the curve."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "no point"
    return (P - x if x % 2 != sign else x), y


BASE = from_y(4 * pow(5, -1, P) % P, 0)


def encode(point: Point) -> bytes:
    """Return the one canonical encoding."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def small_order_points() -> list[Point]:
    """Return the eight points whose order divides 8."""
    y = 2
    while True:
        try:
            torsion = times(ORDER, from_y(y, 0))
        except AssertionError:
            torsion = NEUTRAL
        if times(4, torsion) != NEUTRAL:
            return [times(n, torsion) for n in range(8)]
        y += 1


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    """Return the hash of RFC 8032 5.1.7 as a scalar."""
    digest = hashlib.sha512(r + public + message).digest()
    return int.from_bytes(digest, "little") % ORDER


def sign_with(secret: int, public: bytes, nonce: int, shift: Point, message: bytes) -> bytes:
    """Sign with scalars of one's choice and R moved by a point of small order."""
    r = encode(add(times(nonce, BASE), shift))
    s = (nonce + challenge(r, public, message) * secret) % ORDER
    return r + s.to_bytes(32, "little")
