"""The few calls into ``cryptography``: sign, verify, seal, open, wrap, digest.

Ed25519 (RFC 8032), X25519 (RFC 7748), HKDF-SHA-512 (RFC 5869), ChaCha20-Poly1305 (RFC 8439) and
BLAKE2b-256 (RFC 7693, by hashlib). All keys are raw 32 bytes. What the bytes mean is decided in
:mod:`packager.update`; nothing here draws randomness but :func:`draw`.
"""

from __future__ import annotations

import hashlib
import os

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_SIZE = 32
"""Bytes of every key, secret or public, and of every shared secret."""
NONCE_SIZE = 12
"""Bytes of a ChaCha20-Poly1305 nonce (RFC 8439 2.8)."""
TAG_SIZE = 16
"""Bytes of a Poly1305 tag (RFC 8439 2.5)."""
DIGEST_SIZE = 32
"""Bytes of a BLAKE2b-256 digest."""


class CryptoMismatch(Exception):
    """A signature or tag does not verify, or a key agreement gave no secret."""


def draw(size: int = KEY_SIZE) -> bytes:
    """Return fresh random bytes from the operating system."""
    return os.urandom(size)


def digest(data: bytes) -> bytes:
    """Return BLAKE2b-256 of ``data``."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def verify_key_of(signing_secret: bytes) -> bytes:
    """Return the raw Ed25519 verify key of a signing key."""
    return Ed25519PrivateKey.from_private_bytes(signing_secret).public_key().public_bytes_raw()


def public_key_of(device_secret: bytes) -> bytes:
    """Return the raw X25519 public key of a device key."""
    return X25519PrivateKey.from_private_bytes(device_secret).public_key().public_bytes_raw()


def sign(signing_secret: bytes, message: bytes) -> bytes:
    """Return the 64-byte Ed25519 signature of ``message``."""
    return Ed25519PrivateKey.from_private_bytes(signing_secret).sign(message)


def verify(verify_key: bytes, signature: bytes, message: bytes) -> None:
    """Return only if the signature is good.

    Raises:
        CryptoMismatch: it is not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(verify_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise CryptoMismatch("signature does not verify") from error


def wrap_key(
    ephemeral_secret: bytes, recipient: bytes, info: bytes, aad: bytes, cek: bytes
) -> tuple[bytes, bytes]:
    """Seal a content key for one recipient; return the wrapped key (32) and its tag (16).

    Raises:
        CryptoMismatch: the recipient's key leads to the all-zero secret.
    """
    ephemeral = public_key_of(ephemeral_secret)
    shared = shared_secret(ephemeral_secret, recipient)
    kek = _derive_kek(shared, ephemeral + recipient, info)
    sealed = ChaCha20Poly1305(kek).encrypt(bytes(NONCE_SIZE), cek, aad)
    return sealed[:-TAG_SIZE], sealed[-TAG_SIZE:]


def unwrap_key(
    device_secret: bytes, ephemeral: bytes, info: bytes, aad: bytes, wrapped: bytes, tag: bytes
) -> bytes:
    """Return the content key that :func:`wrap_key` sealed for this device key.

    Raises:
        CryptoMismatch: other key, other info or aad, altered bytes, or the all-zero secret.
    """
    recipient = public_key_of(device_secret)
    shared = shared_secret(device_secret, ephemeral)
    kek = _derive_kek(shared, ephemeral + recipient, info)
    return _open(kek, bytes(NONCE_SIZE), wrapped + tag, aad)


def shared_secret(secret: bytes, public: bytes) -> bytes:
    """Return the X25519 shared secret.

    Raises:
        CryptoMismatch: it is all zero, which only a low-order public key leads to (RFC 7748 6.1).
    """
    try:
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        raise CryptoMismatch("key agreement failed") from error
    if not any(shared):
        raise CryptoMismatch("key agreement gave the all-zero secret")
    return shared


def seal_chunk(cek: bytes, base_nonce: bytes, index: int, is_last: bool, plain: bytes) -> bytes:
    """Return chunk ``index`` sealed: as many bytes as ``plain``, then the 16-byte tag."""
    nonce = _chunk_nonce(base_nonce, index)
    return ChaCha20Poly1305(cek).encrypt(nonce, plain, _chunk_aad(index, is_last))


def open_chunk(cek: bytes, base_nonce: bytes, index: int, is_last: bool, sealed: bytes) -> bytes:
    """Return the plain bytes of a sealed chunk.

    Raises:
        CryptoMismatch: altered, of another update, out of place, or not the last one.
    """
    return _open(cek, _chunk_nonce(base_nonce, index), sealed, _chunk_aad(index, is_last))


def _open(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
    except InvalidTag as error:
        raise CryptoMismatch("tag does not verify") from error


def _derive_kek(shared: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA512(), length=KEY_SIZE, salt=salt, info=info).derive(shared)


def _chunk_nonce(base_nonce: bytes, index: int) -> bytes:
    tail = int.from_bytes(base_nonce[-4:], "little") ^ index
    return base_nonce[:-4] + tail.to_bytes(4, "little")


def _chunk_aad(index: int, is_last: bool) -> bytes:
    return index.to_bytes(4, "little") + int(is_last).to_bytes(4, "little")
