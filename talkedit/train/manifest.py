"""The list of shipped files that ``talkedit models check`` verifies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def update_manifest(manifest: Path, file: Path, entry: dict) -> None:
    """Adds or replaces the entry of ``file`` (what, trained_on, licence, kind) with its size and sha256."""
    content = json.loads(manifest.read_text()) if manifest.exists() else {"files": {}}
    data = file.read_bytes()
    content["files"][file.name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **entry}
    manifest.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
