"""video → **track** → reconstruct → edit → smooth → render → composite → video: where the face is, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

from talkedit.errors import InputError
from talkedit.types import Frame, Track

TRACKERS = ("mediapipe", "face-alignment")


def make_tracker(
    name: str = "mediapipe", face: str | int = "largest", device: str = "cpu"
) -> Callable[[Frame], Track | None]:
    """A tracker by name.

    Args:
        name: one of ``TRACKERS``.
        face: see ``talkedit.track.follow.FaceTracker``.
        device: ``"cpu"`` or ``"cuda"``, for face-alignment; mediapipe runs on the CPU.

    Raises:
        InputError: unknown name, or its package or weights are missing.
    """
    if name not in TRACKERS:
        raise InputError(f"unknown tracker '{name}'; there are: {', '.join(TRACKERS)}")
    from talkedit.track.follow import FaceTracker

    if name == "mediapipe":
        return FaceTracker(face=face)
    from talkedit.track.alignment import AlignmentMesh

    return FaceTracker(face=face, mesh=AlignmentMesh(device))
