"""The loader's own cryptography, compiled for this machine, against vectors and `cryptography`."""

from __future__ import annotations

import ctypes
import hashlib
import random
import zlib
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .host import CRYPTO, build_library, variable

VECTORS = Path(cryptography_vectors.__file__).parent
GOOD = 0xC35A96A5
ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = build_library(tmp_path_factory.mktemp("host"), CRYPTO)
    library.ed25519_verify.restype = ctypes.c_uint32
    library.crc32_update.restype = ctypes.c_uint32
    return library


def sha512(lib: ctypes.CDLL, parts: list[bytes]) -> bytes:
    digest = ctypes.create_string_buffer(64)
    lib.sha512_init()
    for part in parts:
        lib.sha512_update(part, ctypes.c_size_t(len(part)))
    lib.sha512_final(digest)
    return digest.raw


def verify(lib: ctypes.CDLL, signature: bytes, public: bytes, message: bytes) -> bool:
    size = ctypes.c_size_t(len(message))
    return int(lib.ed25519_verify(signature, public, message, size)) == GOOD


def rsp(name: str) -> list[dict[str, str]]:
    cases: list[dict[str, str]] = []
    for line in (VECTORS / "hashes" / "SHA2" / name).read_text().splitlines():
        if line.startswith("Len"):
            cases.append({})
        if " = " in line and cases:
            key, value = line.split(" = ")
            cases[-1][key.strip()] = value.strip()
    return cases


@pytest.mark.parametrize("name", ["SHA512ShortMsg.rsp", "SHA512LongMsg.rsp"])
def test_sha512_gives_every_digest_of_nist_cavp(lib: ctypes.CDLL, name: str) -> None:
    cases = rsp(name)
    assert len(cases) > 100
    for case in cases:
        message = bytes.fromhex(case["Msg"])[: int(case["Len"]) // 8]
        assert sha512(lib, [message]).hex() == case["MD"]


def test_sha512_does_not_depend_on_how_a_message_is_cut(lib: ctypes.CDLL) -> None:
    message = random.Random(1).randbytes(300)
    for cut in range(len(message) + 1):
        expected = hashlib.sha512(message[:cut]).digest()
        assert sha512(lib, [message[:cut]]) == expected
        whole = hashlib.sha512(message).digest()
        assert sha512(lib, [message[:cut], message[cut:]]) == whole


def test_sha512_wipes_its_state(lib: ctypes.CDLL) -> None:
    state = variable(lib, "sha", beside="sha512_init")
    lib.sha512_init()
    lib.sha512_update(b"secret", ctypes.c_size_t(6))
    assert b"secret" in bytes(state)
    lib.sha512_final(ctypes.create_string_buffer(64))
    assert not any(state)


def rfc8032() -> list[tuple[bytes, bytes, bytes]]:
    """Public key, message and signature of the vectors that come with RFC 8032's reference."""
    cases = []
    for line in (VECTORS / "asymmetric" / "Ed25519" / "sign.input").read_text().splitlines():
        _, public, message, signed = line.split(":")[:4]
        cases.append((bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signed)[:64]))
    return cases


def test_every_published_ed25519_signature_verifies(lib: ctypes.CDLL) -> None:
    cases = rfc8032()
    assert len(cases) == 1024
    for public, message, signature in cases:
        assert verify(lib, signature, public, message)


def test_no_flipped_bit_of_a_signature_verifies(lib: ctypes.CDLL) -> None:
    public, message, signature = rfc8032()[100]
    for bit in range(512):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        assert not verify(lib, bytes(altered), public, message), f"bit {bit}"


def test_a_signature_with_s_not_below_the_group_order_is_refused(lib: ctypes.CDLL) -> None:
    public, message, signature = rfc8032()[3]
    s = int.from_bytes(signature[32:], "little") + ORDER
    assert s < 2**256
    assert not verify(lib, signature[:32] + s.to_bytes(32, "little"), public, message)


def test_r_and_keys_in_another_encoding_than_the_canonical_one_are_refused(
    lib: ctypes.CDLL,
) -> None:
    # With S = 0, A of order 1 and R the neutral point the equation holds for every message,
    # so only the encoding can be the reason of a refusal.
    one = (1).to_bytes(32, "little")
    assert verify(lib, one + bytes(32), one, b"anything")
    one_with_sign = (1 | 1 << 255).to_bytes(32, "little")
    one_above_p = (P + 1).to_bytes(32, "little")
    for other in (one_with_sign, one_above_p):
        assert not verify(lib, other + bytes(32), one, b"anything")
        assert not verify(lib, one + bytes(32), other, b"anything")


