"""A share of the fuzzing of the loader's USB in every run; ``otg_fuzz`` does as much as wanted."""

from __future__ import annotations

import pytest
import workshop

from .otg_fuzz import Fuzz
from .otg_scene import LAYOUT, Product

TRANSFERS = 1500


@pytest.mark.parametrize("seed", [1, 2])
def test_no_transfer_hangs_it_or_reaches_beyond_staging(build: workshop.Build, seed: int) -> None:
    fuzz = Fuzz(Product(build(LAYOUT)), seed)
    fuzz.run(TRANSFERS)
    assert TRANSFERS / 10 < fuzz.counts["stalled"] < TRANSFERS / 2
    assert fuzz.counts["flash operations: program"] > TRANSFERS / 20
    assert fuzz.counts["flash operations: erase"]
