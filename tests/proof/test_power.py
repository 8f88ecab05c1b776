"""The bench's own promises: its last line, and that a failure is one."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from proof import chains
from proof.product import ONE
from proof.refused import NOTE_WORDS
from proof.stories import BY_NAME, Stage
from proof.tally import Tally
from proof.watch import Harm, ViolationError

LAST_LINE = re.compile(
    r"cuts \d+ nested \d+ faults \d+ refusals \d+ fuzz \d+ skips \d+ bricked 0 accepted 0 hangs 0"
)


@pytest.fixture(scope="module")
def power() -> ModuleType:
    path = Path(__file__).parent.parent / "bench" / "power.py"
    spec = importlib.util.spec_from_file_location("power", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["power"] = module  # its workers look it up there
    spec.loader.exec_module(module)
    return module


def test_the_last_line_adds_up_what_the_workers_did(power: ModuleType, stage: Stage) -> None:
    _ = stage.products[ONE].library
    jobs = [
        power.partial(power.single, BY_NAME["refused header"], "log", seed, (0, 1))
        for seed in range(2)
    ]

    total = power.prove(jobs, stage)
    line = power.report(total, {"all of it": 1.0}).splitlines()[-1]

    assert LAST_LINE.fullmatch(line)
    assert line.startswith(f"cuts {total.counts['cuts']} nested 0 ")
    assert total.counts["cuts"] == 2 * 3 * len(list(chains.logarithmic(NOTE_WORDS + 1)))


def test_a_violation_is_counted_and_told(power: ModuleType) -> None:
    total = Tally()
    total.fail(ViolationError(Harm.BRICKED, "no app runs", "3-torn"), "here")

    text = power.report(total, {})

    assert not total.is_clean
    assert "here: bricked: no app runs; cuts 3-torn" in text
    assert text.endswith("bricked 1 accepted 0 hangs 0")


def test_the_quick_and_the_full_run_have_jobs_of_every_kind(power: ModuleType) -> None:
    for jobs in (power.quick_jobs(["gcc"]), power.full_jobs(["gcc"])):
        assert {job.func.__name__ for job in jobs} == {
            *("single", "fading", "fading_twice", "pairs", "tenfold", "acts"),
            *("faults", "refusals", "shipped"),
        }
