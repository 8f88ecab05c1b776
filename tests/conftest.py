"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import workshop
from browser import Browser, program
from bus import table

from packager import toolchain

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # started in the background by a shell: programs under test would not feel Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is built once."""
    return tmp_path_factory.mktemp("workshop")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same for all its workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def compiler(shared_folder: Path) -> workshop.Compiler:
    """Return a toolchain by name (the first at hand) that compiles each source text once a run."""
    return lambda name=None: workshop.cached_toolchain(name, shared_folder / "objects")


@pytest.fixture(scope="session")
def build(session_folder: Path, compiler: workshop.Compiler) -> workshop.Build:
    """Return the workshop for a layout and a toolchain, built once a session."""
    built: dict[tuple[str, str], workshop.Workshop] = {}

    def get(layout_name: str = workshop.DEFAULT, tool: str | None = None) -> workshop.Workshop:
        tool = workshop.needs(tool or toolchain.installed()[0])
        key = (layout_name, tool)
        if key not in built:
            layout = workshop.layout_named(layout_name)
            built[key] = workshop.make_workshop(session_folder, layout, compiler(tool))
        return built[key]

    return get


@pytest.fixture(scope="session")
def shop(build: workshop.Build) -> workshop.Workshop:
    """The default layout, with the compiler at hand."""
    return build()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Chromium."""
    binary = program("chromium-headless-shell", "chromium", "google-chrome")
    return Browser(binary, tmp_path_factory.mktemp("browser"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests counted, and the table of drops."""
    counted: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        numbers = {name: n for name, n in report.user_properties if name != table.PROPERTY}
        counted.update({name: int(number) for name, number in numbers.items()})
    for name, total in counted.items():
        terminalreporter.write_line(f"{name}: {total}")
    ended = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    cells = [value for r in ended for name, value in r.user_properties if name == table.PROPERTY]
    for line in table.render(cells):
        terminalreporter.write_line(line)
