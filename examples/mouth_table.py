"""Mouths of people left out, hidden and restored: teeth completion beside simpler ways (docs/results.md).

    python examples/mouth_table.py --data ../shared/data

All figures are of luminance and of hidden pixels only. Sharpness is the variance of the Laplacian over that of the real
mouth: 1 is as sharp as real, whoever it may be.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from talkedit.data.collection import Collection
from talkedit.mouth.alignment import hidden
from talkedit.mouth.completion import complete, load_completion
from talkedit.texture.uv_map import LUMINANCE
from talkedit.train.faces import split
from talkedit.train.mouths import Mouths, load_mouths

Way = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # crop, mask, loop -> restored crop
SMALL = (24, 16)  # size at which lips and skin are compared


def telea(crop: np.ndarray, mask: np.ndarray, _: np.ndarray) -> np.ndarray:
    """OpenCV's inpainting (Telea 2004)."""
    return cv2.inpaint(crop, (mask > 0).astype(np.uint8), 3, cv2.INPAINT_TELEA)


class MeanMouth:
    """The mean of all training crops, as bright as the crop around the mouth.

    Args:
        mouths: of the training people.
    """

    def __init__(self, mouths: Mouths) -> None:
        self._mean = mouths.images.mean(0)

    def __call__(self, crop: np.ndarray, mask: np.ndarray, _: np.ndarray) -> np.ndarray:
        return transplant(self._mean, crop, mask)


class Nearest:
    """The training mouth with the most similar lips: their shape, and the small picture around them.

    Args:
        mouths: of the training people.
    """

    def __init__(self, mouths: Mouths) -> None:
        self._mouths = mouths
        self._rows = np.array(
            [self._describe(i, hidden(p), p) for i, p in zip(mouths.images, mouths.loops, strict=True)]
        )

    @staticmethod
    def _describe(crop: np.ndarray, mask: np.ndarray, loop: np.ndarray) -> np.ndarray:
        seen = (crop @ LUMINANCE) * (1 - mask)
        level = seen.sum() / max((1 - mask).sum(), 1)
        small = cv2.resize(np.where(mask > 0, level, seen).astype(np.float32), SMALL, interpolation=cv2.INTER_AREA)
        return np.r_[(small / level).ravel() * 3, loop.ravel() / 3].astype(np.float32)

    def __call__(self, crop: np.ndarray, mask: np.ndarray, loop: np.ndarray) -> np.ndarray:
        best = np.square(self._rows - self._describe(crop, mask, loop)).sum(1).argmin()
        return transplant(self._mouths.images[best].astype(np.float64), crop, mask)


def transplant(source: np.ndarray, crop: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The crop with another picture's inside, which is made as bright as the crop is around it."""
    gain = crop[mask == 0].mean() / max(source[mask == 0].mean(), 1)
    return np.where(mask[..., None] > 0, np.clip(source * gain, 0, 255), crop).astype(np.uint8)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(h, w) structural similarity of two luminance pictures 0..255 (Wang et al. 2004)."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return (2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))


def figures(real: np.ndarray, made: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """PSNR (dB), SSIM and variances of the Laplacian (made over real) under the mask."""
    a, b = ((x @ LUMINANCE).astype(np.float64) for x in (real, made))
    inside = mask > 0
    inner = cv2.erode(mask, np.ones((3, 3))) > 0
    error = max(float(np.square(a - b)[inside].mean()), 1e-3)
    fine = [cv2.Laplacian(x, cv2.CV_64F)[inner if inner.any() else inside].var() for x in (b, a)]
    return 10 * np.log10(255**2 / error), float(ssim(a, b)[inside].mean()), fine[0] / max(fine[1], 1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the open recipe's collection")
    parser.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks")
    parser.add_argument("--crops", type=Path, default=Path("build/mouths"), help="folder for mouth crops")
    parser.add_argument("--weights", type=Path, default=Path("checkpoints/teeth.safetensors"))
    parser.add_argument("--picture", type=Path, help="write some of them to this PNG")
    args = parser.parse_args()
    collection = Collection(args.data, args.cache)
    learned, left_out = split(load_mouths(collection, args.crops), collection)
    network = load_completion(args.weights)
    ways: dict[str, Way] = {
        "teeth completion": lambda crop, mask, _: complete(network, crop, mask),
        "Telea": telea,
        "mean mouth": MeanMouth(learned),
        "nearest mouth": Nearest(learned),
    }
    print("| people left out | mouths | way | PSNR | SSIM | sharpness |\n| --- | --- | --- | --- | --- | --- |")
    sheets = []
    for source in np.unique(left_out.sources):
        mouths = left_out.where(left_out.sources == source)
        masks = [hidden(loop) for loop in mouths.loops]
        shown = np.linspace(0, len(mouths) - 1, 6).astype(int)
        rows = [mouths.images[shown]]
        for name, way in ways.items():
            triples = list(zip(mouths.images, masks, mouths.loops, strict=True))
            made = [way(*triple) for triple in triples]
            found = [figures(crop, new, mask) for (crop, mask, _), new in zip(triples, made, strict=True)]
            psnr, same, _ = np.mean(found, axis=0)
            fine = np.median([f[2] for f in found])
            print(f"| {source} | {len(mouths)} | {name} | {psnr:.2f} dB | {same:.3f} | {fine:.2f} |", flush=True)
            rows.append([made[i] for i in shown])
        sheets += [np.hstack(list(row)) for row in rows]
    if args.picture:
        cv2.imwrite(str(args.picture), np.vstack(sheets)[..., ::-1])


if __name__ == "__main__":
    main()
