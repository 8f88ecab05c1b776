"""Brings an update into the staging area: look, plan, act.

Promises: nothing outside staging is ever erased or written; an old header is erased before
anything else changes and the header's first block is written last, after the rest was read back,
so staging never holds a header without its payload; an interrupted drop is finished by dropping
again, which keeps what is there; no flash word is programmed twice between erases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from packager.chip import FLASH_WORD, SECTOR_SIZE, Span
from packager.dfu.pipe import Progress, silent
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import RequestRefusedError
from packager.dfu.status import read_marks
from packager.dfu.target import check_floor, check_memory, check_update, read_info, target_of
from packager.errors import OutsideStagingError, VerifyMismatchError
from packager.format import HEADER_SIZE, pad_to_flash_word, parse_header
from packager.layout import Layout

COMPARING = "compare"
ERASING = "erase"
WRITING = "write"
READING_BACK = "read back"

DOUBTFUL_READS = 8
"""A word whose programming was cut short may read right now and not later, so it is read again."""

_BLANK = b"\xff" * FLASH_WORD


@dataclass(frozen=True)
class Held:
    """What a sector of staging holds, compared with the part of the update that belongs there.

    The first ``equal`` bytes are there already; ``dirty`` says that the rest is not blank. Without
    its header (``headless``), the header's block is blank and counts as equal.
    """

    sector: int
    equal: int
    dirty: bool
    headless: bool = False


@dataclass(frozen=True)
class Memory:
    """What a plan has to know of the device."""

    staging: Span
    block: int
    sectors: tuple[Held, ...]


@dataclass(frozen=True)
class Erase:
    """Erase one sector."""

    sector: int

    def __str__(self) -> str:
        return f"erase     0x{self.sector:08X}"

    def as_dict(self) -> dict[str, object]:
        """Return the step as plain values."""
        return {"step": "erase", "address": f"0x{self.sector:08x}", "size": SECTOR_SIZE}


@dataclass(frozen=True)
class Write:
    """Program blank flash."""

    address: int
    data: bytes

    def __str__(self) -> str:
        return f"write     0x{self.address:08X} {len(self.data)} bytes"

    def as_dict(self) -> dict[str, object]:
        """Return the step as plain values."""
        return {"step": "write", "address": f"0x{self.address:08x}", "size": len(self.data)}


@dataclass(frozen=True)
class Verify:
    """Read back and compare."""

    address: int
    data: bytes

    def __str__(self) -> str:
        return f"read back 0x{self.address:08X} {len(self.data)} bytes"

    def as_dict(self) -> dict[str, object]:
        """Return the step as plain values."""
        return {"step": "read back", "address": f"0x{self.address:08x}", "size": len(self.data)}


Step = Erase | Write | Verify


@dataclass(frozen=True)
class Plan:
    """Steps inside one staging area; no steps: the update is staged already."""

    staging: Span
    steps: tuple[Step, ...]

    def total(self, kind: type[Write] | type[Verify]) -> int:
        """Bytes of all steps of one kind."""
        return sum(len(step.data) for step in self.steps if isinstance(step, kind))


def prepare_drop(
    update: bytes, device: DfuSe, layout: Layout | None = None, progress: Progress = silent
) -> Plan:
    """Check that the update is for this device, look at staging, and plan; changes nothing.

    Raises:
        FormatError: this is no update.
        RefusedError: it is not for this device.
        ProtectedError: the device is read-protected.
    """
    header = parse_header(update[:HEADER_SIZE], "update")
    device.read_rom_id()
    target = target_of(read_info(device), layout, device.where)
    check_update(header, len(update), target)
    check_memory(target, device.memory_map, device.where)
    check_floor(header, read_marks(device, target.marks, target.app).newest)
    return plan_drop(update, survey(update, device, target.staging, progress))


def survey(update: bytes, device: DfuSe, staging: Span, progress: Progress = silent) -> Memory:
    """Compare the sectors the update needs with the update, reading no more than decides."""
    staged = pad_to_flash_word(update)
    found = []
    for offset in range(0, len(staged), SECTOR_SIZE):
        progress(COMPARING, offset, len(staged))
        wanted = staged[offset : offset + SECTOR_SIZE]
        found.append(_look_at(device, staging.start + offset, wanted, is_first=offset == 0))
    steady = _without_doubt(device, found, staged)
    progress(COMPARING, len(staged), len(staged))
    return Memory(staging, device.transfer_size, tuple(steady))


def _look_at(device: DfuSe, sector: int, wanted: bytes, *, is_first: bool) -> Held:
    with closing(device.upload_blocks(sector, len(wanted))) as blocks:
        try:
            return compare_sector(sector, wanted, blocks, is_first=is_first)
        except RequestRefusedError:
            return Held(sector, 0, dirty=True)  # words torn by a power cut cannot be read


def compare_sector(
    sector: int, wanted: bytes, held: Iterable[bytes], *, is_first: bool = False
) -> Held:
    """Compare word by word: equal up to somewhere, then blank; anything else is dirty.

    The first block of the first sector is where the header goes: it may be missing.
    """
    equal, only_blank, at, headless = 0, False, 0, False
    for block in held:
        if is_first and at == 0 and block.count(0xFF) == len(block):
            headless, equal, at = True, len(block), len(block)
            continue
        for offset in range(0, len(block), FLASH_WORD):
            word = block[offset : offset + FLASH_WORD]
            if not only_blank and word == wanted[at : at + FLASH_WORD]:
                equal += FLASH_WORD
            elif word == _BLANK:
                only_blank = True
            else:
                return Held(sector, 0, dirty=True)
            at += FLASH_WORD
    return Held(sector, equal, dirty=False, headless=headless)


def _without_doubt(device: DfuSe, found: list[Held], staged: bytes) -> list[Held]:
    """Give up sectors with a word, perhaps cut while it was programmed, that reads unsteadily.

    A header is no sign that what lies behind it is sound: other tools write it first.
    """
    block = min(device.transfer_size, len(staged))
    steady = []
    for number, held in enumerate(found):
        part = staged[number * SECTOR_SIZE :][:SECTOR_SIZE]
        ends = _ends(held, block if number == 0 else 0)
        if held.equal == len(part) and number + 1 < len(found) and found[number + 1].equal > 0:
            ends.discard(held.equal)
        words = {end - FLASH_WORD: part[end - FLASH_WORD : end] for end in ends}
        follows = number > 0 and found[number - 1].equal == SECTOR_SIZE
        words |= dict.fromkeys(_beginnings(held, len(part), block, ends, follows=follows), _BLANK)
        for at, word in sorted(words.items()):
            if not _reads_steadily(device, held.sector + at, word):
                held = Held(held.sector, 0, dirty=True)
        steady.append(held)
    return steady


def _ends(held: Held, block: int) -> set[int]:
    """Return where in a sector programming may have stopped.

    Our own drops write the header's ``block`` last, in one go.
    """
    ends = {held.equal} if held.equal > (block if held.headless else 0) else set[int]()
    if block and held.equal >= block and not held.headless:
        ends.add(block)
    return ends


def _beginnings(
    held: Held, size: int, block: int, ends: set[int], *, follows: bool
) -> Iterator[int]:
    """Yield where a word reads blank that was perhaps begun: the next one, or the header's first.

    ``follows`` says that the sector before this one is whole.
    """
    if not held.dirty and held.equal < size and (held.equal in ends or follows):
        yield held.equal
    if held.headless and held.equal > block:
        yield 0


def _reads_steadily(device: DfuSe, address: int, word: bytes) -> bool:
    try:
        return all(device.upload(address, len(word)) == word for _ in range(DOUBTFUL_READS))
    except RequestRefusedError:
        return False


def plan_drop(update: bytes, memory: Memory) -> Plan:
    """Plan the least that brings ``update`` into staging; pure, so it can be shown and tested."""
    staged = pad_to_flash_word(update)
    staging, start = memory.staging, memory.staging.start
    if len(staged) > staging.size:
        raise _outside(Span(start, len(staged)), staging)
    parts = [staged[at : at + SECTOR_SIZE] for at in range(0, len(staged), SECTOR_SIZE)]
    pairs = list(zip(memory.sectors, parts, strict=True))
    if not pairs[0][0].headless and all(held.equal == len(part) for held, part in pairs):
        return Plan(staging, ())
    block = min(memory.block, len(staged))
    erases, writes = [], list[Write]()
    for held, part in pairs:
        keeps = not held.dirty and (held.headless or held.sector != start)
        skip = held.equal if keeps else 0
        if not keeps:
            erases.append(Erase(held.sector))
        if held.sector == start:
            skip = max(skip, block)
        if skip < len(part):
            _append(writes, Write(held.sector + skip, part[skip:]))
    # what is kept was read and compared just now; so every byte is, before the header goes in
    verify = [Verify(write.address, write.data) for write in writes]
    first = staged[:block]
    return Plan(staging, (*erases, *writes, *verify, Write(start, first), Verify(start, first)))


def run_plan(plan: Plan, device: DfuSe, progress: Progress = silent) -> None:
    """Carry out a plan.

    Raises:
        VerifyMismatchError: what was read back differs from what was written.
        DeviceError: the device failed or left; dropping again is safe.
    """
    erases = [step for step in plan.steps if isinstance(step, Erase)]
    erased = 0
    write = _counter(progress, WRITING, plan.total(Write))
    read = _counter(progress, READING_BACK, plan.total(Verify))
    for step in plan.steps:
        _stay_inside(step, plan.staging)
        match step:
            case Erase(sector):
                progress(ERASING, erased * SECTOR_SIZE, len(erases) * SECTOR_SIZE)
                device.erase_sector(sector)
                erased += 1
                progress(ERASING, erased * SECTOR_SIZE, len(erases) * SECTOR_SIZE)
            case Write(address, data):
                device.write_blocks(address, data, write)
            case Verify(address, data):
                _verify(device, address, data, read)


def _verify(device: DfuSe, address: int, data: bytes, count: Callable[[int], None]) -> None:
    at = 0
    try:
        for block in device.upload_blocks(address, len(data)):
            if block != data[at : at + len(block)]:
                wrong = next(i for i, byte in enumerate(block) if byte != data[at + i])
                blank = block.count(0xFF) == len(block)
                found = "the flash is still blank" if blank else "other bytes than were written"
                raise _mismatch(device, address + at + wrong, found)
            at += len(block)
            count(len(block))
    except RequestRefusedError as error:
        raise _mismatch(device, address + at, f"unreadable flash ({error.found})") from error


def _mismatch(device: DfuSe, address: int, found: str) -> VerifyMismatchError:
    return VerifyMismatchError(
        f"{device.where}: read back at 0x{address:08X}",
        found,
        "the update is not staged completely",
        "drop it again; if that fails at the same place, the sector is write-protected (WRP option "
        "bytes) or worn out: ask the maker of the device",
    )


def _stay_inside(step: Step, staging: Span) -> None:
    """Stop a plan that leaves staging, whoever made it."""
    match step:
        case Erase(sector):
            span = Span(sector - sector % SECTOR_SIZE, SECTOR_SIZE)
        case Write(address, data) | Verify(address, data):
            span = Span(address, len(data))
    if not staging.contains(span.start, span.size):
        raise _outside(span, staging)


def _outside(span: Span, staging: Span) -> OutsideStagingError:
    return OutsideStagingError(
        "plan",
        f"0x{span.start:08X}..0x{span.end - 1:08X} is outside staging",
        f"which is 0x{staging.start:08X}..0x{staging.end - 1:08X}",
        "use the update made for this product; nothing was changed there",
    )


def _append(writes: list[Write], write: Write) -> None:
    """Add a run, joined to the one before it where they touch: that saves a Set Address."""
    if writes and writes[-1].address + len(writes[-1].data) == write.address:
        write = Write(writes[-1].address, writes.pop().data + write.data)
    writes.append(write)


def _counter(progress: Progress, phase: str, total: int) -> Callable[[int], None]:
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(phase, done, total)

    return count
