"""Power cuts on the host build: a fast share of what ``tests/bench/power.py`` does."""

from __future__ import annotations

from random import Random

import pytest

from packager.errors import PackagerError
from packager.sim.board import BootReport
from packager.sim.operations import Cut
from proof import chains
from proof.compound import Acts
from proof.product import HOST
from proof.stories import BY_NAME, SLOTS, STORIES, Stage, Story
from proof.sweeps import CUTS, NESTED, Sweep, fade, random_chains
from proof.tally import Tally

TINY = BY_NAME["install 1 KiB"]
SHORT = [story for story in STORIES if "8 KiB" not in story.name and "begins" not in story.name]


def clean(tally: Tally) -> None:
    assert tally.is_clean, "\n".join(tally.failures[:10])


def named(story: Story) -> str:
    return story.name


@pytest.mark.parametrize("story", SHORT, ids=named)
def test_a_cut_at_every_operation_is_healed_by_the_next_boot(stage: Stage, story: Story) -> None:
    sweep = Sweep(stage, story, HOST, 0)
    operations = sweep.operations()

    clean(sweep.run(chains.single("exhaustive", operations)))
    assert sweep.tally.counts[CUTS] == 3 * operations


@pytest.mark.parametrize("strategy", ["none", "log", "linear"])
def test_a_usual_install_survives_every_strategy(stage: Stage, strategy: str) -> None:
    sweep = Sweep(stage, BY_NAME["install 8 KiB"], HOST, 0)

    clean(sweep.run(chains.single(strategy, sweep.operations())))


def test_a_large_install_survives_cuts_near_its_ends(stage: Stage) -> None:
    sweep = Sweep(stage, BY_NAME["second sector begins to be used"], HOST, 0)
    early_and_late = list(chains.single("log", sweep.operations()))[::3]

    clean(sweep.run(early_and_late))


@pytest.mark.parametrize("story", SHORT, ids=named)
def test_a_word_that_fades_after_it_was_written_costs_nothing(stage: Stage, story: Story) -> None:
    sweep = Sweep(stage, story, HOST, 0)

    clean(sweep.run_fading(range(1, sweep.operations() + 1, 4)))


def test_a_record_that_fades_while_the_next_boot_is_cut_costs_nothing(stage: Stage) -> None:
    clean(Sweep(stage, TINY, HOST, 0).run_fading_twice([4]))


@pytest.mark.parametrize("reads", [0, 1, 2, 3, 5])
def test_a_cut_leaves_a_record_that_fades_and_the_floor_is_the_one_before_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    sweep = Sweep(stage, TINY, HOST, 0)
    watched, old = sweep.watched, sweep.watched.floor
    written = _last_word_of_the_new_floor(sweep)

    def boot_and_fade(cut: Cut, *, strict: bool) -> BootReport:
        report = boot(cut=cut, strict=strict)
        fade(watched, report.operations[-1].address, reads)
        return report

    boot = watched.board.boot
    with monkeypatch.context() as patch:
        patch.setattr(watched.board, "boot", boot_and_fade)
        watched.boot(Cut(written, "after"))
    assert (watched.floor, watched.newest().floor > old) == (old, True)

    watched.boot(Cut(10, "torn"))
    watched.runs(watched.boot(), sweep.scene.good)
    assert watched.floor > old


def _last_word_of_the_new_floor(sweep: Sweep) -> int:
    """Return the number of the operation that ends the first record with a higher floor."""
    watched, old = sweep.watched, sweep.watched.floor
    for index in range(1, sweep.operations() + 1):
        watched.back_to(sweep.start)
        watched.boot(Cut(index, "after"))
        if watched.floor > old:
            watched.back_to(sweep.start)
            return index
    raise AssertionError("nothing raises the floor")


def test_two_cuts_in_a_row_are_healed(stage: Stage) -> None:
    sweep = Sweep(stage, TINY, HOST, 1)
    first = list(chains.single("exhaustive", sweep.operations()))[::20]

    clean(sweep.run_nested(first, share=5))
    assert sweep.tally.counts[NESTED] > 150


@pytest.mark.parametrize("story", SHORT, ids=named)
def test_ten_cuts_in_a_row_are_healed(stage: Stage, story: Story) -> None:
    sweep = Sweep(stage, story, HOST, 2)

    clean(sweep.run(random_chains(Random(story.name), 15, 10, sweep.operations())))


def test_a_drop_cut_in_the_middle_of_its_header_harms_nothing(stage: Stage) -> None:
    acts = Acts(stage, TINY)
    for (cut,) in chains.single("exhaustive", acts.drop_operations()):
        acts.header_write(cut)

    clean(acts.tally)


def test_a_drop_over_a_cut_install_that_is_cut_too_ends_well(stage: Stage) -> None:
    acts, rng = Acts(stage, TINY), Random("other drop")
    last = acts.drop_operations()
    for chain in chains.single("exhaustive", acts.operations):
        acts.other_drop(chain, Cut(rng.randint(1, last), rng.choice(chains.FLAVOURS)))

    clean(acts.tally)


@pytest.mark.parametrize("name", ["install 1 KiB", "app shrinks by a sector", "marks nearly full"])
def test_staging_that_cannot_be_read_for_one_boot_delays_the_install_only(
    stage: Stage, name: str
) -> None:
    acts, rng = Acts(stage, BY_NAME[name]), Random(name)
    for chain in chains.single("linear", acts.operations):
        acts.transient_errors(chain, rng)

    clean(acts.tally)


@pytest.mark.parametrize("name", ["install 1 KiB", "marks nearly full, carry used up"])
@pytest.mark.parametrize("resets", [20, 400])
def test_brown_outs_in_a_row_use_up_nothing_that_is_needed(
    stage: Stage, name: str, resets: int
) -> None:
    acts = Acts(stage, BY_NAME[name])
    acts.brown_outs(resets, Random(resets))

    clean(acts.tally)


def test_brown_outs_in_an_erase_until_no_slot_is_left_do_not_keep_the_update_out(
    stage: Stage,
) -> None:
    """Each takes two."""
    acts = Acts(stage, TINY)
    acts.brown_outs_in_an_erase(SLOTS // 2 + 20)

    clean(acts.tally)


@pytest.mark.parametrize("story", SHORT[:3], ids=named)
def test_a_long_life_of_drops_and_cuts_ends_with_a_device_that_takes_updates(
    stage: Stage, story: Story
) -> None:
    acts = Acts(stage, story)
    for number in range(4):
        acts.life(25, Random(number))

    clean(acts.tally)


def test_ids_of_chains_are_read_as_they_are_written() -> None:
    chain = (Cut(137, "torn"), Cut(12, "before"))

    assert chains.text_of(chain) == "137-torn+12-before"
    assert chains.parse("137-torn+12-before") == chain
    assert chains.parse(chains.text_of(())) == ()
    with pytest.raises(PackagerError):
        chains.parse("137-torn+")


def test_the_logarithmic_strategy_looks_at_both_ends() -> None:
    assert list(chains.logarithmic(20)) == [1, 2, 4, 5, 8, 13, 16, 17, 19, 20]
