"""Glitches: instructions of the shipped loader are skipped, bits of its registers flipped.

One disturbance a run, at a point of the decision path: from ``loader_main`` to the first
instruction of the application, of the ROM, or to sleep. The board holds an update that must not be
installed, or an application that must not be started. Every run begins in the same snapshot of core
and board, so it costs a few milliseconds. ``python -m proof.skips`` in ``tests/`` prints the table.

A skip of n steps over n instructions as they lie in memory. A flip changes one flag or one bit of a
register right before a conditional branch. Monocypher's arithmetic is sampled; two of its
functions, met again with the very input of the undisturbed run, give that run's answer at once.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import unicorn
import unicorn.arm_const as arm
import workshop

from packager.chip import SECTOR_SIZE
from packager.format import CARRY_SIZE, HEADER_SIZE
from packager.layout import Layout
from packager.records import AppState
from packager.sim import system_memory
from packager.sim.board import Board, Outcome
from packager.sim.cpu import Core, RunLimits
from packager.sim.operations import FlashOp, OpKind
from packager.sim.outcome import Stop
from proof.code import Code

u: Any = unicorn
_STUCK_AFTER = 500_000
"""Microseconds of the machine; an undisturbed run takes a tenth or less."""
_NEVER_RETURNS = 0xFFFF_FFFE
_NOP = bytes.fromhex("00bf")
_GENERAL = range(arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R0 + 13)
_FLAGS = {31: "N", 30: "Z", 29: "C", 28: "V"}
_IMAGE_SIZE, _OLD_COUNTER = 1500, 5
WIDTHS = (1, 2, 3)


class Glitch(NamedTuple):
    """One disturbance, at the ``nth`` time (from 1) that the instruction at ``address`` is due."""

    address: int
    nth: int
    width: int = 0
    """Instructions skipped; 0 for a flip."""
    register: int = 0
    bit: int = 0

    def __str__(self) -> str:
        if self.width:
            return f"skip {self.width} at 0x{self.address:08x} ({self.nth})"
        if self.register == arm.UC_ARM_REG_XPSR:
            return f"flip {_FLAGS[self.bit]} at 0x{self.address:08x} ({self.nth})"
        number = self.register - arm.UC_ARM_REG_R0
        return f"flip r{number}.{self.bit} at 0x{self.address:08x} ({self.nth})"

    @property
    def kind(self) -> str:
        """Name of the column it is counted in."""
        return f"skip {self.width}" if self.width else "flip"


class Harm(StrEnum):
    """What a disturbance can do."""

    NONE = "none"
    ACCEPTED = "accepted"
    """The app area changed, or an app runs that must not."""
    ASTRAY = "astray"
    """Something outside the marks and the header's sector was erased or programmed."""
    BRICKED = "bricked"
    """The board does not do what it did before after the next power-on, or its floor sank."""


@dataclass
class SkipTally:
    """Counts of single skips, and the text of every failure."""

    skips: int = 0
    accepted: int = 0
    hangs: int = 0
    bricked: int = 0
    failures: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    """All figures, those of wider skips and of flips too."""


# -- the core -------------------------------------------------------------------------------------


class GlitchCore(Core):
    """A core that is stopped at a point, disturbed there, and set free."""

    patience = _STUCK_AFTER
    passes = 0
    """Times still to pass there."""
    reached = False

    def emulate(self) -> None:
        """Go on until something stops the emulator, or it takes far too long."""
        try:
            pc = self.uc.reg_read(arm.UC_ARM_REG_PC)
            self.uc.emu_start(pc | 1, _NEVER_RETURNS, timeout=self.patience)
        except u.UcError as error:
            if self.pending_fault is None and self.stop is None:
                self._undefined(error)
        finally:
            self.flash_port.take_back()
            self.charge_work()

    def advance(self) -> None:
        """Run to the end, or until the wanted point is reached."""
        try:
            while self.stop is None and not self.reached:
                self.emulate()
                if not self.reached and not self.after_emulation():
                    self.finish(Stop.TIME_UP)
        except Exception as error:
            self.fail(error)

    def run_to(self, address: int, nth: int) -> bool:
        """Stop before the instruction at ``address`` is due the ``nth`` time."""
        self.passes, self.reached = nth, False
        hook = self.uc.hook_add(u.UC_HOOK_CODE, self._pass, None, address, address)
        self.uc.ctl_remove_cache(address, address + 4)
        self.advance()
        self.uc.hook_del(hook)
        self.uc.ctl_remove_cache(address, address + 4)
        found, self.reached = self.reached, False
        return found

    def _pass(self, uc: Any, address: int, size: int, data: object) -> None:
        self.passes -= 1
        if self.passes == 0:
            self.reached = True
            uc.emu_stop()


