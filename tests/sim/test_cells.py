"""What cuts leave in the cells, and the error code that decides it."""

from __future__ import annotations

from random import Random

import pytest

from packager.chip import CHIPS, SECTOR_SIZE
from packager.sim import ecc
from packager.sim.cells import BLANK, Cells, Word
from packager.sim.clock import Clock
from packager.sim.flash import Flash
from packager.sim.operations import Cut, PowerCut

DATA = bytes(range(1, 33))
NUMBER = int.from_bytes(DATA, "little")
START = 0x0810_0000


def cells() -> Cells:
    return Cells(CHIPS["stm32h743xi"].banks[1])


def cut_flash(cut: str, seed: int = 0) -> Flash:
    flash = Flash(CHIPS["stm32h743xi"], Clock(), seed=seed)
    flash.power_on(Cut.parse(cut))
    return flash


def test_an_erased_word_is_a_valid_code_word() -> None:
    assert ecc.bits_to_clear(ecc.BLANK_WORD) == []


@pytest.mark.parametrize("bit", [0, 17, 255, 256, 264, 265])
def test_any_single_wrong_bit_is_corrected(bit: int) -> None:
    assert ecc.decode(NUMBER, [bit]) == ecc.Decoded(NUMBER, corrected=True)


@pytest.mark.parametrize("pair", [(0, 1), (3, 255), (12, 256), (200, 265), (256, 264)])
def test_any_two_wrong_bits_make_the_word_unreadable(pair: tuple[int, int]) -> None:
    assert ecc.decode(NUMBER, list(pair)).unreadable


def test_clearing_nothing_leaves_a_blank_word() -> None:
    wrong = ecc.bits_to_clear(NUMBER)
    assert ecc.decode(NUMBER, wrong) == ecc.Decoded(ecc.BLANK_WORD)


def test_a_torn_program_leaves_every_kind_of_word() -> None:
    seen = set()
    for seed in range(300):
        bank = cells()
        bank.tear_program(0, DATA, Random(seed))
        read_right = bank.data(0) == DATA
        seen.add((Word(bank.states[0]), read_right, bank.data(0) == BLANK))
    assert {(Word.PROGRAMMED, True, False), (Word.BLANK, False, True)} <= seen
    assert {Word.CORRECTED, Word.POISONED, Word.WEAK, Word.WEAK_BLANK} <= {s for s, _, _ in seen}
    assert (Word.CORRECTED, False, False) in seen, "too many wrong bits may be 'corrected' wrongly"


def test_a_torn_word_that_reads_blank_may_be_programmed_once_more_and_fades_later() -> None:
    bank = cells()
    bank.set_word(0, BLANK, Word.WEAK_BLANK, 1)
    assert bank.program(0, DATA)
    assert bank.data(0) == DATA
    assert [bank.sense(0) for _ in range(2)] == [Word.WEAK, Word.POISONED]


def test_a_torn_erase_leaves_a_mixture_over_the_whole_sector() -> None:
    seen = set()
    for seed in range(4):
        bank = cells()
        for word in range(4096):
            bank.program(word, DATA)
        bank.tear_erase(0, Random(seed))
        seen |= {Word(state) for state in bank.states[:4096]}
        assert set(bank.states[4096:]) == {Word.BLANK}
    assert seen == set(Word)


def test_unreadable_words_read_as_other_garbage_each_time() -> None:
    bank = cells()
    bank.program(0, DATA)
    bank.program(0, DATA)
    first = bank.data(0)
    bank.sense(0)
    assert bank.data(0) != first


@pytest.mark.parametrize(
    ("flavour", "content", "count"), [("before", BLANK, 0), ("after", DATA, 1)]
)
def test_a_cut_before_or_after_an_operation_is_clean(
    flavour: str, content: bytes, count: int
) -> None:
    flash = cut_flash(f"1-{flavour}")
    with pytest.raises(PowerCut):
        flash.program(START, DATA)
    assert flash.peek(START, 32) == content
    assert len(flash.operations) == count


def test_a_cut_counts_operations_from_power_on() -> None:
    flash = cut_flash("3-before")
    flash.erase_sector(START)
    flash.program(START, DATA)
    with pytest.raises(PowerCut, match="3-before"):
        flash.program(START + 32, DATA)


def test_the_same_cut_with_the_same_seed_leaves_the_same_flash() -> None:
    def after(seed: int) -> bytes:
        flash = cut_flash("1-torn", seed)
        flash.banks[1].program(0, DATA)
        with pytest.raises(PowerCut):
            flash.erase_sector(START)
        return bytes(flash.banks[1].states[: SECTOR_SIZE // 32])

    assert after(1) == after(1)
    assert after(1) != after(2)


@pytest.mark.parametrize("text", ["", "x-torn", "0-torn", "5", "5-half", "-torn"])
def test_a_malformed_cut_is_refused_in_words(text: str) -> None:
    with pytest.raises(Exception, match="this is not a cut"):
        Cut.parse(text)


def test_a_cut_prints_as_it_is_pasted() -> None:
    assert str(Cut.parse("137-torn")) == "137-torn"
    assert Cut.parse("137-torn") == Cut(137, "torn")
