"""A second, independent reader of updates, written from the format description.

Imports nothing of the package and no construct: struct, hashlib and cryptography only. Where it
and the package disagree, one of them misreads the format.

    python tests/reference_open.py FILE.update.bin VERIFY_KEY_HEX DEVICE_SECRET_HEX IMAGE_OUT
"""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HEADER = struct.Struct("<8sII 16sII III I 16s IIII 32s32s 12s 8s 32s 224s 64s 84s 64s")
NAMES = """magic format_version header_size product_id version security_counter chip app_address
staging_address flags layout_id image_size payload_size chunk_size compression_id image_digest
payload_digest base_nonce signing_key_id ephemeral_public_key recipients device_bindings reserved
signature"""


def blake2b_256(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def key_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:8]


def read_header(data: bytes) -> dict[str, Any]:
    assert HEADER.size == 640
    header: dict[str, Any] = dict(zip(NAMES.split(), HEADER.unpack(data[:640]), strict=True))
    assert header["magic"] == b"SPLTFLSH"
    assert (header["format_version"], header["header_size"]) == (1, 640)
    assert header["compression_id"] == 0
    assert header["flags"] in (0, 1)
    assert not any(header["device_bindings"] + header["reserved"])
    table = [header["recipients"][at : at + 56] for at in range(0, 224, 56)]
    used = [row for row in table if any(row[:8])]
    assert b"".join(used).ljust(224, b"\0") == header["recipients"]
    header["recipients"] = [(row[:8], row[8:40], row[40:]) for row in used]
    header["signed"] = b"splitflash update header v1".ljust(32, b"\0") + data[:576]
    header["update_id"] = blake2b_256(header["signed"])
    return header


def unwrap(header: dict[str, Any], secret: X25519PrivateKey) -> bytes:
    public, ephemeral = secret.public_key().public_bytes_raw(), header["ephemeral_public_key"]
    wrapped = next(row[1] + row[2] for row in header["recipients"] if row[0] == key_id(public))
    info = b"splitflash update v1 key wrap" + header["product_id"] + key_id(public)
    shared = secret.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    kek = HKDF(SHA512(), 32, salt=ephemeral + public, info=info).derive(shared)
    aad = struct.pack("<I", 1) + header["product_id"] + header["base_nonce"]
    return ChaCha20Poly1305(kek).decrypt(bytes(12), wrapped, aad)


def open_chunks(header: dict[str, Any], payload: bytes, cek: bytes) -> bytes:
    step = header["chunk_size"] + 16
    image = b""
    for index, at in enumerate(range(0, len(payload), step)):
        head, tail = struct.unpack("<8sI", header["base_nonce"])
        nonce = struct.pack("<8sI", head, tail ^ index)
        aad = struct.pack("<II", index, at + step >= len(payload))
        image += ChaCha20Poly1305(cek).decrypt(nonce, payload[at : at + step], aad)
    return image


def open_update(data: bytes, verify_key: bytes, device_secret: bytes) -> dict[str, Any]:
    """Return every header field, the update id and the image, or raise something."""
    header = read_header(data)
    assert header["signing_key_id"] == key_id(verify_key)
    Ed25519PublicKey.from_public_bytes(verify_key).verify(header["signature"], header["signed"])
    payload = data[640 : 640 + header["payload_size"]]
    assert len(payload) == header["payload_size"]
    assert blake2b_256(payload) == header["payload_digest"]
    cek = unwrap(header, X25519PrivateKey.from_private_bytes(device_secret))
    image = open_chunks(header, payload, cek)
    assert len(image) == header["image_size"]
    assert blake2b_256(image) == header["image_digest"]
    return {**header, "image": image}


if __name__ == "__main__":
    update, key, secret, output = sys.argv[1:]
    opened = open_update(Path(update).read_bytes(), bytes.fromhex(key), bytes.fromhex(secret))
    Path(output).write_bytes(opened["image"])