class _Memory(NamedTuple):
    """Everything a run changes besides flash."""

    context: Any
    rams: dict[int, bytes]
    state: list[tuple[object, dict[str, object]]]


class Bench:
    """One board at the entry of ``loader_main``, to be run from there as often as wanted."""

    def __init__(self, board: Board, code: Code) -> None:
        self.board = board
        self.code = code
        self._flash = board.snapshot()
        self._heads: dict[tuple[int, int], tuple[int, int, int]] = {}
        """By instruction in an IT block and time it is due: the IT, when that is due, the end."""
        self._block_ends = code.block_ends
        self.core = self._new_core()
        # whether code runs in a busy bank is for other tests to see
        board._registers.on_busy = lambda bank: None
        main = code.functions["loader_main"].start
        assert self.core.run_to(main, 1), "loader_main is not reached"
        self._start = self._remember()

    def _new_core(self) -> GlitchCore:
        board, chip = self.board, self.board.chip
        board.flash.power_on(None)
        board.rams.power_on()
        board._registers.power_on()
        board._peripherals.power_on(watchdog_runs=False)
        vectors = chip.banks[0].start
        board._system.reset(vectors)
        core = GlitchCore(
            chip,
            board._registers,
            board._peripherals,
            board._system,
            board.rams,
            system_memory.render(chip, board.rom_id, board.uid),
            RunLimits(board.clock.now + 3600.0, 0.0, board.clock.now, strict=False),
        )
        core.on_app = lambda handover: core.finish(Stop.IDLE)
        head = board.read(vectors, 8)
        core.uc.reg_write(arm.UC_ARM_REG_SP, int.from_bytes(head[:4], "little"))
        core.uc.reg_write(arm.UC_ARM_REG_LR, 0xFFFF_FFFF)
        core.uc.reg_write(arm.UC_ARM_REG_PC, int.from_bytes(head[4:], "little"))
        return core

    # -- snapshots --------------------------------------------------------------------------------

    def _parts(self) -> list[object]:
        board = self.board
        peripherals = board._peripherals
        return [
            *(board.clock, board._registers, *board._registers.banks),
            *(peripherals, peripherals.watchdog, board._system, self.core, self.core.flash_port),
        ]

    def _remember(self) -> _Memory:
        plain = (int, float, bool, str, type(None), dict, list, set, tuple, bytearray)
        state = [
            (part, {k: copy.copy(v) for k, v in vars(part).items() if isinstance(v, plain)})
            for part in self._parts()
        ]
        rams = {start: bytes(buffer) for start, buffer in self.board.rams.buffers.items()}
        return _Memory(self.core.uc.context_save(), rams, state)

    def rewind(self) -> None:
        """Be at the entry of ``loader_main`` again, with untouched flash."""
        board = self.board
        if board.flash.operations:
            board.flash.restore(self._flash)
        board.flash.power_on(None)
        for start, content in self._start.rams.items():
            if board.rams.buffers[start] != content:
                board.rams.buffers[start][:] = content
                if start == 0:  # code lies there
                    self.core.uc.ctl_remove_cache(0, 0x1000)
        self.core.uc.context_restore(self._start.context)
        for part, values in self._start.state:
            for name, value in values.items():
                setattr(part, name, copy.copy(value))
        for bank in board._registers.banks:
            bank.lock.stage, bank.lock.jammed = 0, False

    # -- runs -------------------------------------------------------------------------------------

    def trace(self) -> Counter[int]:
        """Return how often each instruction is due in an undisturbed run, by address."""
        self.rewind()
        due: Counter[int] = Counter()
        head, end = 0, 0

        def note(uc: Any, address: int, size: int, data: object) -> None:
            nonlocal head, end
            due[address] += 1
            if head < address < end:
                self._heads[address, due[address]] = head, due[head], end
            else:
                head, end = address, self._block_ends.get(address, 0)

        uc = self.core.uc
        hooks = [
            uc.hook_add(u.UC_HOOK_CODE, note, None, first, last) for first, last in self.code.spans
        ]
        uc.ctl_flush_tb()
        self.core.patience *= 100
        self.core.advance()
        self.core.patience //= 100
        for hook in hooks:
            uc.hook_del(hook)
        uc.ctl_flush_tb()
        return due

    def shorten(self) -> None:
        """Let the long functions answer at once from now on, if asked the very same."""
        for name, (sizes, out_size) in _LONG_FUNCTIONS.items():
            function = self.code.functions.get(name)
            if function is not None:
                self._shorten(function.start, sizes, out_size)
        self._shorten_blank_check()

    def _shorten_blank_check(self) -> None:
        """Answer at once whether a whole sector is blank, if it is."""
        flash, blank = self.board.flash, b"\xff" * SECTOR_SIZE

        def enter(uc: Any, address: int, size: int, data: object) -> None:
            start, length = uc.reg_read(arm.UC_ARM_REG_R0), uc.reg_read(arm.UC_ARM_REG_R1)
            if length != SECTOR_SIZE or start % SECTOR_SIZE or not flash.chip.bank_of(start):
                return
            if flash.peek(start, length) == blank:
                uc.reg_write(arm.UC_ARM_REG_R0, 0)
                uc.reg_write(arm.UC_ARM_REG_PC, uc.reg_read(arm.UC_ARM_REG_LR))

        start = self.code.functions["flash_blank"].start
        self.core.uc.hook_add(u.UC_HOOK_CODE, enter, None, start, start)
        self.core.uc.ctl_flush_tb()

    def _shorten(self, start: int, sizes: tuple[int, ...], out_size: int) -> None:
        uc = self.core.uc
        known: dict[bytes, tuple[int, bytes]] = {}
        asked = b""
        out_at = back_at = 0

        def arguments() -> bytes:
            found = b""
            for number, size in enumerate(sizes):
                if size:
                    found += bytes(uc.mem_read(uc.reg_read(arm.UC_ARM_REG_R0 + number), size))
            return found

        def enter(uc: Any, address: int, size: int, data: object) -> None:
            nonlocal asked, out_at, back_at
            try:
                asked = arguments()
            except u.UcError:
                return
            out_at, back_at = uc.reg_read(arm.UC_ARM_REG_R0), uc.reg_read(arm.UC_ARM_REG_LR)
            if asked in known:
                answer, out = known[asked]
                if out:
                    uc.mem_write(out_at, out)
                uc.reg_write(arm.UC_ARM_REG_R0, answer)
                uc.reg_write(arm.UC_ARM_REG_PC, back_at)

        self.rewind()
        hook = uc.hook_add(u.UC_HOOK_CODE, enter, None, start, start)
        uc.ctl_flush_tb()
        if not self.core.run_to(start, 1):
            uc.hook_del(hook)
            return
        self.core.run_to(back_at & ~1, 1)
        out = bytes(uc.mem_read(out_at, out_size)) if out_size else b""
        known[asked] = uc.reg_read(arm.UC_ARM_REG_R0), out

    def run(self, glitch: Glitch) -> Run:
        """Run once with a disturbance."""
        self.rewind()
        core = self.core
        block = self._heads.get((glitch.address, glitch.nth)) if glitch.width else None
        if block is not None:
            self._skip_in_block(glitch, *block)
        elif core.run_to(glitch.address, glitch.nth):
            self._disturb(glitch)
        core.advance()
        return Run(
            core.stop or Stop.TIME_UP,
            core.handover is not None,
            core._error is not None,
            tuple(self.board.flash.operations),
        )

    def _disturb(self, glitch: Glitch) -> None:
        uc = self.core.uc
        if glitch.width:
            uc.reg_write(arm.UC_ARM_REG_PC, self.code.after(glitch.address, glitch.width) | 1)
        else:
            value = uc.reg_read(glitch.register)
            uc.reg_write(glitch.register, value ^ 1 << glitch.bit)

    def _skip_in_block(self, glitch: Glitch, head: int, nth: int, end: int) -> None:
        """Inside an IT block the emulator cannot be stopped: lay no-operations there instead."""
        core, uc = self.core, self.core.uc
        if not core.run_to(head, nth):
            return
        after = self.code.after(glitch.address, glitch.width)
        end = max(after, end)
        original = bytes(uc.mem_read(glitch.address, after - glitch.address))
        uc.mem_write(glitch.address, _NOP * (len(original) // 2))
        uc.ctl_remove_cache(head, end)
        core.run_to(end, 1)
        uc.mem_write(glitch.address, original)
        uc.ctl_remove_cache(head, end)


_LONG_FUNCTIONS = {
    # sizes of what the arguments point to, and of what comes back through the first one
    "crypto_eddsa_check_equation": ((64, 32, 32), 0),
    "crypto_x25519": ((0, 32, 32), 32),
}


class Run(NamedTuple):
    """What came of a run."""

    stop: Stop
    app_runs: bool
    faulted: bool
    """The simulator found a rule broken, which ends a run."""
    operations: tuple[FlashOp, ...]


# -- situations -----------------------------------------------------------------------------------


class Situation(NamedTuple):
    """A board at power-on, and what an undisturbed boot makes of it."""

    name: str
    board: Board
    layout: Layout
    app_may_run: bool

    def judge(self, run: Run) -> Harm:
        """Tell what a disturbed run did."""
        if run.app_runs and not self.app_may_run:
            return Harm.ACCEPTED
        app, carry = self.layout.app, self.layout.app.end - CARRY_SIZE
        harm = Harm.NONE
        for op in run.operations:
            if app.start <= op.address < carry:
                return Harm.ACCEPTED
            header = op.kind is OpKind.ERASE and op.address == self.layout.staging.start
            if not header and not self.layout.marks.contains(op.address):
                harm = Harm.ASTRAY
        return harm


class Bed:
    """Everything to run glitches of one situation."""

    def __init__(self, situation: Situation, code: Code, *, short: bool = True) -> None:
        self.situation = situation
        self.code = code
        self.bench = Bench(situation.board, code)
        if short:
            self.bench.shorten()
        self.due = self.bench.trace()
        self._healed: dict[tuple[object, ...], bool] = {}

    def points(self, cap: int, chance: Random, chosen: Callable[[str], bool]) -> Iterator[Glitch]:
        """Yield points in functions of ``chosen`` sources, at most ``cap`` times each."""
        for address, count in sorted(self.due.items()):
            function = self.code.function_at(address)
            if function is None or not chosen(function.source):
                continue
            for nth in _some(count, cap, chance):
                yield Glitch(address, nth)

    def try_one(self, glitch: Glitch) -> tuple[Harm, bool]:
        """Run a glitch; return the harm, and whether only the next power-on ended it."""
        run = self.bench.run(glitch)
        harm = self.situation.judge(run)
        if harm is Harm.NONE and not self._heals(run):
            harm = Harm.BRICKED
        return harm, run.stop is Stop.TIME_UP and not run.app_runs and not run.faulted

    def _heals(self, run: Run) -> bool:
        """Tell whether the next power-on does what it should, and the floor is what it was."""
        key = tuple((op.kind, op.address) for op in run.operations)
        layout, board = self.situation.layout, self.situation.board
        key += (board.read(layout.marks.start, 4096), board.read(layout.staging.start, HEADER_SIZE))
        if key not in self._healed:
            after = board.snapshot()
            report = Board.new(layout.chip)
            report.restore(after)
            again = report.boot(strict=False)
            runs = again.outcome is Outcome.APP_RUNS
            stays = again.outcome is Outcome.STAYS_IN_ROM
            self._healed[key] = runs if self.situation.app_may_run else stays
        return self._healed[key]


def _some(count: int, cap: int, chance: Random) -> list[int]:
    """Return up to ``cap`` of the numbers from 1 to ``count``: all, or ends and a sample."""
    if count <= cap:
        return list(range(1, count + 1))
    ends = [*range(1, cap // 3 + 2), *range(count - cap // 3 + 1, count + 1)]
    rest = cap - len(ends)
    inner = range(cap // 3 + 2, count - cap // 3 + 1)
    return sorted(ends + chance.sample(inner, rest)) if rest > 0 else ends[:cap]


def flips_at(bed: Bed, point: Glitch, count: int, chance: Random) -> Iterator[Glitch]:
    """Yield every flag and ``count`` bits of registers, right before a branch."""
    compared = bed.code.compared_register(point.address)
    if compared is None:
        for bit in _FLAGS:
            yield point._replace(register=arm.UC_ARM_REG_XPSR, bit=bit)
    for number in range(count):
        register = chance.choice(_GENERAL)
        if compared is not None and number % 2 == 0:
            register = arm.UC_ARM_REG_R0 + compared
        yield point._replace(register=register, bit=chance.randrange(32))


def situations(shop: workshop.Workshop) -> Iterator[Situation]:
    """Yield boards with an update to refuse, and boards with an app not to start."""
    layout = shop.layout
    old, new = shop.image(_IMAGE_SIZE, 1), shop.image(_IMAGE_SIZE, 2)
    good = shop.update(new, "2.0.0", _OLD_COUNTER + 1)
    other_layout = replace(layout, product_id=layout.product_id[:-1] + "~")
    refused = {
        "forged signature": _flipped(good, HEADER_SIZE - 30),
        "too old counter": shop.update(new, "2.0.0", _OLD_COUNTER - 1),
        "other product": replace(shop, layout=other_layout).update(new, "2.0.0", _OLD_COUNTER + 1),
        "altered payload": _flipped(good, HEADER_SIZE + 700),
    }
    for name, update in refused.items():
        board = shop.board(old, "1.0.0", _OLD_COUNTER)
        shop.stage(board, update)
        yield Situation(name, board, layout, app_may_run=True)
    board = shop.board(old, "1.0.0", _OLD_COUNTER)
    board.program({layout.app.start: _flipped(old, 1200)})
    yield Situation("damaged app", board, layout, app_may_run=False)
    board = shop.board(old, "1.0.0", _OLD_COUNTER)
    shop.stage(board, good)
    board.boot(cut="20-after", strict=False)
    assert shop.records(board)[-1].state is AppState.INSTALLING
    board.program({layout.staging.start: bytes(SECTOR_SIZE)})
    yield Situation("half an install", board, layout, app_may_run=False)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# -- the whole experiment -------------------------------------------------------------------------


class Plan(NamedTuple):
    """How much of everything: times an instruction is disturbed, and a share of the points."""

    tool: str
    single: int
    wide: int
    flips: int
    arithmetic: int
    keep: float = 1.0


QUICK = (Plan("gcc", 1, 1, 1, 2, 0.1),)
FULL = (Plan("gcc", 6, 1, 2, 60), Plan("zig", 1, 0, 0, 10))
_ARITHMETIC = ("monocypher.c", "sha512.c", "hkdf.c")


@dataclass
class Column:
    """Counts of one kind of disturbance."""

    runs: int = 0
    stuck: int = 0
    harm: Counter[Harm] = field(default_factory=Counter)


class Experiment:
    """All disturbances of a plan, tallied."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.shop = workshop.make_workshop(
            folder, workshop.layout_named(workshop.DEFAULT), plan.tool
        )
        self.code = Code(self.shop.loader.elf)
        self.columns: dict[tuple[str, str], Column] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        """Disturb every situation."""
        for situation in situations(self.shop):
            bed = Bed(situation, self.code)
            for glitch in self.glitches(bed, Random(situation.name)):
                self._count(bed, glitch)
            if situation.name == "forged signature":
                self._sample_arithmetic(situation)

    def glitches(self, bed: Bed, chance: Random) -> Iterator[Glitch]:
        """Yield what the plan holds for one situation."""
        plan = self.plan
        caps = {1: plan.single, 2: plan.wide, 3: plan.wide}
        for width in WIDTHS:
            share = plan.keep if width == 1 else plan.keep / 3
            for point in bed.points(caps[width], chance, _is_decision):
                if chance.random() < share:
                    yield point._replace(width=width)
        for point in bed.points(plan.flips, chance, _is_decision):
            if self.code.is_branch(point.address) and chance.random() < plan.keep / 3:
                yield from flips_at(bed, point, 3, chance)

    def _sample_arithmetic(self, situation: Situation) -> None:
        bed = Bed(situation, self.code, short=False)
        chance = Random("arithmetic")
        points = list(bed.points(3, chance, lambda source: source in _ARITHMETIC))
        for point in chance.sample(points, min(len(points), self.plan.arithmetic)):
            self._count(bed, point._replace(width=1))

    def _count(self, bed: Bed, glitch: Glitch) -> None:
        harm, stuck = bed.try_one(glitch)
        key = bed.situation.name, glitch.kind
        column = self.columns.setdefault(key, Column())
        column.runs += 1
        column.stuck += stuck
        column.harm[harm] += 1
        if harm is not Harm.NONE and glitch.width == 1:
            function = self.code.function_at(glitch.address)
            where = function.name if function else "?"
            name = bed.situation.name
            self.failures.append(f"{self.plan.tool}, {name}: {glitch} in {where}: {harm}")

    def table(self) -> list[str]:
        """Return the figures, a line for each situation and kind."""
        head = f"{'loader':<6} {'situation':<17} {'glitch':<6} {'runs':>6}"
        lines = [head + "".join(f" {name:>9}" for name in (*_HARMS, "stuck"))]
        for (name, kind), column in self.columns.items():
            counts = [column.harm[harm] for harm in _HARMS] + [column.stuck]
            line = f"{self.plan.tool:<6} {name:<17} {kind:<6} {column.runs:>6}"
            lines.append(line + "".join(f" {count:>9}" for count in counts))
        return lines

    def singles(self) -> Column:
        """Return the sum over all single skips."""
        total = Column()
        for (_, kind), column in self.columns.items():
            if kind == "skip 1":
                total.runs += column.runs
                total.harm += column.harm
        return total


_HARMS = (Harm.ACCEPTED, Harm.ASTRAY, Harm.BRICKED)


def _is_decision(source: str) -> bool:
    return source not in _ARITHMETIC


def run(quick: bool, folder: Path | None = None) -> SkipTally:
    """Disturb the shipped loader and tally: the counts are those of single skips.

    A run that is stuck is one that only the next power-on ends; none counts as a hang, because
    that power-on was tried, and a board it does not cure is bricked.
    """
    tally = SkipTally()
    with tempfile.TemporaryDirectory() as made:
        for plan in QUICK if quick else FULL:
            experiment = Experiment(plan, folder or Path(made))
            experiment.run()
            singles = experiment.singles()
            tally.skips += singles.runs
            tally.accepted += singles.harm[Harm.ACCEPTED]
            tally.bricked += singles.harm[Harm.ASTRAY] + singles.harm[Harm.BRICKED]
            tally.failures += experiment.failures
            tally.table += experiment.table()
    return tally


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sample, in half a minute")
    tally = run(parser.parse_args().quick)
    print("\n".join([*tally.table, *tally.failures]))  # noqa: T201


if __name__ == "__main__":
    main()
