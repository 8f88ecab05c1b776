"""The message by which udev tells programs that a device came or went, as libudev reads it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_HEADER = struct.Struct("<8s4sIII4s4sII")
_MAGIC = b"\xfe\xed\xca\xfe"


def message(properties: Mapping[str, str]) -> bytes:
    """Return the message of libudev's monitors about a device with these properties."""
    body = b"".join(f"{key}={value}\0".encode() for key, value in properties.items())
    size = _HEADER.size
    filters = _hash(properties["SUBSYSTEM"]), _hash(properties["DEVTYPE"])
    return _HEADER.pack(b"libudev", _MAGIC, size, size, len(body), *filters, 0, 0) + body


def _hash(text: str) -> bytes:
    """MurmurHash2 as libudev uses it to filter, big-endian."""
    data, m, mask = text.encode(), 0x5BD1E995, 0xFFFFFFFF
    h = len(data)
    while len(data) >= 4:
        k = int.from_bytes(data[:4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
        data = data[4:]
    if data:
        h = (h ^ int.from_bytes(data, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15).to_bytes(4, "big")
