"""video → **track** → reconstruct → edit → smooth → render → composite → video: where the face is, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

from talkedit.errors import InputError
from talkedit.types import Frame, Track

TRACKERS = ("mediapipe", "face-alignment")


def make_tracker(name: str = "mediapipe", face: str | int = "largest") -> Callable[[Frame], Track | None]:
    """A tracker by name.

    Raises:
        InputError: unknown name, or its package or weights are missing.
    """
    if name == "mediapipe":
        from talkedit.track.follow import FaceTracker

        return FaceTracker(face=face)
    if name == "face-alignment":
        raise InputError(
            "--tracker face-alignment needs 68-to-dense fitting, which this version does not have; use mediapipe"
        )
    raise InputError(f"unknown tracker '{name}'; there are: {', '.join(TRACKERS)}")
