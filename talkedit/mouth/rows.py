"""One row of teeth: how it is told from the other and from lips, and its picture, placed and lit as in a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep

UPPER = slice(3, 8)  # the middle of the upper inner lip in the loop's order (corner, upper lip, corner, lower lip)
LOWER = slice(13, 18)
MIDDLE = 0.12  # half the width of the middle of a mouth, in eye distances
SURE = 0.015  # how surely a row is placed, in eye distances
SPLIT_SOFT = 3.0  # pixels over which one row passes into the other
# Teeth are less red than lips and skin, and not much darker than skin.
_PALE, _BRIGHT = (0.42, 0.22), (0.35, 0.7)
NOISE = 60.0  # grey levels that two pictures of the same teeth differ by, over the pixels that differ alike
ASTRAY = 0.012  # how far the pose puts a row beside its place, in eye distances
_EVENLY = np.full((1, 3), 1 / 3, np.float32)
_RING = 1.75  # where the skin around the mouth is read: inner lips enlarged by so much


def gap_of(loop: np.ndarray) -> float:
    """How far the middles of the (20, 2) inner lips lie apart."""
    return float(np.linalg.norm(loop[UPPER].mean(0) - loop[LOWER].mean(0)))


def depth(x: np.ndarray, y: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Position between the lips: 0 at the upper inner lip's middle, 1 at the lower's."""
    upper, lower = loop[UPPER].mean(0), loop[LOWER].mean(0)
    axis = lower - upper
    length = max(float(np.linalg.norm(axis)), 1.0)
    axis = axis / length
    return (((x - upper[0]) * axis[0] + (y - upper[1]) * axis[1]) / length).astype(np.float32)


def beside_lips(x: np.ndarray, y: np.ndarray, loop: np.ndarray, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) each, 0..1: how near the upper and the lower lip a place between them is; 1 on the lip and behind it.

    Args:
        x, y: (h, w) positions.
        loop: (20, 2) inner lips.
        soft: distance from the lip at which nothing is left, pixels.
    """
    axis = loop[10] - loop[0]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-6)
    u = (x - loop[0, 0]) * axis[0] + (y - loop[0, 1]) * axis[1]
    v = (y - loop[0, 1]) * axis[0] - (x - loop[0, 0]) * axis[1]
    near = []
    for lip, side in ((np.arange(11), 1.0), (np.r_[0, np.arange(19, 9, -1)], -1.0)):
        points = loop[lip] - loop[0]
        along = np.maximum.accumulate(points @ axis + np.arange(len(lip)) * 1e-4)
        across = np.interp(u, along, points[:, 1] * axis[0] - points[:, 0] * axis[1])
        near.append(np.clip(1 - side * (v - across) / soft, 0, 1).astype(np.float32))
    return near[0], near[1]


def split(
    area: np.ndarray, known: np.ndarray, between: np.ndarray, expected: float | None = None, sure: float = 0.2
) -> float:
    """Depth of the dark line between the rows of teeth; late where all is bright, as upper teeth show most.

    A soft minimum of the brightness over depth, so that it does not jump from frame to frame.

    Args:
        area: (h, w, 3) picture.
        known: (h, w) 0..1, where it shows the mouth's inside.
        between: (h, w) depth of each pixel.
        expected: depth at which the upper row should end, where that is known.
        sure: how far from there it may really end.
    """
    inside = known > 0.5
    if inside.sum() < 12:
        return 0.5 if expected is None else expected
    level = area[inside].astype(np.float32).mean(1)
    bins = np.linspace(0.15, 0.95, 9)
    near = np.exp(-0.5 * ((between[inside][:, None] - bins) / 0.08) ** 2)
    profile = (near * level[:, None]).sum(0) / np.maximum(near.sum(0), 1e-3)
    contrast = profile / max(float(profile.max()), 1.0)
    weight = np.exp(-8 * contrast) * np.linspace(0.5, 1.5, len(bins))
    if expected is None:
        return float((weight * bins).sum() / weight.sum())
    weight = weight / weight.max() * np.exp(-0.5 * ((bins - expected) / sure) ** 2)
    # Where no dark line is found near, the expectation counts.
    return float(((weight * bins).sum() + 0.1 * expected) / (weight.sum() + 0.1))


def row_end(teeth: np.ndarray, between: np.ndarray, middle: np.ndarray) -> float | None:
    """Depth at which an upper row ends: where its teeth lie lowest, but for a few pixels.

    Args:
        teeth: (h, w) 0..1.
        between: (h, w) depth of each pixel.
        middle: (h, w) bool, around the middle of the mouth.

    Returns:
        the depth, None where hardly any teeth are.
    """
    found = between[middle & (teeth > 0.5)]
    return float(np.percentile(found, 92)) if len(found) > 8 else None


def brightness(picture: np.ndarray) -> np.ndarray:
    """(h, w) float32 mean of the channels of a (h, w, 3) picture; NumPy's own mean over so short an axis is slow."""
    return cv2.transform(np.ascontiguousarray(picture, np.float32), _EVENLY)


