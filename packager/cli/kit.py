"""``splitflash kit``: what a developer mails to a customer who has a cable and no knowledge."""

from __future__ import annotations

from pathlib import Path

import click

from packager.cli import layout_option
from packager.cli.output import OutputPath, output_option


@click.command()
@click.argument("update", metavar="UPDATE", type=click.Path(dir_okay=False, path_type=Path))
@output_option(
    "-o",
    "--output",
    required=True,
    type=OutputPath(path_type=Path),
    help="A new folder, or a name ending in .zip.",
)
@layout_option("Flash layout of the product: its name, and whether BOOT0 is the way in at all.")
def kit(update: Path, output: Path, layout_path: Path | None) -> None:
    """Make a kit of UPDATE for a customer: files, scripts, checksums and a page that explains."""
    from packager.kit.make import make_kit

    made = make_kit(update, output, layout_path)
    for path in made.paths:
        click.echo(f"wrote: {path}")
    click.echo(f"product: {made.kit.product_id}")
    click.echo(f"version: {made.kit.version}")
    click.echo(f"staging: 0x{made.kit.staging_address:08X}, bank {made.kit.staging_bank}")
    silence = made.kit.silence
    click.echo(f"silent: usually {silence.usual} seconds, at most {silence.longest}")
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
