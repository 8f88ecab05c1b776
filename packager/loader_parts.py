"""What a loader is made of: its sources, its configuration, its keys, its linker script.

Who builds one (:mod:`packager.loader_build`) and who exports one to be built elsewhere
(:mod:`packager.export.loader`) take all of it from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import packager
from packager import keys
from packager.chip import Span
from packager.door import door_fields, indicator_word
from packager.format import (
    DEVICE_KEY_SLOTS,
    INFO_FLAG_DEV,
    INFO_OFFSET,
    VERIFY_KEY_SLOTS,
    Recovery,
    pack_version,
)
from packager.keys import DeviceKey, Kind, VerifyKey
from packager.layout import Layout
from packager.records import FlashArea, InfoBlock, build_info
from packager.vectors import stack_ram

CONFIG_NAME = "config.c"
KEYS_NAME = "keys_SECRET.c"
SCRIPT_NAME = "loader.ld"
ELF_NAME = "loader_SECRET.elf"
HEX_NAME = "loader_SECRET.hex"

CHIP_SOURCES = ("startup.c", "flash_h743.c", "machine_h743.c")
"""What is the chip; the host tests link other files in their place."""
CORE_SOURCES = (
    *("main.c", "decide.c", "update.c", "install.c", "mark.c", "app.c", "crc32.c", "mem.c"),
    *("crypto/sha512.c", "crypto/hkdf.c", "crypto/ed25519.c", "crypto/x25519.c", "crypto/aead.c"),
)
"""What is the same everywhere."""
PRODUCTION = ("unproven_refused.c",)
"""Starts only what a record speaks for."""
DEVELOPMENT = ("unproven_dev.c",)
"""Starts whatever a debugger put there."""
NO_INDICATOR = ("indicator_none.c",)
PIN_INDICATOR = ("indicator_pin.c",)
"""A light that says what the loader does."""
ROM_DOOR = ("door_rom.c",)
"""Recovery through the ROM bootloader."""
NO_DOOR = ("door_none.c",)
ITCM_DOOR = (
    *("door_dfu.c", "dfuse.c", "usb_device.c", "descriptors.c"),
    *("otg_fs.c", "staging_h743.c"),
)
"""The loader's own DfuSe: what runs while a bank is busy, placed in ITCM by loader.ld."""
DFU_DOOR = ("entry.c", *ITCM_DOOR)
"""The loader's own DfuSe, and who asks for it."""
_ITCM_FLAGS = ("-fno-builtin",)
"""No calls of memcpy and memset, which lie in flash."""


@dataclass(frozen=True)
class Part:
    """One C source of the loader, by its name below ``mcu_loader/``, and flags of its own."""

    name: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyIds:
    """Fingerprints of the keys a loader holds, as its info block tells them; nothing secret."""

    verify: tuple[bytes, ...]
    device: tuple[bytes, ...]

    def __str__(self) -> str:
        verify, device = (" ".join(key_id.hex() for key_id in ids) for ids in astuple(self))
        return f"verify keys {verify}, device keys {device}"


@dataclass(frozen=True)
class LoaderKeys:
    """The keys a loader holds."""

    verify: tuple[VerifyKey, ...]
    device: tuple[DeviceKey, ...]

    @property
    def ids(self) -> KeyIds:
        """Their fingerprints."""
        return KeyIds(
            tuple(key.key_id for key in self.verify), tuple(key.key_id for key in self.device)
        )


def load_loader_keys(directory: Path, batches: Sequence[str] = ()) -> LoaderKeys:
    """Load what a loader needs from a keys folder; ``signing/`` may be missing.

    Without ``batches`` every device key goes in, if there are not more than 2.

    Raises:
        KeyFileError: a key is missing, misplaced, blank or published, or there are too many.
    """
    return LoaderKeys(
        tuple(keys.load_verify_keys(directory)), tuple(keys.load_device_keys(directory, batches))
    )


def load_key_ids(directory: Path, batches: Sequence[str] = ()) -> KeyIds:
    """Return the fingerprints of a loader's keys from ``public/`` alone, whoever holds the secrets.

    Without ``batches`` every device key in there counts, if there are not more than 2.

    Raises:
        KeyFileError: as :func:`load_loader_keys`.
    """
    found = keys.load_every_recipient(directory)
    device = keys.choose_keys(found, batches, keys.LOADER_ROOM, directory / "public")
    verify = keys.load_verify_keys(directory)
    return KeyIds(tuple(key.key_id for key in verify), tuple(key.key_id for key in device))


def refuse_weak_keys(held: LoaderKeys) -> None:
    """Return only if no key is blank, published or of low order.

    Raises:
        KeyFileError: one is.
    """
    for verify in held.verify:
        keys.refuse_weak_key(f"verify key '{verify.name}'", Kind.VERIFY, verify.raw)
    for device in held.device:
        keys.refuse_weak_key(f"device key '{device.name}'", Kind.DEVICE, device.secret)


def sources_of(layout: Layout, *, dev: bool) -> tuple[Part, ...]:
    """Return the sources of a loader, in the order in which they are linked."""
    names = (*CHIP_SOURCES, *CORE_SOURCES, *chosen_sources(layout, dev=dev))
    return tuple(Part(name, _ITCM_FLAGS if name in ITCM_DOOR else ()) for name in names)


