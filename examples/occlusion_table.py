"""Things drawn before real faces: are they found, how well, and does an edit leave them alone?

    python examples/occlusion_table.py --clips ../shared/data/expressive/lp_d0.mp4 ../shared/data/expressive/lp_d19.mp4

Of every clip the first frames are taken as they are, and with each kind of thing before the face for their middle half
(a microphone: all the time). One line a clip and kind: frames that show it and those of them it was found on, the
overlap (intersection over union) of found and true texels on those frames, frames without it on which something was
found all the same, and the share of its pixels that edits change by at most three levels, with and without the mask.
With ``--still`` the first frame of each clip stands alone; one line a kind of thing for all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from talkedit.demo.occluders import KINDS, Occluder
from talkedit.editor import ClipEditor
from talkedit.emotions import Timeline
from talkedit.facemodel.load import load_face_model
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.track.measures import bounding_box
from talkedit.track.occluders import FACING
from talkedit.track.texels import Texels
from talkedit.types import Frame
from talkedit.video.reader import read_frames

# A thing is there if it hides so many texels of the face.
THERE = 30
# Every so many frames an edit is made.
EDITED = 9


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--emotions", default="happy,surprised,angry")
    parser.add_argument("--bare", action="store_true", help="whole clips as they are: frames on which a thing is found")
    parser.add_argument("--still", action="store_true", help="single pictures: the first frame of each clip")
    args = parser.parse_args()
    if args.still:
        print("thing | pictures | found | overlap")
        for kind in args.kinds:
            print(kind, "|", _found_on_stills(args.clips, kind, args.seeds), flush=True)
        return
    if args.bare:
        for path in args.clips:
            print(path.stem, "|", _found_on_bare(path), flush=True)
        return
    texels = Texels(load_face_model("open"))
    print("clip | thing | frames | found | overlap | false | pixels kept | without the mask")
    for path in args.clips:
        frames = list(islice(read_frames(path), args.frames))
        face = bounding_box(next(_tracked(frames[:1]))[1])
        for kind in args.kinds:
            for seed in args.seeds:
                thing = Occluder(kind, face, len(frames) // 4, 3 * len(frames) // 4, seed)
                print(path.stem, "|", kind, "|", _measure(frames, thing, texels, args.emotions.split(",")), flush=True)


def _found_on_bare(path: Path) -> str:
    clip, count = ClipEditor(EditOptions(), StageClock()), 0
    for frame in read_frames(path):
        clip.observe(frame)
        count += 1
    clip.solve()
    return f"{sum(clip._occluders.at(i) is not None for i in range(count))} of {count}"


def _found_on_stills(paths: list[Path], kind: str, seeds: list[int]) -> str:
    texels, overlaps, count = Texels(load_face_model("open")), [], 0
    for path in paths:
        frame = next(iter(read_frames(path)))
        face = bounding_box(next(_tracked([frame]))[1])
        for seed in seeds:
            picture, cover = Occluder(kind, face, -20, 40, seed).draw(frame.rgb, 0)
            clip, landmarks = next(_tracked([Frame(0, picture)]))
            if landmarks is None:
                continue
            clip.solve()
            hidden, seen = _hidden(cover, landmarks, texels)
            if (hidden & seen).sum() >= THERE:
                count += 1
                mask = clip._occluders.at(0)
                overlaps += [] if mask is None else [_overlap(mask[texels.inside], hidden, seen)]
    return f"{count} | {len(overlaps)} | {np.mean(overlaps):.2f}"


def _hidden(cover: np.ndarray, landmarks: np.ndarray, texels: Texels) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool which texels a thing hides, and which face the viewer."""
    hides = texels.sample(np.repeat((255 * cover).astype(np.uint8)[..., None], 3, 2), landmarks)[:, 0]
    return hides > 127, texels.facing(landmarks) > FACING


def _overlap(one: np.ndarray, other: np.ndarray, seen: np.ndarray) -> float:
    return float((one & other & seen).sum() / ((one | other) & seen).sum())


def _tracked(frames: list[Frame]) -> Iterator[tuple[ClipEditor, np.ndarray]]:
    clip = ClipEditor(EditOptions(), StageClock())
    for frame in frames:
        clip.observe(frame)
    for frame in frames:
        yield clip, clip._store.landmarks(frame.index)


def _measure(frames: list[Frame], thing: Occluder, texels: Texels, emotions: list[str]) -> str:
    drawn = [thing.draw(frame.rgb, frame.index) for frame in frames]
    shown = [Frame(f.index, picture, f.pts, f.time_base) for f, (picture, _) in zip(frames, drawn, strict=True)]
    clip = ClipEditor(EditOptions(), StageClock())
    clip.learn(shown)
    there = found = absent = false = 0
    overlaps, looked = [], []
    for frame, (_, cover) in zip(shown, drawn, strict=True):
        landmarks = clip._store.landmarks(frame.index)
        if landmarks is None:
            continue
        hidden, seen = _hidden(cover, landmarks, texels)
        mask = clip._occluders.at(frame.index)
        if not _hidden(np.ceil(cover), landmarks, texels)[0].any():  # not even by its faintest edge
            absent, false = absent + 1, false + (mask is not None)
        if (seen & hidden).sum() < THERE:
            continue
        there, found = there + 1, found + (mask is not None)
        if mask is not None:
            overlaps.append(_overlap(mask[texels.inside], hidden, seen))
        if frame.index % EDITED == 0:
            looked.append((frame, cover > 0.9))
    kept = [_kept(clip, *one, emotions) for one in looked]
    clip._occluders._found.clear()
    clip._last_frame = None
    bare = [_kept(clip, *one, emotions) for one in looked]
    shares = " | ".join(f"{100 * np.mean(one):.2f} %" if one else "-" for one in (kept, bare))
    overlap = f"{np.mean(overlaps):.2f}" if overlaps else "-"
    return f"{there} | {found} | {overlap} | {false} of {absent} | {shares}"


def _kept(clip: ClipEditor, frame: Frame, thing: np.ndarray, emotions: list[str]) -> float:
    """Share of a thing's pixels that an edit changes by at most three levels, the mean over the emotions."""
    shares = []
    for emotion in emotions:
        edited = clip.edit(frame, Timeline.constant(emotion, 1.0))
        shares.append((np.abs(edited.astype(int) - frame.rgb).max(-1)[thing] <= 3).mean())
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
