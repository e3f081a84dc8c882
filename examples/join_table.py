"""Measures the join between edit and source, as the table in docs/results.md.

    python examples/join_table.py --frames 45 CLIPS

Border: how much the mean gradient over a band of three pixels along the mesh's outline differs from the source's, per
cent. Ring: between the face's outline and the mesh's, the mean temporal difference of (result - source) over the
source's own, and the share of frames where it is larger. Rims (only where glasses are worn): how far an edit moves the
pixels of the rims, mean and 95th percentile, and how much of that bends them (what no linear change along pieces of a
fifth of the eye distance explains, 95th percentile), all in pixels.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from talkedit.editor import ClipEditor
from talkedit.emotions import EMOTIONS, Timeline
from talkedit.options import EditOptions
from talkedit.render import attribute_map
from talkedit.report import StageClock
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.topology import LEFT_EYE, RIGHT_EYE
from talkedit.video.reader import read_frames

# Rims are lines at least this much darker than what lies on both sides of them, at least this long, and this far from
# the lids; and pieces are fitted on their own. All but the first over the eye distance.
DARKER, LONG, AWAY, PIECE = 25, 0.4, 0.07, 0.2


def border_and_ring(editor: ClipEditor, mesh: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) bool each: a band along the mesh's outline, and the skirt between face and outline."""
    skirt, hit = attribute_map(
        mesh.astype(np.float32), editor.model.triangles, editor.model.skirt[:, None], shape[0], shape[1]
    )
    outline, _ = cv2.findContours((hit >= 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    band = np.zeros(shape[:2], np.uint8)
    cv2.drawContours(band, outline, -1, 1, 3)
    band[[0, 1, 2, -3, -2, -1]] = band[:, [0, 1, 2, -3, -2, -1]] = 0
    return band > 0, (hit >= 0) & (skirt[..., 0] < 0.97)


def gradient(rgb: np.ndarray) -> np.ndarray:
    """(H, W) length of the luminance gradient."""
    level = rgb.astype(np.float32) @ LUMINANCE
    return np.hypot(cv2.Sobel(level, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(level, cv2.CV_32F, 0, 1, scale=1 / 8))


def rims(rgb: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(P, 2) int pixels x, y of the rims of glasses around the eyes of a (V, 3) mesh in a picture."""
    eye = float(np.linalg.norm(mesh[33, :2] - mesh[263, :2]))
    level = (rgb.astype(np.float32) @ LUMINANCE).astype(np.uint8)
    dark = cv2.morphologyEx(level, cv2.MORPH_BLACKHAT, np.ones((9, 9), np.uint8)) > DARKER
    near, lids = np.zeros_like(level), np.zeros_like(level)
    low, high = mesh[[70, 300, 117, 346], :2].min(0), mesh[[70, 300, 117, 346], :2].max(0)
    corners = np.round([low - 0.12 * eye, high + 0.12 * eye]).astype(int).tolist()
    cv2.rectangle(near, *corners, 1, -1)
    for outline in (RIGHT_EYE, LEFT_EYE):
        cv2.fillPoly(lids, [np.round(mesh[outline, :2]).astype(np.int32)], 1)
    side = 2 * round(AWAY * eye) + 1
    lids = cv2.dilate(lids, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    _, label, stats, _ = cv2.connectedComponentsWithStats((dark & (near > 0) & (lids == 0)).astype(np.uint8))
    long = stats[:, cv2.CC_STAT_WIDTH] > LONG * eye
    long[0] = False
    y, x = np.nonzero(long[label])
    return np.stack([x, y], 1)


def rim_movement(editor: ClipEditor, rgb: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(P, 2): how far each pixel of the rims moves, and what of it bends its piece, pixels."""
    at = rims(rgb, source)
    change = (target - source)[:, :2].astype(np.float32)
    field, _ = attribute_map(source.astype(np.float32), editor.model.triangles, change, rgb.shape[0], rgb.shape[1])
    moved = field[at[:, 1], at[:, 0]].astype(np.float64)
    cells = (at // max(1.0, PIECE * np.linalg.norm(source[33, :2] - source[263, :2]))).astype(int) @ [10_000, 1]
    bent = np.zeros_like(moved)
    for cell in np.unique(cells):
        here = cells == cell
        plane = np.c_[at[here], np.ones(here.sum())]
        bent[here] = moved[here] - plane @ np.linalg.lstsq(plane, moved[here], rcond=None)[0]
    return np.stack([np.linalg.norm(moved, axis=1), np.linalg.norm(bent, axis=1)], 1)


def measure(clip: Path, limit: int) -> None:
    """Prints a row for each emotion."""
    editor, frames = ClipEditor(EditOptions(), StageClock()), list(islice(read_frames(clip), limit))
    editor.learn(frames)
    glasses = editor.metrics()["glasses"] > 0.5
    for emotion in EMOTIONS:
        timeline = Timeline.constant(emotion, 1.0)
        edges, flicker, grown, before = [], [], [], None
        for frame in frames:
            meshes = editor.meshes(frame, timeline)
            if meshes is None:
                before = None
                continue
            result = editor.edit(frame, timeline)
            band, ring = border_and_ring(editor, meshes[0], frame.rgb.shape)
            edges.append((gradient(result)[band].mean(), gradient(frame.rgb)[band].mean()))
            change = result.astype(np.int16) - frame.rgb
            if before is not None:
                both = ring & before[2]
                own = np.abs(frame.rgb.astype(np.int16) - before[1])[both].mean()
                flicker.append((np.abs(change - before[0])[both].mean(), own))
            before = change, frame.rgb, ring
            if glasses:
                grown.append(rim_movement(editor, frame.rgb, *meshes))
        r, s = np.array(edges).T
        f, own = np.array(flicker).T
        border = 100 * np.abs(r.mean() / s.mean() - 1)
        rim = "–"
        if glasses:
            way, bent = np.concatenate(grown).T
            rim = f"{way.mean():.2f}, {np.percentile(way, 95):.2f}, {np.percentile(bent, 95):.2f}"
        ring = f"{f.mean() / own.mean():.2f} | {np.mean(f > own):.2f}"
        print(f"| {clip.stem} | {emotion} | {border:.2f} | {ring} | {rim} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=1_000_000, help="only the first N frames")
    arguments = parser.parse_args()
    print("| clip | emotion | border % | ring | frames over | rims px |\n| --- | --- | --- | --- | --- | --- |")
    for clip in arguments.clips:
        measure(clip, arguments.frames)


if __name__ == "__main__":
    main()
