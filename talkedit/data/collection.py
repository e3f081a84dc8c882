"""The open recipe's training collection: which files there are, who is on them, in which emotion.

Layout of the folder: ``mead/`` (clips), ``london/NNN_{neutral,smiling}.jpg``, ``expressive/`` (clips), ``portraits/``
(stills), ``faces_open.zip`` + ``faces_open.csv``. ``talking/`` and ``robustness/`` are for testing and never listed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from talkedit.data.source import read_member
from talkedit.errors import InputError
from talkedit.track.facemesh import FaceDetector, FaceMesh, window_around

ARCHIVE = "faces_open.zip"
# One woman acts two of the clips, and one clip shows a person of the main set.
_SAME_PERSON = {"eamm_fear": "eamm_woman", "eamm_surprised": "eamm_woman", "eamm_sad": "M030"}


@dataclass(frozen=True)
class Sample:
    """One file (a clip or a still).

    Attributes:
        key: unique name.
        source: mead, london, expressive, portraits or faces_open.
        person: the person's name; unique over sources.
        emotion: label, or None where there is none.
        clip: True for videos.
        colour: False for grey pictures.
    """

    key: str
    source: str
    person: str
    emotion: str | None
    clip: bool
    colour: bool = True


def list_samples(root: Path) -> list[Sample]:
    """All samples under ``root``, sorted by key.

    Raises:
        InputError: none of the expected folders is there.
    """
    out: list[Sample] = []
    for p in sorted(root.glob("mead/*.mp4")):
        full = re.match(r"([MW]\d+)_(?:front_)?(?:level_\d_)?([a-z]+)", p.stem)
        if full:
            out.append(Sample(f"mead/{p.name}", "mead", full[1], full[2], True))
        else:
            person = _SAME_PERSON.get(p.stem, p.stem)
            out.append(Sample(f"mead/{p.name}", "mead", person, p.stem.split("_")[1], True))
    for p in sorted(root.glob("london/*.jpg")):
        number, label = p.stem.split("_")
        emotion = {"neutral": "neutral", "smiling": "happy"}[label]
        out.append(Sample(f"london/{p.name}", "london", f"london_{number}", emotion, False))
    out += [
        Sample(f"expressive/{p.name}", "expressive", p.stem, None, True) for p in sorted(root.glob("expressive/*.mp4"))
    ]
    out += [Sample(f"portraits/{p.name}", "portraits", p.stem, None, False) for p in sorted(root.glob("portraits/*.*"))]
    if (root / "faces_open.csv").exists():
        with open(root / "faces_open.csv", newline="") as f:
            for row in csv.DictReader(f):
                known = row["person"] != "-1"
                person = f"open_{row['person']}" if known else f"open_file_{row['file']}"
                out.append(
                    Sample(
                        f"faces_open/{row['file']}", "faces_open", person, row["emotion"], False, row["colour"] == "1"
                    )
                )
    if not out:
        raise InputError(f"no training data under {root} (expected mead/, london/, expressive/ or faces_open.zip)")
    return out


class Collection:
    """Pictures and cached landmarks of the samples under ``root``.

    Args:
        root: folder as described above.
        cache: folder for tracked landmarks (npz files of ours), reused by later runs.
    """

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self.samples = list_samples(root)

    def frames(self, sample: Sample) -> Iterator[np.ndarray]:
        """RGB pictures (H, W, 3) uint8 of a sample."""
        if sample.clip:
            import av

            with av.open(str(self.root / sample.key)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="rgb24")
            return
        if sample.source == "faces_open":
            data = np.frombuffer(read_member(self.root / ARCHIVE, Path(sample.key).name), np.uint8)
        else:
            data = np.fromfile(self.root / sample.key, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture is not None:
            yield np.ascontiguousarray(picture[:, :, ::-1])

    def landmarks(self) -> dict[str, np.ndarray]:
        """key → (T, 478, 3) float32 pixels, NaN rows where no face was found; tracked once, then cached."""
        self.cache.mkdir(parents=True, exist_ok=True)
        out: dict[str, np.ndarray] = {}
        for source in sorted({s.source for s in self.samples}):
            file = self.cache / f"landmarks_{source}.npz"
            if not file.exists():
                self._track([s for s in self.samples if s.source == source], file)
            with np.load(file, allow_pickle=False) as stored:
                flat, counts, keys = stored["landmarks"], stored["counts"], stored["keys"].tolist()
            ends = np.cumsum(counts)
            out.update({k: flat[e - c : e] for k, c, e in zip(keys, counts, ends, strict=True)})
        return out

    def _track(self, samples: list[Sample], file: Path) -> None:
        still, detect = FaceMesh(still=True, max_faces=1), FaceDetector()
        missing = np.full((478, 3), np.nan, np.float32)
        rows, counts = [], []
        for s in samples:
            mesh = FaceMesh(max_faces=1) if s.clip else still
            seq = []
            for picture in self.frames(s):
                faces = mesh(picture)
                if not faces and not s.clip and (boxes := detect(picture)):
                    faces = mesh(picture, window_around(boxes[0], picture.shape))
                seq.append(faces[0] if faces else missing)
            rows += seq
            counts.append(len(seq))
            if s.clip:
                mesh.close()
        keys = np.array([s.key for s in samples])
        np.savez(file, landmarks=np.array(rows, np.float32), counts=np.array(counts), keys=keys)
