"""The records of a device: marks, info block, result record; every byte of them.

Like :mod:`packager.format`, whose constants they use: little-endian, the structs are the source of
``mcu_loader/format.h``. They live apart because packing an update needs none of them.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any, TypeVar

from construct import Array, Bytes, Const, Int16ul, Int32ul, OneOf, Struct

from packager.errors import FormatError
from packager.format import (
    DEVICE_KEY_SLOTS,
    DIGEST_SIZE,
    INFO_FLAG_DEV,
    INFO_MAGIC,
    INFO_SIZE,
    KEY_ID_SIZE,
    PIN_NONE,
    RESULT_MAGIC,
    VERIFY_KEY_SLOTS,
    BootCheck,
    Recovery,
    UpdateHeaderStruct,
    build_struct,
    parse_struct,
)
from packager.reasons import Reason


class RecordType(IntEnum):
    """Type of a mark record; far apart, so that no few flipped bits turn one into another."""

    INSTALLING = 0x3C5AA5C3
    DONE = 0x69966996
    INSTALLED = 0x43A55A3C
    REFUSED = 0x16699669


class AppState(IntEnum):
    """What the newest record says about the app area."""

    NONE = 0x5AC3963C
    INSTALLING = 0x3C5AA5C3
    INSTALLED = 0x43A55A3C


class Action(IntEnum):
    """What the loader did before it started the application (result record)."""

    BOOTED = 1
    INSTALLED = 2
    REFUSED = 3
    ALREADY_INSTALLED = 4


MarkRecordStruct = Struct(
    "type" / OneOf(Int32ul, tuple(RecordType)),
    "sequence" / Int32ul,
    "floor_counter" / Int32ul,
    "floor_version" / Int32ul,
    "version" / Int32ul,
    "security_counter" / Int32ul,
    "image_size" / Int32ul,
    "image_crc" / Int32ul,
    "update_id" / Bytes(DIGEST_SIZE),
    "image_digest" / Bytes(DIGEST_SIZE),
    "done_sectors" / Int32ul,
    "state" / OneOf(Int32ul, tuple(AppState)),
    "reason" / OneOf(Int32ul, tuple(Reason)),
    "refused_run" / Int32ul,
    "refused_version" / Int32ul,
    "refused_key_id" / Bytes(KEY_ID_SIZE),
    "crc" / Int32ul,
)

Area = Struct("start" / Int32ul, "size" / Int32ul)

InfoBlockStruct = Struct(
    "magic" / Const(INFO_MAGIC),
    "info_size" / Const(INFO_SIZE, Int32ul),
    "loader_version" / Int32ul,
    "chip" / Int32ul,
    "flags" / OneOf(Int32ul, (0, INFO_FLAG_DEV)),
    "product_id" / Bytes(16),
    "product_name" / Bytes(32),
    "layout_id" / Bytes(16),
    "loader" / Area,
    "staging" / Area,
    "app" / Area,
    "marks" / Area,
    "ram" / Array(4, Area),
    "boot_check" / OneOf(Int32ul, tuple(BootCheck)),
    "recovery" / OneOf(Int32ul, tuple(Recovery)),
    "supply_level" / OneOf(Int32ul, tuple(range(8))),
    "result_record" / Int32ul,
    "verify_key_count" / OneOf(Int32ul, tuple(range(1, VERIFY_KEY_SLOTS + 1))),
    "device_key_count" / OneOf(Int32ul, tuple(range(1, DEVICE_KEY_SLOTS + 1))),
    "verify_key_ids" / Array(VERIFY_KEY_SLOTS, Bytes(KEY_ID_SIZE)),
    "device_key_ids" / Array(DEVICE_KEY_SLOTS, Bytes(KEY_ID_SIZE)),
    "entry_pin" / Int32ul,
    "entry_flags" / Int32ul,
    "watchdog_resets" / Int32ul,
    "usb_vid" / Int16ul,
    "usb_pid" / Int16ul,
    "option_bytes_alt" / Int32ul,
    "usb_manufacturer" / Bytes(32),
    "usb_product" / Bytes(32),
    "indicator_pin" / Int32ul,
    "mailbox" / Int32ul,
    "reserved" / Const(bytes(192)),
    "crc" / Int32ul,
)

ResultRecordStruct = Struct(
    "magic" / Const(RESULT_MAGIC),
    "loader_version" / Int32ul,
    "action" / OneOf(Int32ul, tuple(Action)),
    "reason" / OneOf(Int32ul, tuple(Reason)),
    "version" / Int32ul,
    "security_counter" / Int32ul,
    "reset_cause" / Int32ul,
    "reserved" / Const(bytes(28)),
    "crc" / Int32ul,
)

STRUCTS = {
    "update_header": UpdateHeaderStruct,
    "mark_record": MarkRecordStruct,
    "info_block": InfoBlockStruct,
    "result_record": ResultRecordStruct,
}
"""Every struct under its C name, for the generator of ``mcu_loader/format.h``."""


@dataclass(frozen=True)
class MarkRecord:
    """One append-only record of the marks sector: a full snapshot of the device's state."""

    type: RecordType
    sequence: int
    floor_counter: int
    floor_version: int
    version: int
    security_counter: int
    image_size: int
    image_crc: int
    update_id: bytes
    image_digest: bytes
    done_sectors: int
    state: AppState
    reason: Reason = Reason.NONE
    refused_run: int = 0
    refused_version: int = 0
    refused_key_id: bytes = bytes(KEY_ID_SIZE)


