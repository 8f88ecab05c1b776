"""A sheet of labels to print: one HTML page without scripts, 24 labels of 70 x 37 mm on A4."""

from __future__ import annotations

import html

from packager.dfu.pipe import Progress, silent
from packager.factory.manifest import Manifest
from packager.format import version_text

LABELS_NAME = "labels.html"
SHORT_FINGERPRINT = 4
"""Bytes of a fingerprint on a label; the manifest has all 8."""

_STYLE = """\
@page { size: A4; margin: 0 }
body { margin: 0; font: 9pt/1.3 sans-serif; color: #000; background: #fff }
main { display: grid; grid-template-columns: repeat(3, 70mm); grid-auto-rows: 37mm }
section { box-sizing: border-box; padding: 4mm 5mm; overflow: hidden; break-inside: avoid }
h2 { margin: 0; font-size: 10pt }
p { margin: 0 }
.serial { font: bold 11pt/1.15 monospace; margin: 1mm 0; overflow-wrap: anywhere }
.long { font-size: 8pt }
"""
_LONG = 24
"""Characters of a serial that fit into one line of the larger size."""


def render_labels(manifest: Manifest, progress: Progress = silent) -> bytes:
    """Return the page; every text of the manifest is escaped."""
    title = html.escape(f"{manifest.product_name}: {len(manifest.serials)} labels")
    labels = []
    for number, serial in enumerate(manifest.serials, start=1):
        labels.append(_label(manifest, serial))
        progress("labels", number, len(manifest.serials))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy"',
            " content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{title}</title>",
            f"<style>\n{_STYLE}</style></head><body><main>",
            *labels,
            "</main></body></html>",
            "",
        ]
    ).encode()


def _label(manifest: Manifest, serial: str) -> str:
    keys = zip(manifest.batch, manifest.device_keys, strict=True)
    shorts = ", ".join(f"{name} {key_id[:SHORT_FINGERPRINT].hex()}" for name, key_id in keys)
    kind = "serial long" if len(serial) > _LONG else "serial"
    return (
        f"<section><h2>{html.escape(manifest.product_name)}</h2>"
        f'<p class="{kind}">{html.escape(serial)}</p>'
        f"<p>version {version_text(manifest.version)}</p>"
        f"<p>key {html.escape(shorts)}</p></section>"
    )
