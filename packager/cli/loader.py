"""``splitflash loader``: build the loader for a product, or export its sources."""

from __future__ import annotations

from pathlib import Path

import click

from packager.cli import BATCH_OPTION, FOLDER_OPTION, KEYS_OPTION, LAYOUT_OPTION, TOOLCHAIN_OPTION

_DEV = click.option(
    "--dev", is_flag=True, help="Development loader: boots any app that a debugger wrote."
)
_MONOCYPHER = click.option(
    "--monocypher",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with monocypher.c and .h, for working without a network.",
)


@click.group()
def loader() -> None:
    """Build or export the program in the first flash sector."""


@loader.command()
@LAYOUT_OPTION
@KEYS_OPTION
@FOLDER_OPTION
@BATCH_OPTION
@_DEV
@TOOLCHAIN_OPTION
@_MONOCYPHER
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
    from packager.loader_build import build_loader
    from packager.loader_parts import load_loader_keys

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
    note_several(len(loader_keys.device), batches)
    if dev:
        _warn_of_dev()


@loader.command()
@LAYOUT_OPTION
@KEYS_OPTION
@FOLDER_OPTION
@BATCH_OPTION
@_DEV
@click.option(
    "--with-device-key",
    is_flag=True,
    help="With keys_SECRET.c, which holds the device key; without it the folder does not build.",
)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if not current.")
@_MONOCYPHER
def export(
    layout_path: Path,
    keys_dir: Path,
    directory: Path,
    batches: tuple[str, ...],
    dev: bool,
    with_device_key: bool,
    only_check: bool,
    monocypher: Path | None,
) -> None:
    """Write the loader as a folder of sources that CMake builds, without Python.

    Needs public/ of the keys folder, and device/ for --with-device-key. The folder must be new.
    Without --batch the loader is one for every device key in device/ if that is needed, else in
    public/; where these are not the same, name them.
    """
    from packager.export.loader import LoaderExport
    from packager.layout import load_layout

    layout = load_layout(layout_path)
    exported = LoaderExport(layout, keys_dir, dev, with_device_key, monocypher, batches)
    if only_check:
        exported.check(directory)
        click.echo(f"{directory}: current")
        return
    for path in exported.write(directory):
        click.echo(str(path))
    if with_device_key:
        click.echo("keys_SECRET.c is SECRET: it holds a device key", err=True)
    note_several(len(exported.key_ids().device), batches)
    if dev:
        _warn_of_dev()


def note_several(device_keys: int, batches: tuple[str, ...]) -> None:
    """Say what it means if nobody chose among the batches."""
    if device_keys > 1 and not batches:
        held = f"note: this loader holds {device_keys} device keys:"
        means = "one opened device opens the updates of every batch among them"
        click.echo(f"{held} {means}; choose with --batch", err=True)


def _warn_of_dev() -> None:
    click.echo("DEVELOPMENT loader: it boots any app that a debugger wrote; do not ship", err=True)
