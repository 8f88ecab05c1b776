"""``splitflash factory``: the image that is flashed once, in production."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from packager.cli import (
    BATCH_OPTION,
    COUNTER_OPTION,
    FOLDER_OPTION,
    KEYS_OPTION,
    LAYOUT_OPTION,
    SIGNING_KEY_OPTION,
    VERSION_OPTION,
    keys_option,
)
from packager.cli.device import JSON, ONE_DEVICE, door
from packager.cli.output import output_option
from packager.cli.report import Report

_FACTORY_OPTION = click.option(
    "--factory",
    "factory_path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The factory image, as factory build made it.",
)


@click.group()
def factory() -> None:
    """Make the image that is flashed once, in production, and check what became of it."""


@factory.command()
@click.argument("app", metavar="APP", type=click.Path(dir_okay=False, path_type=Path))
@LAYOUT_OPTION
@KEYS_OPTION
@BATCH_OPTION
@click.option(
    "--loader",
    "loader_elf",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A production loader built before; otherwise one is built now.",
)
@VERSION_OPTION
@COUNTER_OPTION
@output_option(
    "-o",
    "--output",
    default="factory_SECRET.hex",
    show_default=True,
    help="The image; it holds a device key.",
)
@output_option(
    "--steps",
    "steps_path",
    help="File for the steps of production. Default: factory-steps.txt beside the image.",
)
@click.option("--no-steps", is_flag=True, help="Write no file of the steps; only print them.")
def build(
    app: Path,
    layout_path: Path,
    keys_dir: Path,
    batches: tuple[str, ...],
    loader_elf: Path | None,
    version: str,
    counter: int | None,
    output: Path,
    steps_path: Path | None,
    no_steps: bool,
) -> None:
    """Put loader, APP and the record that APP is installed into one .hex.

    Then print, and write beside it, what production does with it: lines for STM32CubeProgrammer,
    option bytes included, and the final check. None of them is ever executed from here.
    """
    if no_steps and steps_path is not None:
        raise click.UsageError("--steps and --no-steps contradict each other")
    from packager.factory import make_factory, write_factory
    from packager.files import text_bytes, write_atomic
    from packager.format import pack_version
    from packager.layout import load_layout
    from packager.option_bytes import STEPS_NAME, checklist
    from packager.packing import required_counter

    layout = load_layout(layout_path)
    number, floor = pack_version(version), required_counter(counter, layout)
    with tempfile.TemporaryDirectory(prefix="splitflash-loader-") as folder:
        if loader_elf is None:
            from packager.cli.loader import note_several
            from packager.loader_build import build_loader
            from packager.loader_parts import load_loader_keys

            loader_keys = load_loader_keys(keys_dir, batches)
            note_several(len(loader_keys.device), batches)
            loader_elf = build_loader(layout, loader_keys, Path(folder)).elf
        pieces = make_factory(app, loader_elf, layout, keys_dir, number, floor, batches)
    write_factory(output, pieces)
    click.echo(f"wrote: {output}")
    for address, data in pieces.items():
        click.echo(f"0x{address:08X}: {len(data)} bytes")
    steps = checklist(layout, str(output), str(keys_dir))
    if not no_steps:
        steps_file = steps_path or output.with_name(STEPS_NAME)
        write_atomic(steps_file, text_bytes("".join(f"{line}\n" for line in steps)))
        click.echo(f"wrote: {steps_file}")
    for line in steps:
        click.echo(line)
    click.echo(f"note: {output} is SECRET: it holds a device key (mode 0600)", err=True)


@factory.command()
@_FACTORY_OPTION
@LAYOUT_OPTION
@keys_option("Key folder with public/: their bytes are compared as well, and named.")
@click.option(
    "--batch",
    "batches",
    metavar="NAME",
    multiple=True,
    help="With --keys: whose device key the loader must hold, once or twice; no other.",
)
@ONE_DEVICE
@JSON
def check(
    factory_path: Path,
    layout_path: Path,
    keys_dir: Path | None,
    batches: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> int:
    """Compare a freshly programmed device with its factory image; changes nothing.

    The device is read through the ROM bootloader (BOOT0 high), before its read-out protection is
    set and before it takes an update. Every check says ok, problem or not known, and what to do.
    The exit code is 0 without a problem, 15 if something differs, 14 if it is protected already.
    """
    from packager.cli.doctor import tell
    from packager.dfu.doctor import exit_code
    from packager.factory.check import check_device, matching_keys, summary
    from packager.factory.file import read_factory
    from packager.layout import load_layout

    if batches and keys_dir is None:
        raise click.UsageError("--batch needs --keys")
    report = Report("factory check", as_json=as_json)
    with report.running() as end:
        layout = load_layout(layout_path)
        expected = read_factory(factory_path, layout)
        keys = matching_keys(expected, keys_dir, batches) if keys_dir else ()
        checks = []
        with door(device, boot0=True).open() as dfu, report.progress(dfu.where, dfu.clock) as show:
            for one in check_device(dfu, expected, layout, keys, show):
                checks.append(one)
                tell(report, one)
        report.say(summary(checks), dfu.where)
        end.exit_code = exit_code(checks)
    return end.exit_code


@factory.command()
@click.argument("csv_path", metavar="SERIALS.csv", type=click.Path(dir_okay=False, path_type=Path))
@_FACTORY_OPTION
@LAYOUT_OPTION
@KEYS_OPTION
@SIGNING_KEY_OPTION
@FOLDER_OPTION
def manifest(
    csv_path: Path,
    factory_path: Path,
    layout_path: Path,
    keys_dir: Path,
    signing_key: str | None,
    directory: Path,
) -> None:
    """Write a signed manifest of a production run, and labels to print.

    SERIALS.csv is UTF-8 with commas; its first row names the columns, 'serial' among them, and
    only that one is read. The manifest says what all these devices were programmed with: product,
    layout, loader, application, keys, and the SHA-256 of the factory image; it holds no secret.
    Needs signing/ and public/ of the keys, never device/. The folder must be new or empty: an
    earlier run is never overwritten.
    """
    from packager.cli.progress import show_several
    from packager.factory.file import read_factory
    from packager.factory.labels import LABELS_NAME, render_labels
    from packager.factory.manifest import make_manifest, signed_files
    from packager.factory.serials import read_serials
    from packager.files import create_folder
    from packager.keys import load_signing_key
    from packager.layout import load_layout

    layout = load_layout(layout_path)
    image, key = read_factory(factory_path, layout), load_signing_key(keys_dir, signing_key)
    name = str(csv_path)
    with show_several([name]) as progress_of, progress_of(name) as show:
        read = read_serials(csv_path, show)
        made = make_manifest(read.serials, image, layout, keys_dir, key)
        contents = {**signed_files(made, key), LABELS_NAME: render_labels(made, show)}
        create_folder(directory, contents, secret=frozenset())
    for file_name in contents:
        click.echo(f"wrote: {directory / file_name}")
    click.echo(f"serials: {len(made.serials)}")
    click.echo(f"factory_sha256: {made.factory_sha256.hex()}")
    click.echo(f"signed_by: {key.name} {key.key_id.hex()}")
    if read.ignored:
        click.echo(f"note: columns not used: {', '.join(map(ascii, read.ignored))}", err=True)


@factory.command("verify-manifest")
@click.argument("manifest_path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@KEYS_OPTION
@click.option(
    "--factory",
    "factory_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also: is this the factory image of the manifest?",
)
def verify_manifest(manifest_path: Path, keys_dir: Path, factory_path: Path | None) -> None:
    """Check a manifest by the signature beside it, and show it; needs public/ only."""
    from packager.factory.manifest import check_factory_file
    from packager.factory.manifest import verify_manifest as verify
    from packager.format import version_text

    found, key = verify(manifest_path, keys_dir)
    if factory_path is not None:
        check_factory_file(found, factory_path)
    click.echo(f"signature: good, by {key.name} {key.key_id.hex()}")
    click.echo(f"product: {found.product_id} ({found.product_name})")
    click.echo(f"layout_id: {found.layout_id.hex()}")
    click.echo(f"loader_version: {version_text(found.loader_version)}")
    click.echo(f"version: {version_text(found.version)}")
    click.echo(f"security_counter: {found.security_counter}")
    click.echo(f"image_digest: {found.image_digest.hex()}")
    same = ", as the file given" if factory_path else ""
    click.echo(f"factory_sha256: {found.factory_sha256.hex()}{same}")
    click.echo(f"verify_keys: {', '.join(key_id.hex() for key_id in found.verify_keys)}")
    pairs = zip(found.batch, found.device_keys, strict=True)
    click.echo(f"device_keys: {', '.join(f'{name} {key_id.hex()}' for name, key_id in pairs)}")
    click.echo(f"serials: {len(found.serials)}")
