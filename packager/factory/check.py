"""Compares a freshly programmed device with its factory image, over the ROM bootloader.

Promises: nothing on the device is changed; all of loader, app, marks and staging is read; whatever
differs is named with where, what was found, what was expected and what to do; no byte of the
loader's area is shown, because the device key is one of its constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packager.dfu.area import Area, read_area
from packager.dfu.doctor import Check, Verdict
from packager.dfu.pipe import Progress, silent
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import RequestRefusedError
from packager.dfu.status import OPTION_WORD
from packager.errors import (
    DeviceError,
    FormatError,
    ProtectedError,
    RefusedError,
    VerifyMismatchError,
)
from packager.factory import check_key_folder, check_loader
from packager.factory.file import FactoryFile
from packager.format import (
    HEADER_SIZE,
    INFO_OFFSET,
    INFO_SIZE,
    RECORD_SIZE,
    parse_header,
    version_text,
)
from packager.keys import (
    KEY_SIZE,
    Recipient,
    VerifyKey,
    fingerprint,
    load_every_recipient,
    load_verify_keys,
)
from packager.layout import Layout
from packager.loader_file import LoaderFile
from packager.option_bytes import ProductionOptions, production_options
from packager.records import InfoBlock, MarkRecord, parse_info, parse_record
from packager.segments import BLANK

OPTION_BLOCK_SIZE = 0x134
"""Bytes of option registers that the ROM shows at ``OPTION_WORD``, bank 2 included."""
WRITE_AGAIN = "write the factory image again and have it read back"
ERASE_FIRST = "erase the whole chip with the programmer, then " + WRITE_AGAIN
SET_OPTIONS = "set it as factory-steps.txt says"
TOO_LATE = (
    "check devices before their read-out protection is set: the way back to level 0 erases loader,"
    " keys and application"
)
NOT_LOOKED_AT = "not looked at: "

AnyKey = VerifyKey | Recipient


def matching_keys(
    factory: FactoryFile, keys_dir: Path, batches: Sequence[str] = ()
) -> tuple[AnyKey, ...]:
    """Return the public keys of a folder, if the factory image was made with them.

    Raises:
        KeyFileError: a key is not as it should be, or there is no such batch.
        RefusedError: the image holds a loader with other keys.
    """
    check_key_folder(factory.loader, keys_dir, batches)
    return (*load_verify_keys(keys_dir), *load_every_recipient(keys_dir))


def check_device(
    device: DfuSe,
    factory: FactoryFile,
    layout: Layout,
    keys: Sequence[AnyKey] = (),
    progress: Progress = silent,
) -> Iterator[Check]:
    """Yield what is as it should be on a device, and what is not.

    ``keys`` are public keys whose bytes are looked for in the loader as well.

    Raises:
        DeviceError: the device stopped answering.
    """
    where = device.where
    if device.is_loader:
        found = "the loader's own DFU answers, which shows neither loader nor application"
        do = "unplug the device, set BOOT0 high, plug it in again"
        yield Check("access", Verdict.PROBLEM, found, do, where, DeviceError.exit_code)
        return
    try:
        loader = read_area(device, layout.loader, "loader", progress)
    except ProtectedError as error:
        code = error.exit_code
        yield Check("read protection", Verdict.PROBLEM, error.found, TOO_LATE, where, code)
        return
    yield Check("read protection", Verdict.OK, _protection(layout), "", where)
    yield _same("loader", loader, factory, where)
    yield from _who(loader, factory, layout, keys, where)
    yield _same("app", read_area(device, layout.app, "app", progress), factory, where)
    yield _marks(read_area(device, layout.marks, "marks", progress), factory, where)
    yield _staging(read_area(device, layout.staging, "staging", progress), where)
    yield from _options(device, layout, where)


def summary(checks: Sequence[Check]) -> str:
    """Return one sentence on all checks of a device."""
    counts = {verdict: sum(c.verdict is verdict for c in checks) for verdict in Verdict}
    if counts[Verdict.PROBLEM]:
        return f"NOT good: {counts[Verdict.PROBLEM]} of {len(checks)} checks found a problem"
    if counts[Verdict.UNKNOWN]:
        return f"good as far as it could be seen: {counts[Verdict.UNKNOWN]} not looked at"
    return f"good: {len(checks)} checks, nothing differs"


def _protection(layout: Layout) -> str:
    if layout.rdp:
        return f"off (RDP level 0), level {layout.rdp} is still to be set, as the last step"
    return "off (RDP level 0), as the layout has it"


def _different(name: str, found: str, expected: str, do: str, where: str) -> Check:
    text = f"{found}, expected {expected}"
    return Check(name, Verdict.PROBLEM, text, do, where, VerifyMismatchError.exit_code)


# -- what lies in flash ---------------------------------------------------------------------------


def _same(name: str, read: Area, factory: FactoryFile, where: str) -> Check:
    expected = factory.content[name]
    difference = read.compared(expected)
    if difference and name == "loader":  # it holds the device key, so no byte of it is shown
        return _different(name, difference.place, f"it as in {factory.name}", WRITE_AGAIN, where)
    if difference:
        wanted = f"{difference.expected.hex()} as in {factory.name}"
        return _different(name, str(difference), wanted, WRITE_AGAIN, where)
    what = _loader_text(factory.loader.info) if name == "loader" else _app_text(factory.record)
    found = f"{what}: {len(expected)} bytes as in {factory.name}, blank behind"
    return Check(name, Verdict.OK, found, "", where)


def _loader_text(info: InfoBlock) -> str:
    return f"splitflash {version_text(info.loader_version)}"


def _app_text(record: MarkRecord) -> str:
    return f"version {version_text(record.version)}, security counter {record.security_counter}"


def _who(
    read: Area, factory: FactoryFile, layout: Layout, keys: Sequence[AnyKey], where: str
) -> Iterator[Check]:
    try:
        info = parse_info(read.data[INFO_OFFSET : INFO_OFFSET + INFO_SIZE])
    except FormatError as error:
        address = read.span.start + INFO_OFFSET
        found = f"no splitflash loader: no info block at 0x{address:08X} ({error.found})"
        yield _different("layout", found, layout.path.name, WRITE_AGAIN, where)
        yield Check("keys", Verdict.UNKNOWN, f"{NOT_LOOKED_AT}no info block", "", where)
        return
    yield _layout(LoaderFile(where, read.data, info), layout, where)
    yield _keys(read, info, factory, keys, where)


def _layout(loader: LoaderFile, layout: Layout, where: str) -> Check:
    try:
        check_loader(loader, layout)
    except RefusedError as error:
        found = f"{error.found} (layout id {loader.info.layout_id.hex()})"
        return _different("layout", found, layout.layout_id.hex(), WRITE_AGAIN, where)
    found = f"{layout.path.name} of '{layout.product_id}', id {layout.layout_id.hex()}"
    return Check("layout", Verdict.OK, found, "", where)


def _keys(
    read: Area, info: InfoBlock, factory: FactoryFile, keys: Sequence[AnyKey], where: str
) -> Check:
    own = factory.loader.info
    names = {key.key_id: key.name for key in keys}
    found, wanted = _ids(info, names), _ids(own, names)
    if found != wanted:
        return _different("keys", found, wanted, WRITE_AGAIN, where)
    held = {*own.verify_key_ids, *own.device_key_ids}
    for key in keys:
        at = factory.loader.data.find(key.raw) if key.key_id in held else -1
        raw = read.data[at : at + KEY_SIZE]
        if at >= 0 and raw != key.raw:
            place = f"'{key.name}' at 0x{read.span.start + at:08X} has fingerprint"
            text = f"{place} {fingerprint(raw).hex()}"
            return _different("keys", text, key.key_id.hex(), WRITE_AGAIN, where)
    return Check("keys", Verdict.OK, found, "", where)


def _ids(info: InfoBlock, names: dict[bytes, str]) -> str:
    def listed(ids: Sequence[bytes]) -> str:
        return ", ".join(f"{names.get(key_id, '')} {key_id.hex()}".strip() for key_id in ids)

    return f"trusts {listed(info.verify_key_ids)}; holds {listed(info.device_key_ids)}"


def _marks(read: Area, factory: FactoryFile, where: str) -> Check:
    difference = read.compared(factory.content["marks"])
    if difference is None:
        found = f"installed {_app_text(factory.record)}, twice, and no other record"
        return Check("records", Verdict.OK, found, "", where)
    slot = (difference.address - read.span.start) // RECORD_SIZE
    found = f"record {slot + 1}: {_record_text(read, slot)} ({difference})"
    expected = f"{_app_text(factory.record)} in records 1 and 2, then nothing"
    do = f"{WRITE_AGAIN}; a device that has taken an update is not new any more"
    return _different("records", found, expected, do, where)


def _record_text(read: Area, slot: int) -> str:
    data = read.data[slot * RECORD_SIZE :][:RECORD_SIZE]
    if data.count(BLANK) == len(data):
        return "missing"
    try:
        record = parse_record(data)
    except FormatError as error:
        return f"damaged, {error.found}"
    return f"{record.type.name.lower()} {_app_text(record)}"


def _staging(read: Area, where: str) -> Check:
    difference = read.compared(b"")
    if difference is None:
        return Check("staging", Verdict.OK, "blank", "", where)
    try:
        staged = parse_header(read.data[:HEADER_SIZE])
    except FormatError:
        return _different("staging", str(difference), "it to be blank", ERASE_FIRST, where)
    found = f"an update to version {version_text(staged.version)}, taken at the next start"
    return _different("staging", found, "it to be blank", ERASE_FIRST, where)


# -- option bytes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OptionRegisters:
    """What the option registers hold (RM0433 4.9), from FLASH_OPTSR_CUR on."""

    optsr: int
    boot: int
    wpsn: tuple[int, int]

    @classmethod
    def read(cls, device: DfuSe) -> _OptionRegisters | None:
        """Read them as the ROM shows them; None if it does not, or shows something else."""
        try:
            block = device.upload(OPTION_WORD, OPTION_BLOCK_SIZE)
        except RequestRefusedError:
            return None

        def word(offset: int) -> int:
            at = offset - 0x1C
            return int.from_bytes(block[at : at + 4], "little")

        registers = cls(word(0x1C), word(0x40), (word(0x38), word(0x138)))
        # flash was read through this very ROM, so any other level shows that these are not they
        return registers if registers.optsr >> 8 & 0xFF == 0xAA else None

    def is_write_protected(self, bank: int, sector: int) -> bool:
        """Tell whether a sector of bank 1 or 2 is write-protected (its bit is 0)."""
        return not self.wpsn[bank - 1] >> sector & 1


def _options(device: DfuSe, layout: Layout, where: str) -> Iterator[Check]:
    registers = _OptionRegisters.read(device)
    if registers is None:
        found = f"{NOT_LOOKED_AT}this ROM bootloader does not show them"
        do = "compare them by -ob displ, see factory-steps.txt"
        yield Check("option bytes", Verdict.UNKNOWN, found, do, where)
        return
    wanted = production_options(layout)
    level = registers.optsr >> 2 & 3
    yield _option("BOR_LEV", str(level), [str(wanted.brown_out_level)], where)
    dog = registers.optsr >> 4 & 1
    yield _option("IWDG1_SW", str(dog), [str(wanted.software_watchdog)], where)
    swap = registers.optsr >> 31
    yield _option("SWAP_BANK_OPT", str(swap), [str(wanted.swap_banks)], where)
    low, high = registers.boot & 0xFFFF, registers.boot >> 16
    yield _option("BOOT_CM7_ADD0", f"0x{low:04X}", [f"0x{wanted.boot0_low:04X}"], where)
    either = dict.fromkeys((wanted.boot0_high_at_first, wanted.boot0_high))
    yield _option("BOOT_CM7_ADD1", f"0x{high:04X}", [f"0x{v:04X}" for v in either], where)
    yield _write_protection(registers, wanted, layout, where)


def _option(name: str, found: str, wanted: Sequence[str], where: str) -> Check:
    if found in wanted:
        return Check(name, Verdict.OK, found, "", where)
    return _different(name, found, " or ".join(wanted), SET_OPTIONS, where)


def _write_protection(
    registers: _OptionRegisters, wanted: ProductionOptions, layout: Layout, where: str
) -> Check:
    """Compare the sectors of our areas; those of the application's own data are its own affair."""
    name = "write protection"
    for sector in wanted.protected_sectors:
        if not registers.is_write_protected(1, sector):
            found = f"off in sector {sector} of bank 1 (nWRP{sector}=1)"
            return _different(name, found, "on, it is the loader's", SET_OPTIONS, where)
    for area in ("staging", "app", "marks"):
        for bank, sector in layout.chip.sectors_of(layout.areas[area]):
            if registers.is_write_protected(bank, sector):
                found = f"on in sector {sector} of bank {bank}"
                return _different(name, found, f"off, it is {area}", SET_OPTIONS, where)
    return Check(name, Verdict.OK, "the loader's sectors, and no other of ours", "", where)