@dataclass(frozen=True)
class FlashArea:
    """Start address and size in bytes of one area."""

    start: int
    size: int


@dataclass(frozen=True)
class InfoBlock:
    """What a loader says about itself, readable at a fixed offset in its sector."""

    loader_version: int
    chip: int
    flags: int
    product_id: bytes
    product_name: bytes
    layout_id: bytes
    loader: FlashArea
    staging: FlashArea
    app: FlashArea
    marks: FlashArea
    ram: tuple[FlashArea, ...]
    boot_check: BootCheck
    recovery: Recovery
    supply_level: int
    result_record: int
    verify_key_ids: tuple[bytes, ...]
    device_key_ids: tuple[bytes, ...]
    entry_pin: int = PIN_NONE
    entry_flags: int = 0
    watchdog_resets: int = 0
    usb_vid: int = 0
    usb_pid: int = 0
    option_bytes_alt: int = 0
    usb_manufacturer: bytes = bytes(32)
    usb_product: bytes = bytes(32)
    indicator_pin: int = PIN_NONE
    mailbox: int = 0

    @property
    def is_dev(self) -> bool:
        """True for a development loader."""
        return bool(self.flags & INFO_FLAG_DEV)


@dataclass(frozen=True)
class ResultRecord:
    """What the loader tells the application it starts."""

    loader_version: int
    action: Action
    reason: Reason
    version: int
    security_counter: int
    reset_cause: int


def build_record(record: MarkRecord) -> bytes:
    """Return the ``RECORD_SIZE`` bytes of a mark record, CRC last."""
    return _build_with_crc(MarkRecordStruct, asdict(record), "mark record")


def parse_record(data: bytes, where: str = "mark record") -> MarkRecord:
    """Read one mark record.

    Raises:
        FormatError: wrong CRC (torn or blank slot) or an unknown value.
    """
    values = _parse_with_crc(MarkRecordStruct, data, where)
    values["type"] = RecordType(values["type"])
    values["state"] = AppState(values["state"])
    values["reason"] = Reason(values["reason"])
    return _fill(MarkRecord, values)


def build_info(info: InfoBlock) -> bytes:
    """Return the ``INFO_SIZE`` bytes of a loader's info block."""
    values = asdict(info)
    values["verify_key_count"] = len(info.verify_key_ids)
    values["device_key_count"] = len(info.device_key_ids)
    values["verify_key_ids"] = _padded(info.verify_key_ids, VERIFY_KEY_SLOTS)
    values["device_key_ids"] = _padded(info.device_key_ids, DEVICE_KEY_SLOTS)
    return _build_with_crc(InfoBlockStruct, values, "info block")


def parse_info(data: bytes, where: str = "info block") -> InfoBlock:
    """Read a loader's info block.

    Raises:
        FormatError: no info block, a damaged one, or one of an unknown format.
    """
    values = _parse_with_crc(InfoBlockStruct, data, where)
    for name in ("loader", "staging", "app", "marks"):
        values[name] = FlashArea(**values[name])
    values["ram"] = tuple(FlashArea(**area) for area in values["ram"])
    values["boot_check"] = BootCheck(values["boot_check"])
    values["recovery"] = Recovery(values["recovery"])
    values["verify_key_ids"] = tuple(values["verify_key_ids"][: values["verify_key_count"]])
    values["device_key_ids"] = tuple(values["device_key_ids"][: values["device_key_count"]])
    return _fill(InfoBlock, values)


def build_result(record: ResultRecord) -> bytes:
    """Return the ``RESULT_SIZE`` bytes of a result record."""
    return _build_with_crc(ResultRecordStruct, asdict(record), "result record")


def parse_result(data: bytes, where: str = "result record") -> ResultRecord:
    """Read the result record the loader left for the application.

    Raises:
        FormatError: there is none, or it is damaged.
    """
    values = _parse_with_crc(ResultRecordStruct, data, where)
    values["action"] = Action(values["action"])
    values["reason"] = Reason(values["reason"])
    return _fill(ResultRecord, values)


_T = TypeVar("_T")


def _fill(cls: type[_T], values: dict[str, Any]) -> _T:
    return cls(**{field.name: values[field.name] for field in fields(cls)})  # type: ignore[arg-type]


def _padded(ids: tuple[bytes, ...], slots: int) -> list[bytes]:
    return [*ids, *[bytes(KEY_ID_SIZE)] * (slots - len(ids))]


def _build_with_crc(struct: Any, values: dict[str, Any], where: str) -> bytes:
    body = build_struct(struct, {**values, "crc": 0}, where)[:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def _parse_with_crc(struct: Any, data: bytes, where: str) -> dict[str, Any]:
    if len(data) == struct.sizeof() and zlib.crc32(data[:-4]) != int.from_bytes(
        data[-4:], "little"
    ):
        raise FormatError(where, "wrong CRC", "", "it is blank, torn or of something else")
    return parse_struct(struct, data, where)
