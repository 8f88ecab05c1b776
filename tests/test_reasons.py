"""One list of reasons for the loader, the host tool, the application and the documents."""

from __future__ import annotations

import re

import pytest

from packager.export.c_header import c_header
from packager.layout import load_layout
from packager.reasons import EXPLANATIONS, Reason
from packager.resources import layouts, loader_sources

DESIGN = loader_sources() / "DESIGN.md"
TITLE = "### Reason codes"


def reason_table() -> str:
    """Return the table of DESIGN.md; ``python tests/test_reasons.py`` prints it."""
    rows = [
        f"| {reason.value} | `{reason.name}` | {text.meaning} | {text.do} |"
        for reason, text in EXPLANATIONS.items()
    ]
    return "\n".join(["| code | name | meaning | what to do |", "|---|---|---|---|", *rows])


def test_the_table_of_reason_codes_in_the_design_is_current() -> None:
    text = DESIGN.read_text()
    assert TITLE in text

    section = re.split(r"^#", text[text.index(TITLE) + len(TITLE) :], flags=re.MULTILINE)[0]

    assert reason_table() in section


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_in_one_line_what_it_means_and_what_to_do(reason: Reason) -> None:
    meaning, do = EXPLANATIONS[reason]

    for text in (meaning, do):
        assert text
        assert "\n" not in text
        assert not text.endswith(".")
        assert "|" not in text


@pytest.mark.parametrize("reason", Reason)
def test_an_application_gets_every_reason_with_its_sentence(reason: Reason) -> None:
    text = c_header(load_layout(layouts() / "h743zi_app_bank2.yaml"))

    sentence = f"    // {EXPLANATIONS[reason].meaning}\n"
    assert sentence + f"    SPLITFLASH_REASON_{reason.name} = {reason.value},\n" in text


if __name__ == "__main__":
    print(f"{TITLE}\n\n{reason_table()}")  # noqa: T201
