"""The update header, and every number that the formats share; :mod:`packager.records` has the rest.

Little-endian throughout. The structs of both are the source: ``mcu_loader/format.h`` is generated
from them (see :mod:`packager.format_c`) and ``mcu_loader/DESIGN.md`` is checked against them.
No cryptography and no files here.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, NamedTuple

from construct import (
    Array,
    Bytes,
    Const,
    ConstructError,
    Container,
    Int32ul,
    ListContainer,
    OneOf,
    Struct,
    Terminated,
)

from packager.chip import FLASH_WORD, KIB
from packager.errors import FormatError

# The first bytes are neither an LPC (0x?A 0x?F) nor a TI (01 00) prefix to dfu-util, and as a word
# (0x544C5053) they are no RAM address, so the ROM never takes an update for a vector table.
UPDATE_MAGIC = b"SPLTFLSH"
INFO_MAGIC = b"SPLTINFO"
RESULT_MAGIC = b"SPLTRSLT"

FORMAT_VERSION = 1
HEADER_SIZE = 640
SIGNATURE_SIZE = 64
SIGNED_SIZE = HEADER_SIZE - SIGNATURE_SIZE
RECIPIENT_SLOTS = 4
VERIFY_KEY_SLOTS = 4
DEVICE_KEY_SLOTS = 2
KEY_ID_SIZE = 8
DIGEST_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16
MIN_CHUNK_SIZE = 1 * KIB
MAX_CHUNK_SIZE = 16 * KIB

RECORD_SIZE = 128
CARRY_SLOTS = 8
CARRY_SIZE = CARRY_SLOTS * RECORD_SIZE
"""Bytes at the end of the app area kept free for carrying the newest record over a marks erase."""

INFO_OFFSET = 0x400
INFO_SIZE = 512
RESULT_SIZE = 64

SIGNATURE_DOMAIN = b"splitflash update header v1".ljust(32, b"\0")
WRAP_DOMAIN = b"splitflash update v1 key wrap"
MANIFEST_DOMAIN = b"splitflash factory manifest v1".ljust(32, b"\0")
"""As long as that of updates and another: no signature of one is ever one of the other."""

FLAG_ALLOW_DOWNGRADE = 1
"""``flags`` bit 0: at an equal security counter a lower version may be installed."""
PIN_NONE = 0xFFFF_FFFF
"""Info block ``entry_pin`` or ``indicator_pin`` where there is none."""
ENTRY_DOUBLE_RESET = 1
"""Info block ``entry_flags`` bit 0: two resets by the pin in a row ask for it."""
MAILBOX_ENTER_DFU = 0x4446_5531
"""In the first register of the mailbox: the application asks for DfuSe."""
HEALTH_MAGIC = 0xA11E_0000
"""Upper half of the second register while the application has not said that it is alive."""

INFO_FLAG_DEV = 1
"""Info block ``flags`` bit 0: development loader, boots any app that a debugger wrote."""


class BootCheck(IntEnum):
    """How the loader checks the app before every boot."""

    OFF = 0
    CRC = 1
    DIGEST = 2


class Recovery(IntEnum):
    """Where a device without a bootable app waits for an update."""

    NONE = 0
    ROM = 1
    DFU = 2


Recipient = Struct(
    "key_id" / Bytes(KEY_ID_SIZE),
    "wrapped_cek" / Bytes(32),
    "wrap_tag" / Bytes(TAG_SIZE),
)

UpdateHeaderStruct = Struct(
    "magic" / Const(UPDATE_MAGIC),
    "format_version" / Const(FORMAT_VERSION, Int32ul),
    "header_size" / Const(HEADER_SIZE, Int32ul),
    "product_id" / Bytes(16),
    "version" / Int32ul,
    "security_counter" / Int32ul,
    "chip" / Int32ul,
    "app_address" / Int32ul,
    "staging_address" / Int32ul,
    "flags" / OneOf(Int32ul, (0, FLAG_ALLOW_DOWNGRADE)),
    "layout_id" / Bytes(16),
    "image_size" / Int32ul,
    "payload_size" / Int32ul,
    "chunk_size" / Int32ul,
    "compression_id" / Const(0, Int32ul),
    "image_digest" / Bytes(DIGEST_SIZE),
    "payload_digest" / Bytes(DIGEST_SIZE),
    "base_nonce" / Bytes(NONCE_SIZE),
    "signing_key_id" / Bytes(KEY_ID_SIZE),
    "ephemeral_public_key" / Bytes(32),
    "recipients" / Array(RECIPIENT_SLOTS, Recipient),
    "device_bindings" / Const(bytes(64)),
    "reserved" / Const(bytes(84)),
    "signature" / Bytes(SIGNATURE_SIZE),
)


class WrappedKey(NamedTuple):
    """The content key of an update, wrapped for one recipient."""

    key_id: bytes
    wrapped_cek: bytes
    wrap_tag: bytes


class UpdateHeader(NamedTuple):
    """The header of an update; ``mcu_loader/DESIGN.md`` explains each field."""

    product_id: bytes
    version: int
    security_counter: int
    chip: int
    app_address: int
    staging_address: int
    flags: int
    layout_id: bytes
    image_size: int
    payload_size: int
    chunk_size: int
    image_digest: bytes
    payload_digest: bytes
    base_nonce: bytes
    signing_key_id: bytes
    ephemeral_public_key: bytes
    recipients: tuple[WrappedKey, ...]
    signature: bytes = bytes(SIGNATURE_SIZE)


def build_header(header: UpdateHeader) -> bytes:
    """Return the ``HEADER_SIZE`` bytes of a header."""
    values = header._asdict()
    empty = WrappedKey(bytes(KEY_ID_SIZE), bytes(32), bytes(TAG_SIZE))
    spare = RECIPIENT_SLOTS - len(header.recipients)
    entries = [*header.recipients, *[empty] * spare]
    values["recipients"] = [entry._asdict() for entry in entries]
    return build_struct(UpdateHeaderStruct, values, "update header")


def parse_header(data: bytes, where: str = "update header") -> UpdateHeader:
    """Read a header from exactly ``HEADER_SIZE`` bytes; checks form only, never a signature.

    Raises:
        FormatError: magic, version, size, or a field that must be zero or is unknown.
    """
    values = parse_struct(UpdateHeaderStruct, data, where)
    used = [entry for entry in values["recipients"] if any(entry["key_id"])]
    if values["recipients"][: len(used)] != used:
        raise FormatError(where, "recipient table has a gap", "used entries first", "pack again")
    for entry in values["recipients"][len(used) :]:
        if any(entry["wrapped_cek"]) or any(entry["wrap_tag"]):
            raise FormatError(where, "unused recipient entry is not zero", "zeros", "pack again")
    values["recipients"] = tuple(WrappedKey(**entry) for entry in used)
    return UpdateHeader(**{name: values[name] for name in UpdateHeader._fields})


def payload_size_of(image_size: int, chunk_size: int) -> int:
    """Return the payload bytes of an image: each chunk carries one tag."""
    return image_size + TAG_SIZE * chunk_count(image_size, chunk_size)


def chunk_count(image_size: int, chunk_size: int) -> int:
    """Return how many chunks an image is cut into."""
    return -(-image_size // chunk_size)


def largest_image(app_size: int, staging_size: int, chunk_size: int = MAX_CHUNK_SIZE) -> int:
    """Return the largest image in bytes that can be updated with these areas."""
    room = staging_size - HEADER_SIZE
    whole, rest = divmod(room, chunk_size + TAG_SIZE)
    by_staging = whole * chunk_size + max(0, rest - TAG_SIZE)
    return max(0, min(app_size - CARRY_SIZE, by_staging))


def pack_version(text: str) -> int:
    """Turn ``1.4.2`` into the ``version`` field: major 8 bits, minor 8 bits, patch 16 bits.

    Raises:
        FormatError: not three numbers in range.
    """
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})", text, re.ASCII)
    parts = [int(part) for part in match.groups()] if match else []
    if not parts or parts[0] > 0xFF or parts[1] > 0xFF or parts[2] > 0xFFFF:
        raise FormatError(
            f"version '{text}'",
            "not of the form MAJOR.MINOR.PATCH",
            "numbers up to 255.255.65535",
            "give for example 1.4.2",
        )
    return parts[0] << 24 | parts[1] << 16 | parts[2]


def version_text(version: int) -> str:
    """Turn the ``version`` field into ``1.4.2``."""
    return f"{version >> 24}.{version >> 16 & 0xFF}.{version & 0xFFFF}"


def field_text(field: bytes) -> str:
    """Return the text of a NUL-padded field of a file or device; :func:`printable` as it is."""
    return printable(field.rstrip(b"\0").decode("utf-8", "backslashreplace"))


def printable(text: str) -> str:
    """Escape what would act on a terminal or make another line, so that nothing forges output."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def pad_to_flash_word(data: bytes) -> bytes:
    """Fill up with 0xFF to whole 32-byte flash words."""
    return data + b"\xff" * (-len(data) % FLASH_WORD)


