"""Turned heads: how much of the background beyond the far outline an edit changes, with and without the outline held.

    python examples/turn_table.py --clips ../shared/data/talking/sm_skarsgard_1080p.mp4

Of the frames whose head turns more than ``--turn`` degrees every third is edited at full strength. Counted are pixels
within a tenth of the eye distance beyond the far outline of the tracked face that change by more than 8 levels; the
figure is their share, the mean over frames and emotions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from talkedit.editor import ClipEditor
from talkedit.emotions import Timeline
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.track.measures import eye_distance, yaw_degrees
from talkedit.track.topology import FACE_OVAL
from talkedit.types import Frame
from talkedit.video.reader import read_frames


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--turn", type=float, default=30.0)
    parser.add_argument("--emotions", default="happy,surprised,sad,angry")
    args = parser.parse_args()
    print("clip | frames | changed, outline held | free")
    for path in args.clips:
        clip, kept = ClipEditor(EditOptions(), StageClock()), []
        for frame in read_frames(path):
            clip.observe(frame)
            if clip._store.has(frame.index):
                landmarks = clip._store.landmarks(frame.index)
                if abs(yaw_degrees(landmarks)) > args.turn and frame.index % 3 == 0:
                    kept.append((frame, _beyond(landmarks, frame.rgb.shape)))
        clip.solve()
        held, silhouette = _changed(clip, kept, args.emotions), clip._silhouette
        clip._silhouette = lambda pose, mesh, change, yaw: change
        free = _changed(clip, kept, args.emotions)
        clip._silhouette = silhouette
        print(f"{path.stem} | {len(kept)} | {100 * held:.2f} % | {100 * free:.2f} %", flush=True)


def _beyond(landmarks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: the strip beyond the far half of the face's outline."""
    face = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(face, [np.round(cv2.convexHull(landmarks[:468, :2].copy())).astype(np.int32)], 1)
    side = 2 * round(0.1 * eye_distance(landmarks)) + 1
    strip = cv2.dilate(face, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) > face
    far = np.sign(yaw_degrees(landmarks))
    middle, top, bottom = landmarks[FACE_OVAL, 0].mean(), landmarks[9, 1], landmarks[17, 1]
    y, x = np.mgrid[: shape[0], : shape[1]]
    return strip & (far * (x - middle) > 0) & (y > top) & (y < bottom)


def _changed(clip: ClipEditor, kept: list[tuple[Frame, np.ndarray]], emotions: str) -> float:
    shares = [
        (np.abs(clip.edit(frame, Timeline.constant(name, 1.0)).astype(int) - frame.rgb).max(-1)[strip] > 8).mean()
        for frame, strip in kept
        for name in emotions.split(",")
    ]
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
