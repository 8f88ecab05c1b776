"""Updates and info blocks to drop, made without keys: the client looks at form only."""

from __future__ import annotations

from dataclasses import replace

from packager.chip import CHIPS, KIB, SECTOR_SIZE, Span
from packager.format import (
    BootCheck,
    Recovery,
    UpdateHeader,
    WrappedKey,
    build_header,
    pad_to_flash_word,
)
from packager.records import (
    AppState,
    FlashArea,
    InfoBlock,
    MarkRecord,
    RecordType,
    build_info,
    build_record,
)

SIGNER, DEVICE_KEY = b"signer-1", b"device-1"
PRODUCT = b"pump".ljust(16, b"\0")
LAYOUT_ID = bytes(range(16))
STAGING = Span(0x08020000, 7 * SECTOR_SIZE)
BANK2_STAGING = Span(0x08100000, 7 * SECTOR_SIZE)
APP = Span(0x08100000, 7 * SECTOR_SIZE)
MARKS = Span(0x081E0000, SECTOR_SIZE)
INFO_ADDRESS = 0x08000400


def area(span: Span) -> FlashArea:
    return FlashArea(span.start, span.size)


def info(staging: Span = STAGING, **changes: object) -> InfoBlock:
    app = APP if staging == STAGING else STAGING
    block = InfoBlock(
        loader_version=0x01000000,
        chip=CHIPS["stm32h743xi"].chip_id,
        flags=0,
        product_id=PRODUCT,
        product_name=b"Pump".ljust(32, b"\0"),
        layout_id=LAYOUT_ID,
        loader=FlashArea(0x08000000, SECTOR_SIZE),
        staging=area(staging),
        app=area(app),
        marks=area(MARKS),
        ram=(FlashArea(0x20000000, 128 * KIB),) * 4,
        boot_check=BootCheck.CRC,
        recovery=Recovery.ROM,
        supply_level=0,
        result_record=0x38000000,
        verify_key_ids=(b"signer-0", SIGNER),
        device_key_ids=(DEVICE_KEY,),
    )
    return replace(block, **changes)  # type: ignore[arg-type]


def header(staging: Span = STAGING, **changes: object) -> UpdateHeader:
    app = APP if staging == STAGING else STAGING
    made = UpdateHeader(
        product_id=PRODUCT,
        version=0x01040002,
        security_counter=3,
        chip=CHIPS["stm32h743xi"].chip_id,
        app_address=app.start,
        staging_address=staging.start,
        flags=0,
        layout_id=LAYOUT_ID,
        image_size=1024,
        payload_size=1040,
        chunk_size=1024,
        image_digest=bytes(32),
        payload_digest=bytes(32),
        base_nonce=bytes(12),
        signing_key_id=SIGNER,
        ephemeral_public_key=bytes(32),
        recipients=(WrappedKey(DEVICE_KEY, bytes(32), bytes(16)),),
        signature=bytes(range(64)),
    )
    return made._replace(**changes)  # type: ignore[arg-type]


def update(size: int = 3000, staging: Span = STAGING, seed: int = 1, **changes: object) -> bytes:
    """A header and ``size`` bytes that look like nothing else, in whole flash words."""
    import random

    return pad_to_flash_word(
        build_header(header(staging, **changes)) + random.Random(seed).randbytes(size)
    )


def info_bytes(staging: Span = STAGING, **changes: object) -> bytes:
    return build_info(info(staging, **changes))


def record(**changes: object) -> bytes:
    made = MarkRecord(
        type=RecordType.INSTALLED,
        sequence=1,
        floor_counter=3,
        floor_version=0x01040000,
        version=0x01040000,
        security_counter=3,
        image_size=1024,
        image_crc=1,
        update_id=bytes(32),
        image_digest=b"\x11" * 32,
        done_sectors=0,
        state=AppState.INSTALLED,
    )
    return build_record(replace(made, **changes))  # type: ignore[arg-type]


def whole_update(image_size: int = 64 * KIB, seed: int = 1) -> bytes:
    """An update whose sizes agree, as it is read from a file."""
    chunks = -(-image_size // 1024)
    size = image_size + 16 * chunks
    return update(size, seed=seed, image_size=image_size, payload_size=size)
