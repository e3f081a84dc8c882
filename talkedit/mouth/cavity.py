"""What lies behind the teeth: a dark that lips and teeth shade, and a tongue where no frame has shown what is there."""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.mouth.inside import Inside
from talkedit.mouth.rows import along_lips, coloured, depth, gap_of, middles, width_of

# How much less light there is under the upper row than at the lower lip, and from where to where that passes.
SHADE, SHADED = 0.3, (0.1, 0.8)
# How much lighter than the dark the tongue is; over which gaps, in eye distances, it comes out; and how much nearer to
# grey than the dark: it is as pink as lips at most.
TONGUE, SHOWS_TONGUE, GREYER = 1.6, (0.02, 0.07), 0.35
GREY = 0.4  # share of that where it has no colour of its own, and would be a grey plate
# Its mound, over half the mouth's width and over the gap: half its width, how deep its middle lies and how far it rises
# from there; how high it is at its sides; and over which of its height it comes out of the dark.
WIDE, DEEP, RISES, EDGE = 0.92, 1.2, 0.85, (0.0, 0.3)
# Light reaches so little of it at the back, from where to where; and so much less its sides and its groove, this wide.
BACK, LIT, SIDES, GROOVE = 0.45, (0.4, 1.1), 0.3, (0.22, 0.12)
# How uneven it is, and how coarsely, over the eye distance; and that pattern.
UNEVEN, CELLS = 0.045, (0.016, 0.006)
_BUMPS = np.random.default_rng(0).standard_normal((96, 192)).astype(np.float32)


def cavity(inside: Inside, target: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) float32 picture of it.

    Args:
        inside: of the source's mouth.
        target: (20, 2) inner lips after the edit, in the picture, pixels.
        shape: of the picture.
    """
    x, y = np.arange(shape[1], dtype=np.float32)[None], np.arange(shape[0], dtype=np.float32)[:, None]
    along, upper = along_lips(target), middles(target)[0]
    gap, half = max(gap_of(target), 1.0), max(width_of(target) / 2, 1.0)
    across, down = ((x - upper[0]) * along[0] + (y - upper[1]) * along[1]) / half, depth(x, y, target)
    light = 1 - np.float32(1 - inside.dark) * SHADE * (1 - smoothstep(down, *SHADED))
    out = inside.cavity * light.astype(np.float32)[..., None]
    # A lower row was seen with what lies behind it, or with nothing dark at all.
    known = inside.dark * (inside.shows if inside.parts[1].row is None else 1)
    shows = float(smoothstep(gap_of(target) / inside.eye, *SHOWS_TONGUE)) * (1 - known)
    if shows > 0:
        colour = inside.cavity + GREYER * (inside.cavity.mean() - inside.cavity)
        lit = _tongue(across, down) * _uneven(across * half / inside.eye, (down - 1) * gap / inside.eye)
        lit = cv2.GaussianBlur(lit, (0, 0), max(inside.blur, 0.3))  # no sharper than the frame is
        lighter = TONGUE * (GREY + (1 - GREY) * coloured(inside.cavity))
        out += colour.astype(np.float32) * np.float32(lighter * shows) * lit[..., None]
    return out


def _tongue(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(h, w) float32 0..1: the light that a tongue throws back.

    Args:
        across: (h, w) from the middle of the mouth, over half its width.
        down: (h, w) from the upper lip, over the gap.
    """
    side, up = np.abs(across / WIDE), np.maximum(DEEP - down, 0) / RISES
    height = 1 - np.cbrt(side**3 + up**3)
    depth, width = GROOVE
    groove = 1 - depth * np.exp(-((across / width) ** 2)) * smoothstep(height, 0.1, 0.4)
    lit = (BACK + (1 - BACK) * smoothstep(down, *LIT)) * (1 - SIDES * side**2)
    return (smoothstep(height, *EDGE) * lit * groove).astype(np.float32)


def _uneven(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(h, w) float32 around 1: fine bumps, the same in every frame, at (h, w) places over the eye distance."""
    middle = np.float32(_BUMPS.shape[::-1]) / 2
    maps = ([(v / size + m).astype(np.float32) for v, m in zip((x, y), middle, strict=True)] for size in CELLS)
    return 1 + np.float32(UNEVEN) * sum(
        cv2.remap(_BUMPS, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP) for at in maps
    )
