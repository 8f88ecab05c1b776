"""HOWTO.html read as a careful person reads it: steps, commands, numbers, rows of the table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET


def text_of(element: ET.Element) -> str:
    """Return the words of an element, white space as a browser shows it."""
    return re.sub(r"\s+", " ", "".join(element.itertext())).strip()


@dataclass(frozen=True)
class Step:
    """One of the numbered drawings."""

    number: int
    do: tuple[str, ...]
    text: str
    alt: str


class Page:
    """A page, parsed strictly: it must be well-formed XML as well as HTML."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        head, _, rest = self.source.partition("\n")
        assert head == "<!DOCTYPE html>"
        self.root = ET.fromstring(rest)
        (self.body,) = self.root.findall("body")

    @property
    def words(self) -> str:
        """Everything a person reads."""
        return re.sub(r"\s+", " ", " ".join(self.body.itertext())).strip()

    @property
    def facts(self) -> dict[str, str]:
        """The box at the top."""
        (box,) = self.root.iterfind(".//dl")
        names, values = box.findall("dt"), box.findall("dd")
        return {text_of(a): text_of(b) for a, b in zip(names, values, strict=True)}

    @property
    def steps(self) -> list[Step]:
        """The numbered steps in their order."""
        found = []
        for item in self.root.iterfind(".//li[@data-do]"):
            title, number = item.find(".//title"), item.find(".//span")
            assert title is not None
            assert number is not None
            do = tuple(item.attrib["data-do"].split())
            found.append(Step(int(text_of(number)), do, text_of(item), text_of(title)))
        return found

    def command(self, name: str) -> str:
        """Return what a person is told to type or to click."""
        (code,) = self.root.iterfind(f".//code[@data-run='{name}']")
        return text_of(code)

    @property
    def by_hand(self) -> list[str]:
        """The list that belongs to the drawing of the window."""
        return [text_of(item) for item in self.root.iterfind(".//ol[@class='by-hand']/li")]

    @property
    def table(self) -> dict[str, str]:
        """What to do when."""
        rows = {}
        for row in self.root.iterfind(".//tbody/tr"):
            (what,), (do,) = row.findall("th"), row.findall("td")
            rows[text_of(what)] = text_of(do)
        return rows

    @property
    def never(self) -> list[str]:
        """What must not be clicked."""
        return [text_of(item) for item in self.root.iterfind(".//div[@class='never']//li")]
