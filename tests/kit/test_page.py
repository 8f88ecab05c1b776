"""HOWTO.html: well-formed, alone in the world, true in every number, and fit to be printed."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import material
import pytest
from browser import Browser

from packager.dfu.advice import UDEV_FILE, UDEV_RULE
from packager.kit.contents import HOWTO
from packager.kit.make import MadeKit, make_kit
from packager.kit.silence import silence
from packager.layout import load_layout

from .conftest import update_for
from .page import Page, text_of

A4 = "@page { size: A4;"
"""Without it the browser prints on Letter, which is shorter."""


@pytest.fixture(scope="module", params=["staging in bank 1", "staging in bank 2", "longest names"])
def kit(
    request: pytest.FixtureRequest,
    made: MadeKit,
    mirror_made: MadeKit,
    tmp_path_factory: pytest.TempPathFactory,
) -> MadeKit:
    """A kit of each kind."""
    if request.param == "staging in bank 1":
        return made
    if request.param == "staging in bank 2":
        return mirror_made
    return longest(tmp_path_factory.mktemp("longest"))


def longest(folder: Path) -> MadeKit:
    """Return a kit whose names are as long and as strange as a layout allows."""
    path = folder / "product.yaml"
    text = material.DEFAULT_LAYOUT.read_text()
    line = "product: {id: mmmmmmmmmmmm.w_w, name: '<b>&amp; M \"W\" WWWWWWW $x @{y} %'}"
    path.write_text(re.sub(r"product: \{.*\}", lambda _: line, text))
    update = folder / "update.bin"
    update.write_bytes(update_for(load_layout(path)))
    return make_kit(update, folder / "kit", path)


@pytest.fixture(scope="module")
def page(kit: MadeKit) -> Page:
    return Page(kit.paths[0].parent / HOWTO)


def test_it_is_for_english_readers_and_every_drawing_has_words(page: Page) -> None:
    assert page.root.attrib["lang"] == "en"
    (title,) = page.root.iterfind("head/title")
    assert "Install update 1.4.2 on " in text_of(title)
    drawings = [svg for svg in page.root.iter("svg") if svg.get("role") == "img"]
    assert len(drawings) == 7
    for drawing in drawings:
        alt = drawing.find("title")
        assert alt is not None
        assert alt.attrib["id"] == drawing.attrib["aria-labelledby"]
        assert len(text_of(alt)) > 20


def test_every_id_is_there_once_and_every_reference_finds_one(page: Page) -> None:
    ids = [element.attrib["id"] for element in page.root.iter() if "id" in element.attrib]
    used = {element.attrib["href"] for element in page.root.iter("use")}

    assert len(ids) == len(set(ids))
    assert used <= {f"#{name}" for name in ids}


def test_a_browsers_parser_sees_the_same_elements_as_a_strict_one(page: Page) -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found.append(tag)

    parser = Tags()
    parser.feed(page.source)
    assert parser.found == [element.tag.lower() for element in page.root.iter()]


def test_it_asks_for_nothing_outside_and_runs_nothing(page: Page) -> None:
    for element in page.root.iter():
        assert element.tag not in ("script", "link", "img", "iframe", "object", "form", "a")
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert not re.search(r"\w+://|^//|url\(", value), (element.tag, name)
            assert name not in ("src", "xlink:href")
            assert name != "href" or value.startswith("#")
    (style,) = page.root.iterfind("head/style")
    assert not re.search(r"url\(|@import", style.text or "")
    assert "://" not in page.source


def test_product_version_file_and_checksum_are_the_ones_of_the_kit(
    kit: MadeKit, page: Page
) -> None:
    folder = kit.paths[0].parent
    name = f"{kit.kit.stem}.hex"

    assert page.facts == {
        "Product": f"{kit.kit.product_name} ({kit.kit.product_id})",
        "Version": kit.kit.version,
        "Update file": name,
        "Its SHA-256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
    }


def test_every_number_on_the_page_is_the_one_computed(kit: MadeKit, page: Page) -> None:
    figures = silence(20_000, material.layout().app.size)
    last = page.steps[-1]

    assert kit.kit.silence == figures
    assert f"usually {figures.usual} seconds, at most {figures.longest}." in last.text
    assert last.alt.endswith(f"at most {figures.longest} seconds.")
    seconds = {int(number) for number in re.findall(r"(\d+) (?:seconds|s\b)", page.words)}
    assert seconds == {figures.usual, figures.longest}
    assert set(re.findall(r"0x[0-9A-F]{8}", page.words)) == {f"0x{kit.kit.staging_address:08X}"}
    assert set(re.findall(r"\b\d+\.\d+\.\d+\b", page.words.replace(kit.kit.product_id, ""))) == {
        kit.kit.version,
        *(["2.2.1"] if kit.kit.staging_bank == 2 else []),
    }


def test_every_file_it_names_is_in_the_kit(kit: MadeKit, page: Page) -> None:
    names = {path.name for path in kit.paths}
    named = re.findall(r"[\w.-]+\.(?:hex|dfu|bin|bat|sh)\b", page.words)

    assert set(named) <= names
    assert {name for name in names if name.endswith((".sh", ".bat"))} <= set(named)


def test_it_says_what_never_to_click_and_what_was_not_tested(page: Page) -> None:
    assert [re.search(word, line) is not None for word, line in zip(
        ("Full chip erase", "Read Unprotect.*RDP", "Option bytes"), page.never, strict=True
    )] == [True] * 3  # fmt: skip
    assert "Not tested: STM32CubeProgrammer itself" in page.words


def test_the_rule_for_linux_is_the_one_that_our_own_tool_prints(page: Page) -> None:
    (row,) = [do for what, do in page.table.items() if what.startswith("Linux")]

    assert UDEV_RULE in row
    assert UDEV_FILE in row


def test_no_placeholder_is_left_in_any_text(kit: MadeKit) -> None:
    for path in kit.paths:
        if path.suffix in (".sh", ".bat", ".html"):
            text = path.read_text().replace(kit.kit.product_name, "").replace("@{y}", "")
            assert "@{" not in text


def test_a_real_browser_shows_it_without_a_complaint(
    page: Page, browser: Browser, tmp_path: Path
) -> None:
    for name, width in (("desktop", 1280), ("phone", 390)):
        shot = tmp_path / f"{name}.png"
        said = browser.run(page.path, f"--window-size={width},1200", f"--screenshot={shot}")

        assert "CONSOLE" not in said
        assert shot.read_bytes().startswith(b"\x89PNG")
        assert shot.stat().st_size > 20_000, "an empty page"


@pytest.mark.parametrize("width", [390, 600, 1280])
def test_nobody_has_to_scroll_sideways(page: Page, browser: Browser, width: int) -> None:
    script = "document.documentElement.scrollWidth + ' ' + innerWidth"
    needed, shown = browser.run_script(page.path, script, f"--window-size={width},900").split()

    assert int(shown) == width
    assert int(needed) <= width


def test_the_browser_would_have_complained(browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<!DOCTYPE html><script>throw new Error('here')</script>")

    assert "CONSOLE" in browser.run(broken, f"--screenshot={tmp_path / 'broken.png'}")


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_it_prints_on_two_pages(page: Page, browser: Browser, tmp_path: Path, paper: str) -> None:
    printed, copy = tmp_path / "page.pdf", tmp_path / "page.html"
    copy.write_text(page.source.replace("@page {", A4) if paper == "A4" else page.source)

    said = browser.run(copy, "--no-pdf-header-footer", f"--print-to-pdf={printed}")

    assert "CONSOLE" not in said
    assert len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes())) == 2
