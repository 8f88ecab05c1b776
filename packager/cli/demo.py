"""``splitflash demo``: the whole life of a product on a virtual board."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from packager.cli import TOOLCHAIN_OPTION
from packager.cli.output import OUTPUT_FOLDER


@click.command()
@TOOLCHAIN_OPTION
@click.option(
    "--keep",
    type=OUTPUT_FOLDER,
    help="Folder for everything the demo makes; a temporary one otherwise.",
)
def demo(toolchain: str | None, keep: Path | None) -> None:
    """Watch a device install an encrypted update by itself, without hardware."""
    from packager.demo import run_demo

    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        run_demo(keep, click.echo, toolchain)
        return
    with tempfile.TemporaryDirectory(prefix="splitflash-demo-") as folder:
        run_demo(Path(folder), click.echo, toolchain)