def build_struct(struct: Any, values: dict[str, Any], where: str) -> bytes:
    """Return the bytes of a struct, with our error if they cannot be built."""
    try:
        return bytes(struct.build(values))
    except ConstructError as error:
        raise FormatError(where, f"cannot be built: {error}", "", "report this") from error


def parse_struct(struct: Any, data: bytes, where: str) -> dict[str, Any]:
    """Parse exactly all of ``data``; what is rebuilt from it must be the same bytes."""
    size = struct.sizeof()
    if len(data) != size:
        raise FormatError(where, f"{len(data)} bytes", f"expected {size}", "check the file")
    try:
        values = Struct(*struct.subcons, Terminated).parse(data)
        rebuilt = struct.build(values)
    except ConstructError as error:
        path = error.path.replace("(parsing) -> ", "") if error.path else "?"
        reason = str(error).splitlines()[-1]
        raise FormatError(
            where, f"field '{path}': {reason}", "", "use a file made by splitflash pack"
        ) from error
    if rebuilt != data:
        raise FormatError(where, "does not rebuild to the same bytes", "", "report this")
    plain: dict[str, Any] = _plain(values)
    return plain


def _plain(value: Any) -> Any:
    """Turn construct's containers into dicts and lists, without its bookkeeping."""
    if isinstance(value, Container):
        return {name: _plain(entry) for name, entry in value.items() if name != "_io"}
    if isinstance(value, ListContainer):
        return [_plain(entry) for entry in value]
    return value