def toothness(picture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(h, w) float32 0..1: how much a colour looks like teeth beside skin of the colour ``light`` (3,)."""
    rgb = picture.astype(np.float32)
    red = (rgb[..., 0] - rgb[..., 2]) / np.maximum(rgb[..., 0], 8)
    skin_red = (light[0] - light[2]) / max(float(light[0]), 8)
    # Tinted light colours skin and teeth alike.
    limits = np.minimum(_PALE, max(float(skin_red), 0.12) * np.array([1.0, 0.6]))
    pale = 1 - smoothstep(red, limits[1], limits[0])
    return pale * smoothstep(brightness(rgb) / max(float(light.mean()), 8), *_BRIGHT)


def skin_around(frame: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(3,) float32 mean colour of the skin around the mouth.

    Args:
        frame: (H, W, 3) uint8.
        loop: (20, 2) inner lips, pixels.
    """
    centre, width = loop.mean(0), float(np.linalg.norm(loop[10] - loop[0]))
    out = loop - centre
    # Away from the lips in every direction, also from those of a shut mouth.
    out = out * _RING + out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6) * 0.2 * width
    at = np.round(centre + out).astype(int)
    at = np.clip(at, 0, [frame.shape[1] - 1, frame.shape[0] - 1])
    return np.maximum(np.median(frame[at[:, 1], at[:, 0]].astype(np.float32), axis=0), 4)


@dataclass(frozen=True)
class Row:
    """One row of teeth in a picture of its own.

    Attributes:
        picture: (h, w, 3) uint8.
        teeth: (h, w) float32 0..1, where teeth were seen.
        light: (3,) float32 colour of the skin around the mouth in the same light.
        place: (2, 3) float32 affine map from the frame to this picture.
    """

    picture: np.ndarray
    teeth: np.ndarray
    light: np.ndarray
    place: np.ndarray

    def sample(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(h, w, 3) float32 colours and (h, w) how far they are teeth, at (h, w) positions in the frame."""
        u, v = self.positions(x, y)
        colour = cv2.remap(self.picture, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return colour.astype(np.float32), cv2.remap(self.teeth, u, v, cv2.INTER_LINEAR)

    def positions(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) float32 columns and rows of the picture at (h, w) positions in the frame."""
        (a, b, c), (d, e, f) = self.place.astype(np.float32)
        return a * x + b * y + c, d * x + e * y + f

    def at(self, place: np.ndarray) -> Row:
        """The row in a frame, given the (2, 3) map from the frame to the pictures of its grid."""
        moved = place.copy()
        moved[:, 2] += self.place[:, 2]
        return replace(self, place=moved)

    def registered(self, area: np.ndarray, seen: np.ndarray, x: np.ndarray, y: np.ndarray, eye: float) -> Row:
        """The row moved onto what a frame shows of it (Lucas and Kanade 1981, translation only).

        The less the frame shows, the more the row stays where the head's pose puts it.

        Args:
            area: (h, w) float32 brightness of the frame.
            seen: (h, w) 0..1, where it shows this row.
            x, y: (h, w) positions in the frame.
            eye: outer-eye distance, pixels.
        """
        moved, prior = np.zeros(2), NOISE**2 / (ASTRAY * eye) ** 2
        row, grey = self, brightness(self.picture)
        for _ in range(3):
            u, v = row.positions(x, y)
            weight = seen * cv2.remap(self.teeth, u, v, cv2.INTER_LINEAR)
            total = float(weight.sum())
            if total < 8:
                return self
            level = cv2.remap(grey, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            here, there = (float((weight * v).sum()) / total for v in (area, level))
            down, right = np.gradient(level)
            wrong = weight * (area * there / max(here, 1.0) - level)
            gradient = np.stack([right.ravel(), down.ravel()])
            normal = (gradient * weight.ravel()) @ gradient.T + prior * np.eye(2)
            # One step of Gauss-Newton on the mismatch and on the distance from where the pose puts the row.
            moved = moved + np.linalg.solve(normal, -gradient @ wrong.ravel() - prior * moved)
            place = self.place.copy()
            place[:, 2] -= place[:, :2] @ moved
            row = replace(self, place=place)
        return row if np.abs(moved).max() < 4 * ASTRAY * eye else self
