"""``splitflash pack``, ``inspect``, ``verify`` and ``unpack``: everything about update files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from packager.cli import (
    COUNTER_OPTION,
    KEYS_OPTION,
    LAYOUT_OPTION,
    SIGNING_KEY_OPTION,
    VERSION_OPTION,
    keys_option,
    layout_option,
)
from packager.cli.output import OutputPath, output_option

if TYPE_CHECKING:
    from packager.packing import Packed
    from packager.update import Opened

PROTECTION = (
    "over ROM DfuSe at RDP0 the file is protected only against"
    " someone who has the file and no device"
)

_FILE = click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))


@click.command()
@click.argument("app", metavar="APP", type=click.Path(dir_okay=False, path_type=Path))
@LAYOUT_OPTION
@KEYS_OPTION
@VERSION_OPTION
@COUNTER_OPTION
@output_option(
    "-o",
    "--output",
    required=True,
    type=OutputPath(),
    help="FILE.hex, FILE.bin, FILE.dfu, or FOLDER/ for all three.",
)
@click.option(
    "--allow-downgrade",
    is_flag=True,
    help="May replace a higher version with the same security counter.",
)
@SIGNING_KEY_OPTION
@click.option(
    "--to",
    "to",
    metavar="BATCH",
    multiple=True,
    help="Whose devices can open it, up to 4 times. Default: all keys in public/, if at most 4.",
)
def pack(
    app: Path,
    layout_path: Path,
    keys_dir: Path,
    version: str,
    counter: int | None,
    output: str,
    allow_downgrade: bool,
    signing_key: str | None,
    to: tuple[str, ...],
) -> None:
    """Pack APP (.elf, .hex or .bin) as an encrypted, signed update; never needs device/.

    A device opens it only if its loader holds the key of a batch named by --to. With a batch for
    each single device every device needs an update of its own, or one of four.
    """
    from packager.packing import pack as pack_update

    packed = pack_update(
        app,
        layout_path,
        keys_dir,
        Path(output),
        version=version,
        counter=counter,
        allow_downgrade=allow_downgrade,
        signing_key=signing_key,
        to=to,
        all_forms=output.endswith(("/", os.sep)) or Path(output).is_dir(),
    )
    _print_packed(packed, version)
    if signing_key is None and packed.signing_key.name == "spare":
        click.echo("note: signing/active.pem is gone, so the spare key signed", err=True)
    click.echo(f"note: {PROTECTION}", err=True)


@click.command()
@_FILE
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def inspect(path: Path, as_json: bool) -> None:
    """Show what an update FILE (.hex, .bin or .dfu) says of itself; needs no keys."""
    from packager.inspection import as_text, describe

    values = describe(path)
    if as_json:
        import json

        click.echo(json.dumps(values, indent=2))
    else:
        for name, value in values.items():
            click.echo(f"{name}: {as_text(name, value)}")
    click.echo("note: nothing was authenticated, see splitflash verify", err=True)


@click.command()
@_FILE
@layout_option("Flash layout of the product (YAML).")
@keys_option("Key folder with public/ and device/.")
@click.option(
    "--loader",
    "loader_elf",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also, or instead: run this loader on the update in a virtual board.",
)
def verify(
    path: Path, layout_path: Path | None, keys_dir: Path | None, loader_elf: Path | None
) -> None:
    """Check everything about an update FILE that can be checked here, and decrypt it."""
    if (layout_path is None) != (keys_dir is None) and not (loader_elf and _nobody_gave_either()):
        raise click.UsageError("--layout and --keys go together")
    if layout_path is None and loader_elf is None:
        raise click.UsageError("give --layout and --keys, or --loader, or all of them")
    if layout_path is not None and keys_dir is not None:
        _print_opened(_open(path, layout_path, keys_dir))
    if loader_elf is not None:
        from packager.rehearse import verify_with_loader
        from packager.update_file import read_update_file

        click.echo(verify_with_loader(read_update_file(path).data, loader_elf))


@click.command()
@_FILE
@LAYOUT_OPTION
@KEYS_OPTION
@output_option(
    "-o",
    "--output",
    required=True,
    help="File for the plain image (.bin), readable by you only.",
)
def unpack(path: Path, layout_path: Path, keys_dir: Path, output: Path) -> None:
    """Verify an update FILE and write the application image it carries."""
    from packager.files import SECRET_MODE, write_atomic

    opened = _open(path, layout_path, keys_dir)
    write_atomic(output, opened.image, SECRET_MODE)
    click.echo(f"{output}: {len(opened.image)} bytes for 0x{opened.header.app_address:08X}")


def _nobody_gave_either() -> bool:
    """Tell whether layout and keys are in the environment, if at all: one alone says nothing."""
    source = click.get_current_context().get_parameter_source
    given = click.core.ParameterSource.COMMANDLINE
    return given not in (source("layout_path"), source("keys_dir"))


def _open(path: Path, layout_path: Path, keys_dir: Path) -> Opened:
    from packager.keys import load_every_device_key, load_verify_keys
    from packager.layout import load_layout
    from packager.update import open_update
    from packager.update_file import read_update_file

    return open_update(
        read_update_file(path).data,
        load_verify_keys(keys_dir),
        load_every_device_key(keys_dir),
        load_layout(layout_path),
        where=str(path),
    )


def _print_packed(packed: Packed, version: str) -> None:
    largest = packed.layout.largest_image
    values: dict[str, Any] = {
        "version": version,
        "security_counter": packed.counter,
        "image_size": f"{packed.image_size} bytes",
        "largest_image": f"{largest} bytes ({100 * packed.image_size / largest:.1f} % used)",
        "update_size": f"{len(packed.update)} bytes",
        "image_digest": packed.image_digest.hex(),
        "update_id": packed.update_id.hex(),
        "signed_by": f"{packed.signing_key.name} {packed.signing_key.key_id.hex()}",
        "recipients": ", ".join(f"{key.name} {key.key_id.hex()}" for key in packed.recipients),
    }
    for path in packed.paths:
        click.echo(f"wrote: {path}")
    for name, value in values.items():
        click.echo(f"{name}: {value}")


def _print_opened(opened: Opened) -> None:
    from packager.format import version_text

    header = opened.header
    click.echo(f"signature: good, by {header.signing_key_id.hex()}")
    click.echo(f"version: {version_text(header.version)}")
    click.echo(f"security_counter: {header.security_counter}")
    click.echo(f"image: decrypted, {header.image_size} bytes")
    click.echo(f"image_digest: good, {header.image_digest.hex()}")
    click.echo("verified: a device with these keys and this layout takes it")
