"""talkedit: change the emotion of a talking-head video; same person, same words.

Importing the package is cheap: everything heavy is loaded at first use.
"""

from __future__ import annotations

from importlib import import_module, metadata

try:
    __version__ = metadata.version("talkedit")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.1.0"

_HOME = {
    "EMOTIONS": "talkedit.emotions",
    "EditReport": "talkedit.report",
    "Editor": "talkedit.editor",
    "Timeline": "talkedit.emotions",
    "compare_video": "talkedit.pipeline",
    "edit_video": "talkedit.pipeline",
}
__all__ = ["EMOTIONS", "EditReport", "Editor", "Timeline", "__version__", "compare_video", "edit_video"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'talkedit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