def test_signatures_of_the_host_library_verify(lib: ctypes.CDLL) -> None:
    chance = random.Random(2)
    for size in (0, 1, 608, 4096):
        key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        message = chance.randbytes(size)
        public = key.public_key().public_bytes_raw()
        assert verify(lib, key.sign(message), public, message)
        assert not verify(lib, key.sign(message), public, message + b"\0")


def test_hkdf_agrees_with_the_host_library(lib: ctypes.CDLL) -> None:
    chance = random.Random(3)
    for out, ikm, salt, info in [
        (32, 32, 64, 53),
        (64, 22, 0, 0),
        (1, 200, 129, 300),
        (32, 0, 128, 1),
    ]:
        secret, seasoning, context = (chance.randbytes(size) for size in (ikm, salt, info))
        expected = HKDF(SHA512(), out, seasoning, context).derive(secret)
        result = ctypes.create_string_buffer(out)
        sizes = [ctypes.c_size_t(size) for size in (out, ikm, salt, info)]
        lib.hkdf_sha512(result, sizes[0], secret, sizes[1], seasoning, sizes[2], context, sizes[3])
        assert result.raw == expected


def x25519(lib: ctypes.CDLL, secret: bytes, public: bytes) -> bytes | None:
    shared = ctypes.create_string_buffer(32)
    return None if lib.x25519_shared(shared, secret, public) else shared.raw


def test_x25519_gives_the_secrets_of_rfc_7748(lib: ctypes.CDLL) -> None:
    cases = [  # RFC 7748 5.2 and 6.1
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ]
    for secret, public, shared in cases:
        found = x25519(lib, bytes.fromhex(secret), bytes.fromhex(public))
        assert found == bytes.fromhex(shared)


def test_x25519_agrees_with_the_host_library(lib: ctypes.CDLL) -> None:
    chance = random.Random(4)
    for _ in range(20):
        ours = X25519PrivateKey.from_private_bytes(chance.randbytes(32))
        theirs = X25519PrivateKey.from_private_bytes(chance.randbytes(32)).public_key()
        raw = theirs.public_bytes_raw()
        assert x25519(lib, ours.private_bytes_raw(), raw) == ours.exchange(theirs)


@pytest.mark.parametrize("u", [0, 1, P - 1, P, P + 1])
def test_a_public_key_of_low_order_gives_no_secret(lib: ctypes.CDLL, u: int) -> None:
    assert x25519(lib, bytes(range(32)), u.to_bytes(32, "little")) is None


def aead_open(
    lib: ctypes.CDLL, sealed: bytes, key: bytes, nonce: bytes, aad: bytes
) -> tuple[bool, bytes]:
    text = ctypes.create_string_buffer(sealed[:-16], len(sealed) - 16)
    failed = lib.aead_open(
        text, ctypes.c_size_t(len(text)), sealed[-16:], key, nonce, aad, ctypes.c_size_t(len(aad))
    )
    return not failed, text.raw


def test_the_aead_opens_the_message_of_rfc_8439(lib: ctypes.CDLL) -> None:
    key = bytes(range(0x80, 0xA0))
    nonce = bytes.fromhex("070000004041424344454647")
    aad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    plain = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
        b"the future, sunscreen would be it."
    )
    sealed = ChaCha20Poly1305(key).encrypt(nonce, plain, aad)
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"  # RFC 8439 2.8.2
    assert aead_open(lib, sealed, key, nonce, aad) == (True, plain)


def test_the_aead_leaves_an_altered_message_untouched(lib: ctypes.CDLL) -> None:
    chance = random.Random(5)
    key, nonce, aad, plain = (chance.randbytes(size) for size in (32, 12, 8, 1000))
    sealed = ChaCha20Poly1305(key).encrypt(nonce, plain, aad)
    assert aead_open(lib, sealed, key, nonce, aad) == (True, plain)
    for at in (0, 500, 999, 1000, 1015):
        altered = bytearray(sealed)
        altered[at] ^= 1
        assert aead_open(lib, bytes(altered), key, nonce, aad) == (False, bytes(altered[:-16]))
    assert not aead_open(lib, sealed, key, nonce, b"another!")[0]


def test_the_crc_is_the_one_of_zlib(lib: ctypes.CDLL) -> None:
    data = random.Random(6).randbytes(1000)
    assert lib.crc32_update(0, data, 1000) == zlib.crc32(data)
    first = lib.crc32_update(0, data, 333)
    assert lib.crc32_update(ctypes.c_uint32(first), data[333:], 667) == zlib.crc32(data)
