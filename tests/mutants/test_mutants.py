"""The tests can fail: every loader that is broken on purpose is caught by the story it names."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import cache
from inspect import signature
from pathlib import Path

import pytest
import workshop
from acceptance import test_anti_rollback as rollback
from acceptance import test_driver_rules as driver
from acceptance import test_failing_marks as failing
from acceptance import test_stories as stories

from mutants.table import MUTANTS, Mutant, SourceMovedOnError, Story, broken_copy, mutant
from packager.errors import PackagerError
from packager.loader_build import build_loader
from packager.resources import loader_sources

ENOUGH = 16
IDS = [f"{mutant.name} -> {mutant.killed_by.__name__}" for mutant in MUTANTS]
Break = Callable[[Mutant], workshop.Workshop]


@pytest.fixture(scope="session")
def broken(session_folder: Path, shop: workshop.Workshop, compiler: workshop.Compiler) -> Break:
    """Return the workshop of a mutant: product and keys of ``shop``, another loader."""
    cached = compiler(shop.loader.toolchain)

    def build(mutant: Mutant) -> workshop.Workshop:
        folder = session_folder / "mutants" / str(MUTANTS.index(mutant))
        sources = broken_copy(mutant, loader_sources(), folder / "mcu_loader")
        built = build_loader(
            shop.layout, shop.keys, folder / "out", toolchain=cached, sources=sources
        )
        return dataclasses.replace(shop, loader=built)

    return build


@pytest.fixture(scope="session")
def on_the_true_loader(shared_folder: Path, shop: workshop.Workshop) -> Callable[[Story], str]:
    """Return what a story says about the true loader; asked once for each story in a run."""

    @cache
    def ask(story: Story) -> str:
        kept = shared_folder / f"{story.__name__} of the true loader.txt"
        if not kept.exists():
            fresh = kept.with_suffix(f".{os.getpid()}")
            fresh.write_text(complaint(story, shop))
            fresh.replace(kept)
        return kept.read_text()

    return ask


def complaint(story: Story, shop: workshop.Workshop) -> str:
    """Return what a story complains of, nothing if it is content."""
    try:
        story(shop)
    except (AssertionError, PackagerError) as error:
        return str(error) or type(error).__name__
    return ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=IDS)
def test_the_source_still_has_what_a_mutant_breaks(mutant: Mutant, tmp_path: Path) -> None:
    broken_copy(mutant, loader_sources(), tmp_path / "mcu_loader")


@pytest.mark.parametrize("mutant", MUTANTS, ids=IDS)
def test_a_broken_loader_is_caught(
    mutant: Mutant,
    broken: Break,
    on_the_true_loader: Callable[[Story], str],
    record_property: Callable[[str, object], None],
) -> None:
    assert on_the_true_loader(mutant.killed_by) == ""
    shop = broken(mutant)
    good_update = stories.test_a_good_update_is_installed_runs_and_is_cleared_away
    assert (complaint(good_update, shop) == "") is mutant.installs

    assert complaint(mutant.killed_by, shop) != "", "this mutant survives"
    record_property("mutants of the loader caught by the story they name", 1)


def test_there_are_enough_mutants_and_each_is_another() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= ENOUGH
    assert len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)


def test_every_story_about_a_good_loader_kills_a_mutant() -> None:
    """Whatever cannot fail would prove nothing."""
    told = {
        test
        for module in (stories, driver, rollback, failing)
        for name, test in vars(module).items()
        if name.startswith("test_") and list(signature(test).parameters) == ["shop"]
    }
    told.remove(stories.test_a_good_update_is_installed_runs_and_is_cleared_away)  # all are asked

    assert told == {mutant.killed_by for mutant in MUTANTS}


def test_a_pattern_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = mutant("looks for what is gone", lambda shop: None, ("main.c", "no such line", ""))

    with pytest.raises(SourceMovedOnError, match=r"mcu_loader/main\.c, found 0 times:\nno such"):
        broken_copy(gone, loader_sources(), tmp_path / "mcu_loader")
