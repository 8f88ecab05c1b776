"""Builds the example applications that ship with the loader, as a developer would his own."""

from __future__ import annotations

from pathlib import Path

from packager.export import SCRIPT_FILE, export_layout
from packager.layout import Layout
from packager.resources import loader_sources
from packager.toolchain import Toolchain, compile_link

EXAMPLES = {
    "1.0.0": ("app_v1.c",),
    "1.5.0": ("app_uart.c", "splitflash_stage.c"),
    "2.0.0": ("app_v2.c",),
}
"""The version each example prints, and its sources."""


def build_example(
    version: str, layout: Layout, folder: Path, toolchain: Toolchain | str | None = None
) -> Path:
    """Build one example for a layout with what is exported for it; return the ELF.

    Raises:
        BuildError: no toolchain, or it complains.
    """
    exported = folder / "exported"
    export_layout(layout, exported)
    sources = loader_sources() / "examples"
    names = ("startup.c", "console.c", *EXAMPLES[version])
    return compile_link(
        [sources / name for name in names],
        exported / SCRIPT_FILE,
        folder / f"example-{version}.elf",
        toolchain=toolchain,
        include=[exported, sources],
    )
