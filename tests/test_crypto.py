"""The cryptographic calls against published examples, and what they refuse."""

from __future__ import annotations

import pytest

from packager import crypto
from packager.crypto import CryptoMismatch

# RFC 8032 7.1, TEST 2: the message is one byte.
ED25519_SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
ED25519_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
ED25519_MESSAGE = b"\x72"
ED25519_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
# RFC 7748 5.2, first example.
X25519_SECRET = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
X25519_PUBLIC = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"
X25519_SHARED = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"

ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
"""L of RFC 8032 5.1."""

LOW_ORDER_U = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
)
"""u of every point of small order on curve25519 (and its twist)."""


def test_ed25519_signs_as_rfc_8032_does() -> None:
    secret = bytes.fromhex(ED25519_SECRET)

    assert crypto.verify_key_of(secret).hex() == ED25519_PUBLIC
    assert crypto.sign(secret, ED25519_MESSAGE).hex() == ED25519_SIGNATURE
    crypto.verify(bytes.fromhex(ED25519_PUBLIC), bytes.fromhex(ED25519_SIGNATURE), ED25519_MESSAGE)


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_an_altered_signature_does_not_verify(at: int) -> None:
    signature = bytearray.fromhex(ED25519_SIGNATURE)
    signature[at] ^= 1

    with pytest.raises(CryptoMismatch):
        crypto.verify(bytes.fromhex(ED25519_PUBLIC), bytes(signature), ED25519_MESSAGE)


def test_a_signature_with_its_scalar_beyond_the_order_does_not_verify() -> None:
    signature = bytes.fromhex(ED25519_SIGNATURE)
    scalar = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    stretched = signature[:32] + scalar.to_bytes(32, "little")

    with pytest.raises(CryptoMismatch):
        crypto.verify(bytes.fromhex(ED25519_PUBLIC), stretched, ED25519_MESSAGE)


def test_x25519_agrees_as_rfc_7748_does() -> None:
    shared = crypto.shared_secret(bytes.fromhex(X25519_SECRET), bytes.fromhex(X25519_PUBLIC))

    assert shared.hex() == X25519_SHARED


@pytest.mark.parametrize("u", LOW_ORDER_U)
def test_the_all_zero_shared_secret_is_refused(u: int) -> None:
    with pytest.raises(CryptoMismatch):
        crypto.shared_secret(crypto.draw(), u.to_bytes(32, "little"))


def test_a_wrapped_key_opens_only_with_everything_the_same() -> None:
    device, ephemeral, cek = crypto.draw(), crypto.draw(), crypto.draw()
    public = crypto.public_key_of(ephemeral)
    wrapped, tag = crypto.wrap_key(ephemeral, crypto.public_key_of(device), b"info", b"aad", cek)

    assert crypto.unwrap_key(device, public, b"info", b"aad", wrapped, tag) == cek
    for other in (
        (crypto.draw(), public, b"info", b"aad", wrapped, tag),
        (device, crypto.public_key_of(crypto.draw()), b"info", b"aad", wrapped, tag),
        (device, public, b"Info", b"aad", wrapped, tag),
        (device, public, b"info", b"Aad", wrapped, tag),
        (device, public, b"info", b"aad", bytes(32), tag),
        (device, public, b"info", b"aad", wrapped, bytes(16)),
    ):
        with pytest.raises(CryptoMismatch):
            crypto.unwrap_key(*other)


@pytest.mark.parametrize(("index", "is_last"), [(1, False), (0, True), (1 << 31, False)])
def test_a_chunk_opens_only_in_its_place(index: int, is_last: bool) -> None:
    cek, nonce = crypto.draw(), crypto.draw(crypto.NONCE_SIZE)
    sealed = crypto.seal_chunk(cek, nonce, 0, False, b"plain")

    assert crypto.open_chunk(cek, nonce, 0, False, sealed) == b"plain"
    with pytest.raises(CryptoMismatch):
        crypto.open_chunk(cek, nonce, index, is_last, sealed)


def test_the_digest_is_blake2b_of_256_bits() -> None:
    # BLAKE2b-256 of nothing, as b2sum -l 256 prints it.
    expected = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"

    assert crypto.digest(b"").hex() == expected
