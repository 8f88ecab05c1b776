"""The loader's C cryptography and the packager's Python one, behind the same five questions."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from loader.host import CRYPTO, build_library

from packager import crypto

GOOD = 0xC35A96A5
"""ED25519_GOOD of ``ed25519.h``."""
SIGNATURE_SIZE = 64
LARGEST_HKDF_OUT = 64
"""HKDF_MAX_OUT of ``hkdf.h``: the loader needs 32 bytes and has no second block."""


class Crypto(Protocol):
    """What both sides can be asked; sizes are those that the update format has room for."""

    def verifies(self, public: bytes, message: bytes, signature: bytes) -> bool: ...

    def shared(self, secret: bytes, public: bytes) -> bytes | None: ...

    def opens(self, key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes | None: ...

    def hkdf(self, ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes: ...

    def digest(self, data: bytes, size: int) -> bytes: ...


class Chip:
    """``mcu_loader/crypto`` and Monocypher, compiled for this machine."""

    def __init__(self, folder: Path) -> None:
        self._lib = build_library(folder, CRYPTO)
        self._lib.ed25519_verify.restype = ctypes.c_uint32

    def verifies(self, public: bytes, message: bytes, signature: bytes) -> bool:
        assert len(signature) == SIGNATURE_SIZE
        answer = self._lib.ed25519_verify(signature, public, message, _size(message))
        return int(answer) == GOOD

    def shared(self, secret: bytes, public: bytes) -> bytes | None:
        shared = ctypes.create_string_buffer(32)
        return None if self._lib.x25519_shared(shared, secret, public) else shared.raw

    def opens(self, key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes | None:
        text, tag = sealed[:-16], sealed[-16:]
        buffer = ctypes.create_string_buffer(text, len(text)) if text else (ctypes.c_char * 0)()
        failed = self._lib.aead_open(buffer, _size(text), tag, key, nonce, aad, _size(aad))
        plain = bytes(buffer)
        if failed:
            assert plain == text, "refused, and touched"
            return None
        return plain

    def hkdf(self, ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes:
        out = ctypes.create_string_buffer(size)
        parts = (argument for part in (ikm, salt, info) for argument in (part, _size(part)))
        self._lib.hkdf_sha512(out, ctypes.c_size_t(size), *parts)
        return out.raw

    def digest(self, data: bytes, size: int) -> bytes:
        out = ctypes.create_string_buffer(size)
        self._lib.crypto_blake2b(out, ctypes.c_size_t(size), data, _size(data))
        return out.raw


class Host:
    """``packager.crypto``, and the primitives of ``cryptography`` that it calls."""

    def verifies(self, public: bytes, message: bytes, signature: bytes) -> bool:
        try:
            crypto.verify(public, signature, message)
        except crypto.CryptoMismatch:
            return False
        return True

    def shared(self, secret: bytes, public: bytes) -> bytes | None:
        try:
            return crypto.shared_secret(secret, public)
        except crypto.CryptoMismatch:
            return None

    def opens(self, key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes | None:
        try:
            return crypto._open(key, nonce, sealed, aad)
        except crypto.CryptoMismatch:
            return None

    def hkdf(self, ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes:
        return HKDF(SHA512(), size, salt, info).derive(ikm)

    def digest(self, data: bytes, size: int) -> bytes:
        assert size == crypto.DIGEST_SIZE
        return crypto.digest(data)


def seal(key: bytes, nonce: bytes, aad: bytes, plain: bytes) -> bytes:
    """Seal as the packager does."""
    return ChaCha20Poly1305(key).encrypt(nonce, plain, aad)


def _size(data: bytes) -> ctypes.c_size_t:
    return ctypes.c_size_t(len(data))
