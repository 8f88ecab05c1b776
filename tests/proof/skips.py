"""Glitches: instructions of the shipped loader are skipped, bits of its registers flipped.

    cd tests && python -m proof.skips            every point; nine minutes of two processes
    cd tests && python -m proof.skips --quick    a sample; half a minute or less

One disturbance a run, at a point of the decision path: from ``loader_main`` to the first
instruction of the application, of the ROM, or to sleep. A skip takes one, two or three
instructions; a flip changes a flag or a bit of a register right before a conditional branch.
Arithmetic of the cryptography is sampled. Only a single skip that does harm is a failure; whatever
else does harm is counted and named.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

import workshop

from packager import toolchain
from proof import situations
from proof.code import Code
from proof.glitches import FLAGS, GENERAL, STATUS, Glitch
from proof.situations import Situation
from proof.trial import Harm, Trial

SINGLE = "skip 1"
_ARITHMETIC = ("monocypher.c", "sha512.c", "hkdf.c")
_WORKERS = 2
_SHARES = 2
"""Of one situation in a full run, so that both cores have work to the end."""


class Plan(NamedTuple):
    """How much of everything; an instruction that is due often is disturbed some of the times."""

    tool: str
    single: int
    """Times an instruction is skipped alone."""
    wide: int
    """Times it is skipped together with the next one or two."""
    flips: int
    """Times a branch gets flips: its flags, and each time ``bits`` bits of registers."""
    bits: int
    arithmetic: int
    """Skips inside the cryptography."""
    share: float = 1.0
    """Of the single skips; of everything else it is a third."""


QUICK = (Plan("gcc", 1, 1, 1, 3, 2, 0.1),)
FULL = (Plan("gcc", 6, 1, 2, 6, 60), Plan("zig", 1, 0, 0, 0, 10))


class Finding(NamedTuple):
    """A glitch that did harm."""

    tool: str
    situation: str
    glitch: Glitch
    place: str
    harm: Harm

    def __str__(self) -> str:
        return f"{self.tool}, {self.situation}: {self.glitch} in {self.place}: {self.harm}"


@dataclass
class Column:
    """Counts of one kind of disturbance."""

    runs: int = 0
    stuck: int = 0
    harm: Counter[Harm] = field(default_factory=Counter)

    def __iadd__(self, other: Column) -> Column:
        self.runs += other.runs
        self.stuck += other.stuck
        self.harm += other.harm
        return self


@dataclass
class Figures:
    """What came of many glitches: counts by loader, situation and kind, and what did harm."""

    columns: dict[tuple[str, str, str], Column] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def __iadd__(self, other: Figures) -> Figures:
        for key, column in other.columns.items():
            self.columns.setdefault(key, Column()).__iadd__(column)
        self.findings += other.findings
        return self

    def sum_of(self, *kinds: str) -> Column:
        """Return the sum over all situations."""
        total = Column()
        for (_, _, kind), column in self.columns.items():
            if kind in kinds:
                total += column
        return total

    def table(self) -> list[str]:
        """Return a line for each situation and kind."""
        head = f"{'loader':<6} {'situation':<17} {'glitch':<6} {'runs':>6}"
        lines = [head + "".join(f" {name:>9}" for name in (*Harm, "stuck"))]
        for (tool, name, kind), column in self.columns.items():
            counts = [*(column.harm[harm] for harm in Harm), column.stuck]
            line = f"{tool:<6} {name:<17} {kind:<6} {column.runs:>6}"
            lines.append(line + "".join(f" {count:>9}" for count in counts))
        return lines


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
    notes: list[str] = field(default_factory=list)
    """Wider skips and flips that did harm: no failures, but to be known."""


# -- what is tried --------------------------------------------------------------------------------


def disturb(tool: str, trial: Trial, glitches: Iterable[Glitch]) -> Figures:
    """Run glitches of one situation."""
    figures, name = Figures(), trial.situation.name
    for glitch in glitches:
        harm, stuck = trial.run(glitch)
        column = figures.columns.setdefault((tool, name, glitch.kind), Column())
        column.runs += 1
        column.stuck += stuck
        if harm is not None:
            column.harm[harm] += 1
            place = trial.code.place_of(glitch.address)
            figures.findings.append(Finding(tool, name, glitch, place, harm))
    return figures


def planned(plan: Plan, trial: Trial, chance: Random) -> Iterator[Glitch]:
    """Yield what the plan holds for one situation, arithmetic apart."""

    def decides(address: int) -> bool:
        return trial.code.source_of(address) not in _ARITHMETIC

    def branches(address: int) -> bool:
        return decides(address) and trial.code.is_branch(address)

    rest = plan.share if plan.share == 1 else plan.share / 3
    for width, cap in ((1, plan.single), (2, plan.wide), (3, plan.wide)):
        for point in trial.points(cap, chance, decides):
            if chance.random() < (plan.share if width == 1 else rest):
                yield point._replace(width=width)
    for point in trial.points(plan.flips, chance, branches):
        if chance.random() < rest:
            yield from flips_at(trial.code, point, plan.bits, chance)


def flips_at(code: Code, point: Glitch, bits: int, chance: Random) -> Iterator[Glitch]:
    """Yield every flag and some bits of registers, right before a branch."""
    compared = code.compared_register(point.address)
    if compared is None:
        for bit in FLAGS:
            yield point._replace(register=STATUS, bit=bit)
    for number in range(bits):
        register = chance.choice(GENERAL)
        if compared is not None and number % 2 == 0:
            register = GENERAL[compared]
        yield point._replace(register=register, bit=chance.randrange(32))


def arithmetic(plan: Plan, trial: Trial) -> list[Glitch]:
    """Return single skips inside the cryptography."""
    chance = Random("arithmetic")

    def computes(address: int) -> bool:
        return trial.code.source_of(address) in _ARITHMETIC

    points = list(trial.points(3, chance, computes))
    count = min(len(points), plan.arithmetic)
    return [point._replace(width=1) for point in chance.sample(points, count)]


# -- the whole experiment -------------------------------------------------------------------------


class Job(NamedTuple):
    """The work of one process: a share of the plan for a situation, or its arithmetic."""

    plan: Plan
    code: Code
    situation: Situation
    part: int
    """Counted from 0, of :data:`_SHARES`; -1 is the arithmetic."""
    parts: int


_inherited: list[Job] = []
"""What the workers find in their copy of this process."""


def work(number: int) -> Figures:
    """Do one job in a worker."""
    plan, code, situation, part, parts = _inherited[number]
    if part < 0:
        trial = Trial(situation, code, short=False)
        return disturb(plan.tool, trial, arithmetic(plan, trial))
    trial = Trial(situation, code)
    glitches = list(planned(plan, trial, Random(situation.name)))
    return disturb(plan.tool, trial, glitches[part::parts])


def jobs(plan: Plan, folder: Path) -> Iterator[Job]:
    """Yield the jobs of a plan."""
    shop = workshop.make_workshop(folder, workshop.layout_named(workshop.DEFAULT), plan.tool)
    code = Code(shop.loader.elf)
    parts = _SHARES if plan.share == 1 else 1
    for name in situations.NAMES:
        situation = situations.situation(name, shop)
        yield from (Job(plan, code, situation, part, parts) for part in range(parts))
        if name == situations.FORGED:
            yield Job(plan, code, situation, -1, parts)


def run(quick: bool) -> SkipTally:
    """Disturb the shipped loader on both cores and tally: the counts are those of single skips.

    A run that is stuck is one that only the next power-on ends; none counts as a hang, because
    that power-on was tried, and a board it does not cure is bricked.
    """
    tally, figures, tools = SkipTally(), Figures(), toolchain.installed()
    with tempfile.TemporaryDirectory() as made:
        _inherited[:] = []
        for plan in QUICK if quick else FULL:
            if plan.tool in tools:
                _inherited.extend(jobs(plan, Path(made)))
            else:
                tally.failures.append(f"no skipped instructions: {plan.tool} is not installed")
        with multiprocessing.get_context("fork").Pool(_WORKERS) as pool:
            for found in pool.imap(work, range(len(_inherited))):
                figures += found
    singles = figures.sum_of(SINGLE)
    tally.skips = singles.runs
    tally.accepted = singles.harm[Harm.ACCEPTED] + singles.harm[Harm.FLOOR]
    tally.bricked = singles.harm[Harm.BRICKED] + singles.harm[Harm.ASTRAY]
    for finding in figures.findings:
        is_single = finding.glitch.kind == SINGLE
        (tally.failures if is_single else tally.notes).append(str(finding))
    tally.table = figures.table()
    return tally


def main() -> int:
    """Print the table, and what did harm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a sample, in half a minute")
    tally = run(parser.parse_args().quick)
    print("\n".join([*tally.table, *tally.notes, *tally.failures]))  # noqa: T201
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
