"""The list of shipped files that ``talkedit models check`` verifies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CROWD = "muxspace/facial_expressions"


def about_crops(what: str, sources: tuple[str, ...], count: int, leave_out: bool) -> dict:
    """The entry of a network that was trained on crops of the open recipe.

    Args:
        what: it is.
        sources: names of the data sets, ``CROWD`` first or last among them.
        count: of the crops.
        leave_out: without the people of `talkedit.data.open_recipe.held_out_people`.
    """
    trained_on = ", ".join(sources)
    if leave_out:
        crowd = "first" if sources[0] == CROWD else "last"
        trained_on += f"; without the people left out for figures (MEAD W011, 15 of London, a tenth of the {crowd})"
    return {
        "what": what,
        "trained_on": f"{trained_on} ({count} crops)",
        "licence": "research, non-commercial (follows from MEAD)",
    }


def update_manifest(manifest: Path, file: Path, entry: dict) -> None:
    """Adds or replaces the entry of ``file`` (what, trained_on, licence, kind) with its size and sha256."""
    content = json.loads(manifest.read_text()) if manifest.exists() else {"files": {}}
    data = file.read_bytes()
    content["files"][file.name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **entry}
    manifest.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
