"""Sweeps that cannot fail prove nothing: here they do, on loaders broken on purpose."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from packager import toolchain
from packager.cli import cli
from packager.resources import loader_sources
from packager.sim.cells import WORDS_PER_SECTOR, Cells, Word
from packager.sim.operations import Cut, Flavour
from proof import chains
from proof.planted import Ordeal, bursts
from proof.product import HOST, ONE
from proof.stories import BY_NAME, Stage
from proof.sweeps import Sweep
from proof.tally import Tally
from proof.watch import Harm, ViolationError

TRUST_ANYTHING = (
    "install.c",
    "job->trusted = done_sectors;",
    "job->trusted = 0xffffffffu;",
)
BELIEVE_ONE_RECORD = (
    "install.c",
    "if (job->marks->fresh == YES) {",
    "if (1) {",
)
NO_CARRY = (
    "mark.c",
    "return write_carry(&marks->newest) ? -1 : start_anew(marks);",
    "return start_anew(marks);",
)
BLANK_IS_THE_END = (
    "mark.c",
    "#define DOUBTFUL_SLOTS 12u",
    "#define DOUBTFUL_SLOTS 4u",
)
SMALL = BY_NAME["install 1 KiB"]
LUCK = range(150)
"""Seeds: one torn word in fifty reads right until the install is over, and not for ever."""


def broken(tmp_path: Path, *edits: tuple[str, str, str]) -> Stage:
    """Return products whose loader has these edits."""
    sources = tmp_path / "mcu_loader"
    shutil.copytree(loader_sources(), sources)
    for name, old, new in edits:
        text = (sources / name).read_text()
        assert text.count(old) == 1, old
        (sources / name).write_text(text.replace(old, new))
    return Stage(tmp_path / "products", sources)


def exhaustive(stage: Stage, name: str, seed: int = 0) -> Tally:
    sweep = Sweep(stage, BY_NAME[name], HOST, seed)
    return sweep.run(chains.single("exhaustive", sweep.operations()))


def last_word_torn(stage: Stage, seed: int) -> Tally:
    sweep = Sweep(stage, SMALL, HOST, seed)
    app = sweep.watched.layout.app
    operations = sweep.watched.boot().operations
    last = max(op.index for op in operations if app.contains(op.address))
    return sweep.run([(Cut(last, Flavour.TORN),)])


def marks_are_carried_nowhere(stage: Stage) -> Tally:
    return exhaustive(stage, "marks full")


def a_record_that_fades_and_a_cut(stage: Stage) -> Tally:
    return Sweep(stage, SMALL, HOST, 0).run_fading_twice([4])


def operations_that_fail_in_a_row(stage: Stage) -> Tally:
    ordeal = Ordeal(stage, SMALL)
    return ordeal.run(list(bursts(ordeal.watched)))


@pytest.mark.parametrize(
    ("edit", "sweep", "harm"),
    [
        (NO_CARRY, marks_are_carried_nowhere, Harm.ACCEPTED),
        (BELIEVE_ONE_RECORD, a_record_that_fades_and_a_cut, Harm.ACCEPTED),
        (BLANK_IS_THE_END, operations_that_fail_in_a_row, Harm.BRICKED),
    ],
    ids=["marks erased without a copy", "one record believed on its own", "four blank slots"],
)
def test_a_broken_loader_is_caught(
    tmp_path: Path,
    edit: tuple[str, str, str],
    sweep: Callable[[Stage], Tally],
    harm: Harm,
) -> None:
    tally = sweep(broken(tmp_path, edit))

    assert tally.harm[harm], tally


def half_programmed(self: Cells, word: int, data: bytes, rng: Random) -> None:
    """Tear a program on a flash without ECC: some bits are missing, every read works."""
    if rng.random() < 0.5:
        self.program(word, data)


def half_erased(self: Cells, sector: int, rng: Random) -> None:
    """Tear an erase on a flash without ECC: some words are blank, the others as before."""
    first = sector * WORDS_PER_SECTOR
    for word in range(first, first + WORDS_PER_SECTOR):
        if rng.random() < 0.5:
            self.set_word(word, b"\xff" * 32, Word.BLANK)


def test_a_sweep_without_ecc_misses_what_this_sweep_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sectors trusted after a cut hold weak words: only a flash with ECC shows them."""
    stage = broken(tmp_path, TRUST_ANYTHING)
    found = [last_word_torn(stage, seed) for seed in LUCK]
    assert any(not tally.is_clean for tally in found)

    monkeypatch.setattr(Cells, "tear_program", half_programmed)
    monkeypatch.setattr(Cells, "tear_erase", half_erased)

    assert all(last_word_torn(stage, seed).is_clean for seed in LUCK)


def test_a_failure_is_replayed_by_its_id_on_the_shipped_binary(
    stage: Stage, tmp_path: Path
) -> None:
    if not toolchain.installed():
        pytest.skip("no toolchain")
    scene = stage.scene(SMALL, HOST, 0)
    watched, product = scene.watched, stage.products[ONE]
    product.failures = tmp_path
    watched.boot(chains.parse("9-torn")[0])
    watched.boot(chains.parse("3-after")[0])
    with pytest.raises(ViolationError) as caught:
        watched.runs(watched.boot(chains.parse("1-before")[0]), scene.good)
    product.failures = None
    (board,) = tmp_path.glob("*.board")

    result = CliRunner().invoke(cli, ["sim", "replay", str(board), caught.value.chain])

    assert caught.value.chain == "9-torn+3-after+1-before"
    assert f"replay {board} 9-torn+3-after+1-before" in str(caught.value)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "9-torn: power-cut",
        "3-after: power-cut",
        "1-before: power-cut",
        "no cut: app-runs",
    ]
