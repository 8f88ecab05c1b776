"""``splitflash loader``: build the loader for a product."""

from __future__ import annotations

from pathlib import Path

import click

from packager.cli import BATCH_OPTION, FOLDER_OPTION, KEYS_OPTION, LAYOUT_OPTION, TOOLCHAIN_OPTION


@click.group()
def loader() -> None:
    """Build the program in the first flash sector."""


@loader.command()
@LAYOUT_OPTION
@KEYS_OPTION
@FOLDER_OPTION
@BATCH_OPTION
@click.option("--dev", is_flag=True, help="Development loader: boots an app that has no record.")
@TOOLCHAIN_OPTION
@click.option(
    "--monocypher",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with monocypher.c and .h, for building without a network.",
)
def build(
    layout_path: Path,
    keys_dir: Path,
    directory: Path,
    batches: tuple[str, ...],
    dev: bool,
    toolchain: str | None,
    monocypher: Path | None,
) -> None:
    """Build the loader; needs device/ and public/, never signing/."""
    from packager.layout import load_layout
    from packager.loader_build import build_loader, load_loader_keys

    layout, loader_keys = load_layout(layout_path), load_loader_keys(keys_dir, batches)
    built = build_loader(
        layout,
        loader_keys,
        directory,
        dev=dev,
        toolchain=toolchain,
        monocypher=monocypher,
    )
    click.echo(f"{built.elf}")
    click.echo(f"{built.hex}")
    click.echo(f"size: {built.size} bytes of flash ({built.toolchain})")
    for verify in loader_keys.verify:
        click.echo(f"trusts verify key: {verify.name} {verify.key_id.hex()}")
    for device in loader_keys.device:
        click.echo(f"holds device key: {device.name} {device.key_id.hex()}")
    click.echo("these files are SECRET: they hold a device key", err=True)
    if dev:
        click.echo("DEVELOPMENT loader: it boots an app without a record; do not ship", err=True)
