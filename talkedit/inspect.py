"""Facts about a file: what the container says, and what the tracker sees."""

from __future__ import annotations

import os
from dataclasses import asdict

import numpy as np

from talkedit.types import Track
from talkedit.video.probe import MediaInfo, probe
from talkedit.video.reader import read_frames

_BLINK = 0.5  # eyes count as shut below this part of their usual opening


def inspect_media(
    path: str | os.PathLike,
    *,
    tracker: str = "mediapipe",
    face: str | int = "largest",
    progress=None,
) -> dict:
    """Media facts under ``"media"`` and a summary of the tracked face under ``"face"``, ready for JSON.

    Args:
        path: a video or picture.
        tracker, face: as in `EditOptions`.
        progress: called with (stage, frames done, frames in all or None).

    Raises:
        InputError: see `talkedit.video.probe.probe`.
    """
    from talkedit.track import make_tracker

    info = probe(path)
    track = make_tracker(tracker, face=face)
    seen: list[tuple[int, float, Track]] = []
    frames = 0
    for frame in read_frames(path):
        found = track(frame)
        frames += 1
        if found is not None:
            seen.append((frame.index, frame.time, _small(found)))
        if progress is not None:
            progress("inspect", frames, info.frames)
    return {"media": media_facts(info), "frames": frames, "face": face_facts(seen)}


def media_facts(info: MediaInfo) -> dict:
    """A MediaInfo as plain values for JSON."""
    facts = {
        key: float(value) if hasattr(value, "numerator") and not isinstance(value, (int, bool)) else value
        for key, value in asdict(info).items()
    }
    facts["time_base"] = str(info.time_base)
    return facts | {"audio_streams": info.audio_streams, "notes": info.notes}


def face_facts(seen: list[tuple[int, float, Track]]) -> dict:
    """Summary of (frame index, seconds, track) triples: faces, confidence, yaw, blinks, mouth opening, cuts."""
    if not seen:
        return {"frames_with_face": 0, "most_faces": 0, "cuts": []}
    tracks = [track for _, _, track in seen]
    mouth = [track.mouth_open for track in tracks]
    confidence = [track.confidence for track in tracks]
    yaw = [track.yaw for track in tracks]
    return {
        "frames_with_face": len(seen),
        "most_faces": max(track.faces for track in tracks),
        "confidence": {"mean": _round(np.mean(confidence)), "least": _round(np.min(confidence))},
        "yaw_degrees": {"mean": _round(np.mean(yaw)), "least": _round(np.min(yaw)), "most": _round(np.max(yaw))},
        "mouth_open": {"mean": _round(np.mean(mouth)), "most": _round(np.max(mouth))},
        "blinks": _blinks([sum(track.eye_open) / 2 for track in tracks]),
        "cuts": [index for index, _, track in seen if track.cut],
    }


def _blinks(opening: list[float]) -> int:
    """How often the eyes shut: runs below half of the clip's usual opening."""
    shut = np.array(opening) < _BLINK * np.median(opening)
    return int(np.count_nonzero(shut[1:] & ~shut[:-1]))


def _small(track: Track) -> Track:
    """The track without its landmarks, so that a long clip stays small."""
    empty = np.zeros((0, 3), np.float32)
    return Track(empty, track.confidence, track.yaw, track.mouth_open, track.eye_open, track.faces, track.cut)


def _round(value: float) -> float:
    return round(float(value), 3)
