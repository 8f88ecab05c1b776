"""Builds the loader for one layout and one set of keys.

Writes two files that hold the device key, named and moded as the secrets they are. Reads
``device/`` and ``public/`` of the keys folder, never ``signing/``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import packager
from packager import files, keys, resources
from packager.chip import KIB, Span
from packager.door import door_fields, indicator_word
from packager.errors import BuildError, PackagerError
from packager.format import (
    DEVICE_KEY_SLOTS,
    INFO_FLAG_DEV,
    INFO_OFFSET,
    VERIFY_KEY_SLOTS,
    Recovery,
    pack_version,
)
from packager.hex_file import write_hex
from packager.image import elf_segments
from packager.keys import DeviceKey, Kind, VerifyKey
from packager.layout import Layout
from packager.monocypher import FLAGS, find_monocypher
from packager.records import FlashArea, InfoBlock, build_info
from packager.toolchain import Source, Toolchain, compile_link, find_toolchain
from packager.vectors import stack_ram

ELF_NAME = "loader_SECRET.elf"
HEX_NAME = "loader_SECRET.hex"
LARGEST_LOADER = 40 * KIB
"""Bytes of flash the loader may take; what the toolchains really need is pinned by a test."""

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
class LoaderKeys:
    """The keys a loader holds."""

    verify: tuple[VerifyKey, ...]
    device: tuple[DeviceKey, ...]


@dataclass(frozen=True)
class BuiltLoader:
    """What was built: ``segments`` by address, ``size`` in bytes of flash."""

    elf: Path
    hex: Path
    info: InfoBlock
    size: int
    toolchain: str


def load_loader_keys(directory: Path, batches: Sequence[str] = ()) -> LoaderKeys:
    """Load what a loader needs from a keys folder; ``signing/`` may be missing.

    Without ``batches`` every device key goes in, if there are not more than 2.

    Raises:
        KeyFileError: a key is missing, misplaced, blank or published, or there are too many.
    """
    return LoaderKeys(
        tuple(keys.load_verify_keys(directory)), tuple(keys.load_device_keys(directory, batches))
    )


def build_loader(
    layout: Layout,
    loader_keys: Path | LoaderKeys,
    out_dir: Path,
    *,
    dev: bool = False,
    toolchain: Toolchain | str | None = None,
    monocypher: Path | None = None,
    sources: Path | None = None,
) -> BuiltLoader:
    """Compile and link the loader and write ``loader_SECRET.elf`` and ``.hex`` into ``out_dir``.

    Raises:
        KeyFileError: a key is missing, blank, published or of low order.
        BuildError: no toolchain, no Monocypher, or it does not compile or fit.
    """
    if isinstance(loader_keys, Path):
        loader_keys = load_loader_keys(loader_keys)
    for verify in loader_keys.verify:
        keys.refuse_weak_key(f"verify key '{verify.name}'", Kind.VERIFY, verify.raw)
    for device in loader_keys.device:
        keys.refuse_weak_key(f"device key '{device.name}'", Kind.DEVICE, device.secret)
    return build_unchecked(
        layout,
        loader_keys,
        out_dir,
        dev=dev,
        toolchain=toolchain,
        monocypher=monocypher,
        sources=sources,
    )


def build_unchecked(
    layout: Layout,
    loader_keys: LoaderKeys,
    out_dir: Path,
    *,
    dev: bool = False,
    toolchain: Toolchain | str | None = None,
    monocypher: Path | None = None,
    sources: Path | None = None,
) -> BuiltLoader:
    """Build with any keys, so that a test can show what the loader itself refuses."""
    if not isinstance(toolchain, Toolchain):
        toolchain = find_toolchain(toolchain)
    library = find_monocypher(monocypher)
    root = sources or resources.loader_sources()
    info = describe(layout, loader_keys, dev=dev)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PackagerError(str(out_dir), f"cannot be made ({error.strerror})") from error
    with tempfile.TemporaryDirectory(prefix="splitflash-") as name:
        work = Path(name)
        config = work / "config.c"
        config.write_text(render_config(info, loader_keys))
        script = work / "loader.ld"
        script.write_text(render_memory(layout) + (root / "loader.ld").read_text())
        elf = compile_link(
            [
                *(Source(root / part) for part in (*CHIP_SOURCES, *CORE_SOURCES)),
                *(_source(root, part) for part in chosen_sources(layout, dev=dev)),
                Source(config),
                Source(library / "monocypher.c", ours=False, flags=FLAGS),
            ],
            script,
            out_dir / ELF_NAME,
            toolchain=toolchain,
            include=(root, library),
            mode=files.SECRET_MODE,
        )
    segments = elf_segments(elf)
    size = _flash_size(segments, layout.loader)
    hex_path = out_dir / HEX_NAME
    files.write_atomic(hex_path, write_hex(segments), files.SECRET_MODE)
    return BuiltLoader(elf, hex_path, info, size, toolchain.name)


def describe(layout: Layout, loader_keys: LoaderKeys, *, dev: bool) -> InfoBlock:
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
        verify_key_ids=tuple(key.key_id for key in loader_keys.verify),
        device_key_ids=tuple(key.key_id for key in loader_keys.device),
        indicator_pin=indicator_word(layout),
        mailbox=layout.mailbox_address,
        **door_fields(layout),
    )


def chosen_sources(layout: Layout, *, dev: bool) -> tuple[str, ...]:
    """Return the files that only some loaders have: what they do is chosen by linking them."""
    return (
        *(DEVELOPMENT if dev else PRODUCTION),
        *(PIN_INDICATOR if layout.indicator.pin else NO_INDICATOR),
        *_DOORS[layout.recovery],
    )


_DOORS = {Recovery.ROM: ROM_DOOR, Recovery.DFU: DFU_DOOR, Recovery.NONE: NO_DOOR}


def _source(root: Path, part: str) -> Source:
    return Source(root / part, flags=_ITCM_FLAGS if part in ITCM_DOOR else ())


def render_config(info: InfoBlock, loader_keys: LoaderKeys) -> str:
    """Return ``config.c``: info block, keys, and the keys that are never to be trusted."""
    published = published_raw_keys()
    verify = _slots((key.raw for key in loader_keys.verify), VERIFY_KEY_SLOTS, 1)
    device = _slots((key.secret + key.public for key in loader_keys.device), DEVICE_KEY_SLOTS, 2)
    return "\n".join(
        [
            "// config.c: generated from the layout and the keys. HOLDS THE DEVICE KEY.",
            "",
            "#include <stdint.h>",
            "",
            "extern const uint8_t info_block[], loader_keys[], published_keys[];",
            "extern const uint32_t published_key_count;",
            "",
            "// struct info_block, as format.py builds it",
            _array("info_block", build_info(info), '.info"), used, aligned(8'),
            "// struct loader_keys: verify keys, then secret and public half of device keys",
            _array("loader_keys", verify + device, '.keys"), used, aligned(8'),
            "// anybody can derive these",
            _array("published_keys", b"".join(published), '.rodata.published_keys"), aligned(4'),
            f"const uint32_t published_key_count = {len(published)};",
            "",
        ]
    )


def published_raw_keys() -> list[bytes]:
    """Return whatever of the published test keys could end up in a key slot of a loader."""
    published = keys.published_test_keys().values()
    secrets = [key.secret for key in published if isinstance(key, DeviceKey)]
    return [key.public for key in published] + secrets


def render_memory(layout: Layout) -> str:
    """Return the part of the linker script that depends on the layout and the chip."""
    by_name = {ram.name: ram.span for ram in layout.chip.ram}
    itcm, dtcm = by_name["ITCM"], by_name["DTCM"]
    return "\n".join(
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


def _flash_size(segments: dict[int, bytes], loader: Span) -> int:
    for address, data in segments.items():
        if not loader.contains(address, len(data)):
            raise BuildError(
                "loader", f"has {len(data)} bytes at 0x{address:08X}", "outside its area", "report"
            )
    size = max(address + len(data) for address, data in segments.items()) - loader.start
    if size > LARGEST_LOADER:
        raise BuildError("loader", f"{size} bytes", f"at most {LARGEST_LOADER}", "shorten it")
    return size