def chosen_sources(layout: Layout, *, dev: bool) -> tuple[str, ...]:
    """Return the files that only some loaders have: what they do is chosen by linking them."""
    return (
        *(DEVELOPMENT if dev else PRODUCTION),
        *(PIN_INDICATOR if layout.indicator.pin else NO_INDICATOR),
        *_DOORS[layout.recovery],
    )


_DOORS = {Recovery.ROM: ROM_DOOR, Recovery.DFU: DFU_DOOR, Recovery.NONE: NO_DOOR}


def describe(layout: Layout, key_ids: KeyIds, *, dev: bool) -> InfoBlock:
    """Return the info block: the one configuration of the C code."""
    return InfoBlock(
        loader_version=pack_version(packager.__version__),
        chip=layout.chip.chip_id,
        flags=INFO_FLAG_DEV if dev else 0,
        product_id=layout.product_id_field,
        product_name=layout.product_name.encode()[:32].ljust(32, b"\0"),
        layout_id=layout.layout_id,
        loader=_area(layout.loader),
        staging=_area(layout.staging),
        app=_area(layout.app),
        marks=_area(layout.marks),
        ram=tuple(_area(ram.span) for ram in stack_ram(layout.chip)),
        boot_check=layout.boot_check,
        recovery=layout.recovery,
        supply_level=layout.supply_level,
        result_record=layout.result_record,
        verify_key_ids=key_ids.verify,
        device_key_ids=key_ids.device,
        indicator_pin=indicator_word(layout),
        mailbox=layout.mailbox_address,
        **door_fields(layout),
    )


def render_config(info: InfoBlock, origin: str = "Generated from the layout.") -> str:
    """Return ``config.c``: the info block, and the keys that are never to be trusted."""
    published = published_raw_keys()
    return "\n".join(
        [
            f"// {origin}",
            "// Nothing here is secret.",
            "",
            "#include <stdint.h>",
            "",
            "extern const uint8_t info_block[], published_keys[];",
            "extern const uint32_t published_key_count;",
            "",
            "// struct info_block, as format.py builds it",
            _array("info_block", build_info(info), '.info"), used, aligned(8'),
            "// anybody can derive these",
            _array("published_keys", b"".join(published), '.rodata.published_keys"), aligned(4'),
            f"const uint32_t published_key_count = {len(published)};",
            "",
        ]
    )


def render_keys(held: LoaderKeys, origin: str = "Generated from the keys.") -> str:
    """Return ``keys_SECRET.c``: the keys that the info block of ``config.c`` names."""
    verify = _slots((key.raw for key in held.verify), VERIFY_KEY_SLOTS, 1)
    device = _slots((key.secret + key.public for key in held.device), DEVICE_KEY_SLOTS, 2)
    return "\n".join(
        [
            f"// {origin}",
            f"// HOLDS THE DEVICE KEY. {held.ids}",
            "",
            "#include <stdint.h>",
            "",
            "extern const uint8_t loader_keys[];",
            "",
            "// struct loader_keys: verify keys, then secret and public half of device keys",
            _array("loader_keys", verify + device, '.keys"), used, aligned(8'),
        ]
    )


def published_raw_keys() -> list[bytes]:
    """Return whatever of the published test keys could end up in a key slot of a loader."""
    published = keys.published_test_keys().values()
    secrets = [key.secret for key in published if isinstance(key, DeviceKey)]
    return [key.public for key in published] + secrets


def render_script(layout: Layout, root: Path) -> str:
    """Return the whole linker script; ``root`` is the folder of the loader's sources."""
    by_name = {ram.name: ram.span for ram in layout.chip.ram}
    itcm, dtcm = by_name["ITCM"], by_name["DTCM"]
    memory = "\n".join(
        [
            "MEMORY",
            "{",
            f"    FLASH (rx) : ORIGIN = 0x{layout.loader.start:08X}, LENGTH = {layout.loader.size}",
            # nothing at address 0, which is what a null pointer would find
            f"    ITCM (rx) : ORIGIN = 0x{itcm.start + 64:08X}, LENGTH = {itcm.size - 64}",
            f"    DTCM (rw) : ORIGIN = 0x{dtcm.start:08X}, LENGTH = {dtcm.size}",
            "}",
            f"INFO_OFFSET = 0x{INFO_OFFSET:X};",
            "",
        ]
    )
    return memory + (root / SCRIPT_NAME).read_text(encoding="utf-8")


def _array(name: str, data: bytes, attributes: str) -> str:
    rows = [
        "    " + " ".join(f"0x{byte:02x}," for byte in data[at : at + 12])
        for at in range(0, len(data), 12)
    ]
    head = f'__attribute__((section("{attributes})))\nconst uint8_t {name}[{len(data)}] = {{'
    return "\n".join([head, *rows, "};", ""])


def _slots(raw_keys: Iterable[bytes], count: int, halves: int) -> bytes:
    return b"".join(raw_keys).ljust(count * halves * keys.KEY_SIZE, b"\0")


def _area(span: Span) -> FlashArea:
    return FlashArea(span.start, span.size)
