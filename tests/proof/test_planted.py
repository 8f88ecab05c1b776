"""Failing flash on the host build, a fast share; and what ``status`` says of it, on the binary."""

from __future__ import annotations

from random import Random

import pytest
import workshop

from packager import rehearse, toolchain
from packager.chip import FLASH_WORD
from packager.reasons import Reason
from packager.sim.board import Outcome
from packager.sim.cells import Word
from packager.sim.faults import PlantedFaults
from proof.planted import FOR_EVER, Ordeal, bursts, operation_faults, sick_words
from proof.product import HOST, ONE, Release
from proof.refused import Judge
from proof.stories import BY_NAME, TINY, Stage

NAMES = (
    "install 1 KiB",
    "app shrinks by a sector",
    "same update again",
    "refused header",
    "marks nearly full, carry used up",
)


@pytest.mark.parametrize("name", NAMES)
def test_operations_that_fail_once_or_for_ever_never_brick(stage: Stage, name: str) -> None:
    ordeal = Ordeal(stage, BY_NAME[name])
    tally = ordeal.run(operation_faults(ordeal.watched)[::3])

    assert tally.is_clean, "\n".join(tally.failures[:10])


@pytest.mark.parametrize("name", NAMES)
def test_operations_that_fail_in_a_row_cost_nothing_that_was_noted(stage: Stage, name: str) -> None:
    ordeal = Ordeal(stage, BY_NAME[name])
    tally = ordeal.run(list(bursts(ordeal.watched))[::4])

    assert tally.is_clean, "\n".join(tally.failures[:10])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", [False, True], ids=["no cut", "cut"])
def test_sick_words_anywhere_never_let_a_wrong_app_run(stage: Stage, name: str, cut: bool) -> None:
    ordeal, rng = Ordeal(stage, BY_NAME[name]), Random(name)
    tally = ordeal.run(list(sick_words(ordeal.scene, rng))[::5], rng if cut else None)

    assert tally.is_clean, "\n".join(tally.failures[:10])


@pytest.mark.parametrize("name", ["install 1 KiB", "marks nearly full", "old update"])
@pytest.mark.parametrize("state", [Word.POISONED, Word.CORRECTED, Word.WEAK], ids=str)
def test_no_single_bad_word_of_the_records_takes_the_floor_back(
    stage: Stage, name: str, state: Word
) -> None:
    scene = BY_NAME[name].prepare(stage.products[ONE], HOST, 0)
    watched, layout = scene.watched, scene.watched.layout
    watched.runs(watched.boot(), scene.good)
    floor, after = watched.floor, watched.moment()
    marks = watched.board.read(layout.marks.start, layout.marks.size)
    used = len(marks.rstrip(b"\xff")) + FLASH_WORD
    for word in range(max(0, used // FLASH_WORD - 24), used // FLASH_WORD):
        watched.back_to(after)
        watched.board.flash.plant(layout.marks.start + word * FLASH_WORD, state, reads=1)
        watched.stage(past(stage).update)
        for _ in range(3):
            watched.runs(watched.boot(), scene.good)
        assert watched.newest().floor >= floor


def past(stage: Stage) -> Release:
    product = stage.products[ONE]
    return product.release("past", "8.0.0", 1, product.image(TINY, 5))


@pytest.mark.parametrize("wears_out", ["erase", "program", "verify"])
def test_an_app_sector_that_fails_for_good_ends_in_the_rom_where_status_says_why(
    stage: Stage, wears_out: str
) -> None:
    tool = workshop.needs(toolchain.installed()[0])
    scene = BY_NAME["install 1 KiB"].prepare(stage.products[ONE], tool, 0)
    board, layout = scene.watched.board, stage.products[ONE].layout
    staged = board.read(layout.staging.start, layout.staging.size)
    board.flash.faults = PlantedFaults(
        program_errors={layout.app.start: FOR_EVER} if wears_out == "program" else {},
        erase_errors={layout.app.start: FOR_EVER} if wears_out == "erase" else {},
        never_verifies={layout.app.start} if wears_out == "verify" else set(),
    )

    report = board.boot(strict=False)

    assert report.outcome is Outcome.STAYS_IN_ROM
    assert board.read(layout.staging.start, layout.staging.size) == staged
    refused = rehearse.status(board, layout).refused
    assert refused is not None
    assert refused.reason is Reason.FLASH_FAILED
    board.flash.faults = PlantedFaults()
    scene.watched.runs(scene.watched.boot(), scene.good)


def test_the_host_build_gives_the_reason_the_packager_gives_on_every_wrong_update(
    stage: Stage,
) -> None:
    judge = Judge(stage)
    judge.run(judge.table())
    tally = judge.run(judge.random(Random("wrong"), 300))

    assert tally.is_clean, "\n".join(tally.failures[:10])
