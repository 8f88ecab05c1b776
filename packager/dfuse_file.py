"""The DfuSe file (``.dfu``, UM0391): prefix, one target with its elements, suffix with a CRC.

Little-endian and packed. The CRC is CRC-32 (0xEDB88320, starting at all ones) without the final
inversion, over everything but itself.
"""

from __future__ import annotations

import zlib
from typing import Any

from construct import (
    Array,
    Byte,
    Bytes,
    Checksum,
    Const,
    ConstructError,
    Int16ul,
    Int32ul,
    RawCopy,
    Struct,
    Terminated,
    this,
)

from packager.dfu.constants import PRODUCT_ID, VENDOR_ID
from packager.errors import FormatError
from packager.format import pad_to_flash_word
from packager.segments import join

MAGIC = b"DfuSe"
SUFFIX_SIZE = 16
"""Bytes of the DFU suffix, CRC included."""
ANY_DEVICE_VERSION = 0xFFFF
"""bcdDevice that matches every device (DFU 1.1 appendix B)."""
DFUSE_VERSION = 0x011A
"""bcdDFU of a DfuSe file."""
TARGET_NAME = "Internal Flash"


_ELEMENT = Struct(
    "address" / Int32ul,
    "size" / Int32ul,
    "data" / Bytes(this.size),
)

_TARGET = Struct(
    "signature" / Const(b"Target"),
    "alternate_setting" / Byte,
    "is_named" / Int32ul,
    "name" / Bytes(255),
    "size" / Int32ul,  # of all elements with their 8 bytes of address and size
    "element_count" / Int32ul,
    "elements" / Array(this.element_count, _ELEMENT),
)

_BODY = Struct(
    "signature" / Const(MAGIC),
    "version" / Const(1, Byte),
    "image_size" / Int32ul,  # of the file without its suffix
    "target_count" / Byte,
    "targets" / Array(this.target_count, _TARGET),
    "device_version" / Int16ul,
    "product_id" / Int16ul,
    "vendor_id" / Int16ul,
    "dfu_version" / Const(DFUSE_VERSION, Int16ul),
    "suffix_signature" / Const(b"UFD"),
    "suffix_size" / Const(SUFFIX_SIZE, Byte),
)


def _crc(data: bytes) -> int:
    return zlib.crc32(data) ^ 0xFFFF_FFFF


DfuseFile = Struct(
    "body" / RawCopy(_BODY),
    "crc" / Checksum(Int32ul, _crc, this.body.data),
    Terminated,
)


def write_dfuse(address: int, data: bytes) -> bytes:
    """Return a DfuSe file of one element for alternate setting 0, filled up to whole flash words.

    One ascending element, because dfu-util erases a sector again when it comes back to it.
    """
    data = pad_to_flash_word(data)
    element = {"address": address, "size": len(data), "data": data}
    target = {
        "alternate_setting": 0,
        "is_named": 1,
        "name": TARGET_NAME.encode().ljust(255, b"\0"),
        "size": len(_ELEMENT.build(element)),
        "element_count": 1,
        "elements": [element],
    }
    body: dict[str, Any] = {
        "image_size": 0,
        "target_count": 1,
        "targets": [target],
        "device_version": ANY_DEVICE_VERSION,
        "product_id": PRODUCT_ID,
        "vendor_id": VENDOR_ID,
    }
    body["image_size"] = len(_BODY.build(body)) + 4 - SUFFIX_SIZE
    return bytes(DfuseFile.build({"body": {"value": body}}))


def read_dfuse(data: bytes, where: str) -> dict[int, bytes]:
    """Return the pieces of a DfuSe file, touching elements joined.

    Its size field may also count the suffix or be 0, as some tools write it.

    Raises:
        FormatError: damaged, cut off, of another USB device, or without data.
    """
    do = "build or copy the file again"
    try:
        body = DfuseFile.parse(data).body.value
    except ConstructError as error:
        reason = str(error).splitlines()[-1]
        raise FormatError(where, f"damaged DfuSe file ({reason})", "", do) from error
    if body.image_size not in (0, len(data) - SUFFIX_SIZE, len(data)):
        expected = f"expected {len(data) - SUFFIX_SIZE}"
        raise FormatError(where, f"DfuSe image size is {body.image_size}", expected, do)
    if (body.vendor_id, body.product_id) != (VENDOR_ID, PRODUCT_ID):
        found = f"DfuSe file for USB device {body.vendor_id:04x}:{body.product_id:04x}"
        raise FormatError(where, found, f"expected {VENDOR_ID:04x}:{PRODUCT_ID:04x}", do)
    elements = [element for target in body.targets for element in target.elements]
    pieces = join(((element.address, element.data) for element in elements), where)
    if not pieces:
        raise FormatError(where, "no data in this DfuSe file", "", do)
    return pieces
