"""How rigidly teeth move in edited clips, beside their sources (docs/results.md).

    python examples/teeth_rigidity.py --emotions happy,surprised ../shared/data/talking/*.mp4

Optical flow (DIS) from frame to frame, read where teeth show, is fitted by a similarity; the residual is what the flow
says beyond it. Frames are scaled to 512 pixels on the shorter side first. The flow's own noise is in every number.

Each cell holds two: all teeth fitted at once, and each connected piece of teeth on its own, because the lower row moves
against the upper as the jaw does, and no single similarity fits both. Both keep 2 pixels from the lips, less than the
flow's windows reach, so lips that cover and bare teeth count in both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from talkedit.editor import ClipEditor
from talkedit.emotions import Timeline
from talkedit.facemodel.align import similarity
from talkedit.mouth.alignment import polygon
from talkedit.mouth.rows import skin_around, toothness
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.track.facemesh import FaceMesh
from talkedit.track.topology import INNER_LIPS
from talkedit.video.reader import read_frames

SIDE = 512
FEWEST = 150  # pixels of teeth that both frames of a pair must show


def teeth_mask(picture: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(h, w) bool, where (h, w, 3) uint8 shows teeth inside the (20, 2) inner lips, away from their edges."""
    inside = polygon(loop, picture.shape[:2], -2)
    teeth = (inside * toothness(picture, skin_around(picture, loop)) > 0.5).astype(np.uint8)
    return cv2.erode(cv2.morphologyEx(teeth, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.ones((3, 3))) > 0


def residual(before: np.ndarray, after: np.ndarray, teeth: np.ndarray, flow: cv2.DISOpticalFlow) -> float:
    """Mean distance, pixels, of the flow between two grey pictures to its best similarity, where teeth are."""
    y, x = np.nonzero(teeth)
    moved = flow.calc(before, after, None)[y, x]
    points = np.stack([x, y], 1).astype(np.float64)
    scale, rotation, shift = similarity(points, points + moved)
    return float(np.linalg.norm(scale * points @ rotation + shift - points - moved, axis=1).mean())


def by_piece(before: np.ndarray, after: np.ndarray, teeth: np.ndarray, flow: cv2.DISOpticalFlow) -> float | None:
    """The same with a similarity for each connected piece of teeth; None where none is large enough."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(teeth.astype(np.uint8))
    sizes = {k: int(stats[k, cv2.CC_STAT_AREA]) for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= FEWEST}
    if not sizes:
        return None
    return sum(n * residual(before, after, labels == k, flow) for k, n in sizes.items()) / sum(sizes.values())


def measure(pictures: Iterable[np.ndarray]) -> tuple[list[float], list[float]]:
    """Both residuals of every pair of consecutive pictures that both show enough teeth; those gone have not moved."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    mesh, whole, pieces, last = FaceMesh(max_faces=1), [], [], None
    for picture in pictures:
        scale = SIDE / min(picture.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        faces = mesh(picture)
        teeth = teeth_mask(picture, faces[0][INNER_LIPS, :2]) if faces else None
        if last is not None and teeth is not None and min(last[1].sum(), teeth.sum()) >= FEWEST:
            whole.append(residual(last[0], grey, last[1], flow))
            piece = by_piece(last[0], grey, last[1], flow)
            pieces += [] if piece is None else [piece]
        last = None if teeth is None else (grey, teeth)
    mesh.close()
    return whole, pieces


def cell(found: tuple[list[float], list[float]]) -> str:
    """Both means, and of how many pairs the first is."""
    return " / ".join(f"{np.mean(v):.2f}" if v else "–" for v in found) + f" ({len(found[0])})"


def edited(path: Path, emotion: str, count: int, options: EditOptions) -> Iterator[np.ndarray]:
    """The first frames of a clip, edited."""
    editor = ClipEditor(options, StageClock())
    editor.learn(islice(read_frames(path), count))
    for frame in islice(read_frames(path), count):
        yield editor.edit(frame, Timeline.constant(emotion, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--emotions", default="happy,surprised,fear,angry")
    parser.add_argument("--frames", type=int, default=100, help="of each clip, from its start (default 100)")
    args = parser.parse_args()
    names = args.emotions.split(",")
    print("| clip | source | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 2) + "|")
    for clip in args.clips:
        cells = [cell(measure(f.rgb for f in read_frames(clip) if f.index < args.frames))]
        cells += [cell(measure(edited(clip, name, args.frames, EditOptions()))) for name in names]
        print(f"| {clip.stem} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
