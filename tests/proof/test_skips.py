"""Glitches of the shipped loader, a share of them; and loaders broken on purpose that they break.

``python -m proof.skips`` tries every point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from mutants.table import broken_copy, mutant
from workshop import Workshop

from packager.loader_build import build_loader
from packager.resources import loader_sources
from proof.code import Code
from proof.glitches import Glitch
from proof.situations import DAMAGED, FORGED, HALF, situation
from proof.skips import SINGLE, disturb, flips_at
from proof.trial import Harm, Trial

Edit = tuple[str, str, str]
JUDGED_ONCE = (
    "install.c",
    "        update_recheck(update, &marks->newest) != STAGED_AUTHENTIC) {",
    "        0) {",
)
MISMATCH_BRANCHED_ON = (
    "app.c",
    "return answer + (APP_VALID + 1u);",
    "return answer == 0xffffffffu ? APP_VALID : APP_INVALID;",
)
EMPTIED_ON_ONE_LOOK = (
    "mark.c",
    "if (inverse != ~YES || look(&again) != YES ||\n",
    "look(&again);\n    if (inverse != ~YES ||\n",
)
FLOOR_FORGOTTEN = (
    "mark.c",
    "    // a full sector costs the note, never the decision; of one that cannot be\n",
    "    record.floor_counter = 0;\n",
)
NEVER = 1_000_000
"""An instruction is not due as often: nothing is disturbed."""


class Question(NamedTuple):
    """Single skips over some functions, in one situation."""

    situation: str
    where: frozenset[str]
    """Functions, or files with all of theirs."""
    times: int
    """How often an instruction is tried that is due more than once."""

    def trial(self, shop: Workshop) -> Trial:
        return Trial(situation(self.situation, shop), Code(shop.loader.elf))

    def glitches(self, trial: Trial) -> list[Glitch]:
        def chosen(address: int) -> bool:
            function = trial.code.function_at(address)
            return function is not None and bool(self.where & {function.name, function.source})

        points = trial.points(self.times, Random(self.situation), chosen)
        return [point._replace(width=1) for point in points]


SIGNATURE = Question(FORGED, frozenset(("header_fault", "update_recheck", "ed25519.c")), 1)
APP = Question(DAMAGED, frozenset(("app.c",)), 1)
MARKS = Question(FORGED, frozenset(("look",)), 3)
RESUMED = Question(HALF, frozenset(("main.c", "decide.c", "app.c", "mark.c", "mem.c")), 1)


@pytest.fixture(scope="module")
def broken(shop: Workshop, session_folder: Path) -> Callable[[Edit], Workshop]:
    """Return the product of ``shop`` with a loader whose sources have an edit."""

    @cache
    def build(edit: Edit) -> Workshop:
        weak = mutant("a control of the glitches", lambda shop: None, edit)
        folder = session_folder / "weak loaders" / sha256(repr(edit).encode()).hexdigest()[:8]
        sources = broken_copy(weak, loader_sources(), folder / "mcu_loader")
        tool = shop.loader.toolchain
        built = build_loader(
            shop.layout, shop.keys, folder / "out", toolchain=tool, sources=sources
        )
        return dataclasses.replace(shop, loader=built)

    return build


@pytest.mark.parametrize(
    ("question", "step"),
    [(SIGNATURE, 1), (APP, 1), (MARKS, 3), (RESUMED, 3)],
    ids=["forged signature", "damaged app", "marks", "half an install"],
)
def test_no_skipped_instruction_does_harm(
    shop: Workshop,
    question: Question,
    step: int,
    record_property: Callable[[str, object], None],
) -> None:
    trial = question.trial(shop)
    glitches = question.glitches(trial)[::step]

    figures = disturb(shop.loader.toolchain, trial, glitches)

    assert not figures.findings, "\n".join(map(str, figures.findings))
    assert figures.sum_of(SINGLE).runs == len(glitches) > 50
    record_property("single instructions skipped on the shipped loader, no harm", len(glitches))


@pytest.mark.parametrize(
    ("edit", "question", "harm"),
    [
        (JUDGED_ONCE, SIGNATURE, Harm.ACCEPTED),
        (MISMATCH_BRANCHED_ON, APP, Harm.ACCEPTED),
        (EMPTIED_ON_ONE_LOOK, MARKS, Harm.ASTRAY),
    ],
    ids=["header judged once", "mismatch branched on", "marks emptied on one look"],
)
def test_a_loader_that_asks_only_once_is_caught(
    broken: Callable[[Edit], Workshop], edit: Edit, question: Question, harm: Harm
) -> None:
    trial = question.trial(broken(edit))

    harms = (trial.run(glitch).harm for glitch in reversed(question.glitches(trial)))

    assert next(filter(None, harms), "this mutant survives") is harm


def test_flips_are_counted_and_those_that_do_harm_have_an_address(
    broken: Callable[[Edit], Workshop],
) -> None:
    shop = broken(JUDGED_ONCE)
    trial = SIGNATURE.trial(shop)
    code = trial.code
    chance = Random("flips")

    def judges(address: int) -> bool:
        return code.place_of(address).startswith("header_fault+") and code.is_branch(address)

    flips = [
        flip
        for point in trial.points(1, chance, judges)
        for flip in flips_at(code, point, 1, chance)
    ]
    figures = disturb(shop.loader.toolchain, trial, flips)

    assert figures.sum_of("flip").runs == len(flips) > 50
    found = figures.findings[0]
    assert found.harm is Harm.ACCEPTED
    assert f"{found.glitch} in header_fault+" in str(found)
    assert f" at 0x{found.glitch.address:08x} (" in str(found)


def test_a_floor_that_sinks_is_seen(broken: Callable[[Edit], Workshop], shop: Workshop) -> None:
    undisturbed = Glitch(0, NEVER, width=1)

    def harm(product: Workshop) -> Harm | None:
        made = situation(FORGED, product)
        return Trial(made, Code(product.loader.elf)).run(undisturbed).harm

    assert harm(shop) is None
    assert harm(broken(FLOOR_FORGOTTEN)) is Harm.FLOOR
