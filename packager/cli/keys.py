"""``splitflash keygen``: make the keys of a product, once."""

from __future__ import annotations

from pathlib import Path

import click

from packager.cli.output import OUTPUT_FOLDER

_FOLDERS = (
    (
        "signing",
        "whoever releases updates; pack needs it",
        "if 'active' is lost 'spare' signs; if both are lost no device takes an update ever again",
    ),
    (
        "device",
        "whoever builds loaders; loader build needs it",
        "if lost no further loader can be built for this key; if leaked every update can be read",
    ),
    (
        "public",
        "everybody who packs or builds loaders",
        "can be made again from the others",
    ),
)
"""Folder, with whom it stays, what is lost with it."""


@click.command()
@click.argument("directory", metavar="DIR", type=OUTPUT_FOLDER)
@click.option("--batch", metavar="NAME", help="Only add a device key of this name to DIR.")
def keygen(directory: Path, batch: str | None) -> None:
    """Make signing keys (active, spare) and a device key below DIR; nothing is ever replaced.

    With --batch, a device key for one production batch joins those in DIR: a key that leaks then
    opens the updates of its batch only. Build its loaders by 'loader build --batch NAME', pack its
    updates by 'pack --to NAME'. An update has room for 4 batches. A batch of a single device is
    possible, and means one update for each device.
    """
    from packager import keys

    made = keys.keygen_batch(directory, batch) if batch is not None else keys.keygen(directory)
    for name, key_id in made.fingerprints.items():
        click.echo(f"{name}: {key_id.hex()}")
    for path in made.paths:
        click.echo(f"wrote: {path}")
    for folder, owner, loss in _FOLDERS:
        if any(path.parent.name == folder for path in made.paths):
            click.echo(f"{directory / folder}: stays with {owner}; {loss}")
    if batch is None:
        click.echo("keep a copy of signing/ and device/ offline, and signing/spare.pem apart")
    else:
        click.echo("keep a copy of device/ offline")
