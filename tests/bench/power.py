"""Cuts the power, breaks the flash, alters updates, fuzzes and skips instructions; prints figures.

    python tests/bench/power.py            everything, well over half an hour on two cores
    python tests/bench/power.py --quick    two minutes

The last line adds up. A failure prints a board file and an id for ``splitflash sim replay``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from proof import chains, planted
from proof.compound import Acts
from proof.planted import Ordeal
from proof.product import HOST
from proof.refused import REFUSALS, Judge
from proof.shipped import SideBySide
from proof.stories import BY_NAME, STORIES, Stage, Story
from proof.sweeps import CUTS, NESTED, SHIPPED, Sweep, random_chains
from proof.tally import Tally
from proof.watch import Harm, ViolationError

from packager import resources, toolchain
from packager.sim.operations import Cut

Job = Callable[[Stage], Tally]
LONG, PAIRS = "second sector begins to be used", "install 1 KiB"
USUAL = [story for story in STORIES if story.name != LONG]
WORKERS = 2


# -- jobs: each runs in a worker of its own -------------------------------------------------------


def single(story: Story, strategy: str, seed: int, share: tuple[int, int], stage: Stage) -> Tally:
    """Cut once, at the places of a strategy; one of several shares of them."""
    sweep = Sweep(stage, story, HOST, seed)
    at, of = share
    return sweep.run(list(chains.single(strategy, sweep.operations()))[at::of])


def fading(story: Story, step: int, stage: Stage) -> Tally:
    """Let words that were just written fade later."""
    sweep = Sweep(stage, story, HOST, 0)
    return sweep.run_fading(range(1, sweep.operations() + 1, step))


def fading_twice(story: Story, share: tuple[int, int], stage: Stage) -> Tally:
    """Let a word fade while the next boot is cut, which leaves another weak word."""
    sweep = Sweep(stage, story, HOST, 0)
    at, of = share
    return sweep.run_fading_twice(list(range(1, sweep.operations() + 1))[at::of])


def pairs(story: Story, share: tuple[int, int], every: int, stage: Stage) -> Tally:
    """Cut twice: every ``every``-th second cut behind a share of all first cuts."""
    sweep = Sweep(stage, story, HOST, 1)
    at, of = share
    return sweep.run_nested(list(chains.single("exhaustive", sweep.operations()))[at::of], every)


def tenfold(story: Story, count: int, stage: Stage) -> Tally:
    """Cut ten times in a row, at random."""
    sweep = Sweep(stage, story, HOST, 2)
    rng = Random(f"ten-fold {story.name}")
    return sweep.run(random_chains(rng, count, 10, sweep.operations()))


def acts(story: Story, count: int, stage: Stage) -> Tally:
    """Play the stories of several acts ``count`` times each."""
    rng = Random(f"acts {story.name}")
    played = Acts(stage, story)
    last = played.drop_operations()
    for _ in range(count):
        first = chains.random_chain(rng, rng.choice((1, 1, 2)), played.operations)
        cut = Cut(rng.randint(1, last), rng.choice(chains.FLAVOURS))
        played.header_write(cut)
        played.other_drop(first, cut)
        played.transient_errors(first, rng)
    for _ in range(max(1, count // 40)):
        played.brown_outs(rng.choice((20, 100, 700)), rng)
        played.life(20, rng)
    return played.tally


def faults(story: Story, seed: int, with_cuts: bool, stage: Stage) -> Tally:
    """Plant faults, with a random cut on top or without."""
    rng = Random(f"faults {story.name} {seed}")
    ordeal = Ordeal(stage, story, HOST, seed)
    watched = ordeal.watched
    every = [
        *planted.operation_faults(watched),
        *planted.bursts(watched),
        *planted.sick_words(ordeal.scene, rng),
    ]
    return ordeal.run(every if seed else every[::12], rng if with_cuts else None)


def refusals(kind: str, count: int, seed: int, stage: Stage) -> Tally:
    """Try the refusal table, then random changes."""
    judge = Judge(stage, kind)
    if not seed:
        judge.run(list(judge.table())[:: 1 if kind == HOST or count > 20 else 4])
    return judge.run(judge.random(Random(f"refusals {seed}"), count))


def shipped(story: Story, tool: str, count: int, seed: int, stage: Stage) -> Tally:
    """Try cuts on the shipped binary and on the host build, side by side."""
    both = SideBySide(stage, story, tool, seed)
    rng = Random(f"shipped {story.name} {tool} {seed}")
    return both.run(random_chains(rng, count, 1, both.operations))


def quick_jobs(tools: list[str]) -> Iterator[Job]:
    """Yield what fits into two minutes."""
    yield from (partial(shipped, BY_NAME[PAIRS], tool, 12, 0) for tool in tools)
    yield from (partial(refusals, tool, 5, 0) for tool in tools[:1])
    yield partial(single, BY_NAME[LONG], "log", 0, (0, 2))
    yield from (partial(single, story, "exhaustive", 0, (0, 1)) for story in USUAL)
    for seed in range(1, 4):
        yield from (partial(single, story, "exhaustive", seed, (0, 1)) for story in USUAL[1:])
    yield from (partial(fading, story, 1 if story.name == PAIRS else 3) for story in USUAL)
    yield from (partial(pairs, BY_NAME[PAIRS], (at, 4), 23) for at in range(4))
    yield partial(fading_twice, BY_NAME[PAIRS], (3, 40))
    yield from (partial(tenfold, story, 20) for story in USUAL)
    yield from (partial(acts, story, 10) for story in USUAL)
    yield from (partial(faults, story, 0, False) for story in USUAL[1:])
    yield partial(refusals, HOST, 2_000, 0)


def full_jobs(tools: list[str]) -> Iterator[Job]:
    """Yield everything."""
    yield from (partial(single, BY_NAME[LONG], "exhaustive", 0, (at, 24)) for at in range(24))
    for story in STORIES:
        rounds = 2 if story.name == LONG else 11
        count = 3 if story.name == LONG else 16
        for tool in tools:
            yield from (partial(shipped, story, tool, count, seed) for seed in range(rounds // 2))
    yield from (partial(refusals, tool, 200, 0) for tool in tools)
    for seed in range(45):
        yield from (partial(single, story, "exhaustive", seed, (0, 1)) for story in USUAL)
    yield from (partial(fading, story, 1) for story in USUAL)
    yield from (partial(pairs, BY_NAME[PAIRS], (at, 12), 1) for at in range(12))
    yield from (partial(fading_twice, BY_NAME[PAIRS], (at, 12)) for at in range(12))
    yield from (partial(fading_twice, story, (0, 8)) for story in USUAL[3:])
    yield from (partial(pairs, story, (0, 5), 9) for story in USUAL[1:])
    yield from (partial(tenfold, story, 300) for story in USUAL)
    yield from (partial(acts, story, 200) for story in STORIES)
    for seed in (1, 2):
        yield from (partial(faults, story, seed, seed == 2) for story in USUAL)
    yield from (partial(refusals, HOST, 5_000, seed) for seed in range(4))


# -- running them ---------------------------------------------------------------------------------

_inherited: list[tuple[Job, Stage]] = []
"""What the workers find in their copy of this process."""


def work(number: int) -> Tally:
    """Run one job in a worker."""
    job, stage = _inherited[number]
    try:
        return job(stage)
    except ViolationError as violation:  # outside of what a sweep judges by itself
        tally = Tally()
        tally.fail(violation, f"{job}")
        return tally


def prove(jobs: list[Job], stage: Stage) -> Tally:
    """Run the jobs on both cores."""
    _inherited[:] = [(job, stage) for job in jobs]
    total = Tally()
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        done = 0
        try:
            for tally in pool.imap_unordered(work, range(len(jobs))):
                total += tally
                done += 1
                if sys.stderr.isatty():
                    sys.stderr.write(f"\r{done} of {len(jobs)} jobs")
        except KeyboardInterrupt:
            total.failures.append(f"interrupted after {done} of {len(jobs)} jobs")
    return total


def fuzz(executions: int, total: Tally) -> None:
    """Run the fuzzers; without clang there are none."""
    from proof import fuzz as fuzzers

    try:
        found = fuzzers.run(executions)
    except fuzzers.FuzzerMissing as error:
        total.failures.append(f"no fuzzing: {error}")
        return
    total.count("fuzz", found.executions)
    total.harm[Harm.ACCEPTED] += found.accepted
    total.harm[Harm.HANG] += found.hangs
    total.harm[Harm.BRICKED] += found.crashes
    total.failures += found.findings


def skip(quick: bool, total: Tally) -> None:
    """Skip instructions of the shipped binary; a table has the figures of wider skips and flips."""
    try:
        from proof import skips
    except ImportError as error:
        total.failures.append(f"no skipped instructions: {error}")
        return
    found = skips.run(quick)
    print("\n".join([*found.table, *found.notes, ""]))
    total.count("skips", found.skips)
    total.harm[Harm.ACCEPTED] += found.accepted
    total.harm[Harm.HANG] += found.hangs
    total.harm[Harm.BRICKED] += found.bricked
    total.failures += found.failures


def report(total: Tally, seconds: dict[str, float]) -> str:
    """Return table and last line."""
    counts, harm = total.counts, total.harm
    rows = [
        ("one power cut (before, torn, after; words that fade)", counts[CUTS]),
        ("two, ten and more power cuts", counts[NESTED]),
        ("of these cuts on the shipped binaries, beside the host build", counts[SHIPPED]),
        ("planted flash faults", counts[planted.FAULTS]),
        ("wrong updates, reason compared with the packager's", counts[REFUSALS]),
        ("fuzzer executions", counts["fuzz"]),
        ("single instructions skipped (wider skips, flips: table above)", counts["skips"]),
    ]
    lines = [f"{number:>12,}  {what}" for what, number in rows]
    lines += [f"{spent:>11.0f}s  {what}" for what, spent in seconds.items()]
    lines += ["", *total.failures[:40]] if total.failures else [""]
    lines.append(
        f"cuts {counts[CUTS]} nested {counts[NESTED]} faults {counts[planted.FAULTS]}"
        f" refusals {counts[REFUSALS]} fuzz {counts['fuzz']} skips {counts['skips']}"
        f" bricked {harm[Harm.BRICKED]} accepted {harm[Harm.ACCEPTED]} hangs {harm[Harm.HANG]}"
    )
    return "\n".join(lines)


def main() -> int:
    """Run, print, and fail if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two minutes")
    parser.add_argument("--only", choices=["sweeps", "fuzz", "skips"], help="a part of it")
    options = parser.parse_args()
    seconds: dict[str, float] = {}
    total = Tally()

    def timed(what: str, act: Callable[[], None]) -> None:
        begin = time.monotonic()
        act()
        seconds[what] = time.monotonic() - begin
        sys.stderr.write(f"\r{what}: {seconds[what]:.0f} s\n")

    def sweep() -> None:
        nonlocal total
        with tempfile.TemporaryDirectory(prefix="splitflash-power-") as name:
            stage = Stage(Path(name))
            tools = toolchain.installed()
            kept = resources.build_folder() / "power-failures"
            for product in stage.products.values():
                product.failures = kept
                _ = product.library
                for tool in tools:
                    product.loader(tool)
            jobs = list((quick_jobs if options.quick else full_jobs)(tools))
            total += prove(jobs, stage)

    if options.only in (None, "sweeps"):
        timed("power cuts, faults and refusals", sweep)
    if options.only in (None, "fuzz"):
        timed("fuzzing", lambda: fuzz(120_000 if options.quick else 10_200_000, total))
    if options.only in (None, "skips"):
        timed("skipped instructions", lambda: skip(options.quick, total))
    print(report(total, seconds))
    return 0 if total.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
