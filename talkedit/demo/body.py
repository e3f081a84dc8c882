"""Everything of the speaker that the face model does not have: back of the head, neck, jumper, mouth, scalp.

All in the head's frame at rest, decimetres, y up, z towards the viewer. Sizes are ordinary anatomy; what touches the
face is built from the face's own border, so that it fits every identity.
"""

from __future__ import annotations

import numpy as np

from talkedit.demo.mesh import BODY, CAVITY, CLOTH, SCALP, TEETH, TONGUE, Part, grid_triangles, make_part

NECK_PIVOT = np.array([0.0, -0.95, -0.70], np.float32)
JAW_PIVOT = np.array([0.0, 0.0, -0.62], np.float32)
SCALP_CENTRE = np.array([0.0, 0.40, -0.70])
SCALP_RADII = np.array([0.775, 0.90, 0.92])
# Half widths of the teeth in decimetres from the middle outwards, and how far each one's edge hangs down.
_UPPER = ((0.043, 0.0), (0.033, -0.008), (0.038, 0.002), (0.036, -0.008), (0.036, -0.012), (0.05, -0.02), (0.05, -0.02))
_LOWER = ((0.028, 0.0), (0.030, 0.0), (0.034, 0.004), (0.036, 0.0), (0.036, -0.004), (0.05, -0.01), (0.05, -0.01))


def smoothstep(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between (``low`` may be the larger: then it falls)."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def back_of_head(
    border: np.ndarray, colour: np.ndarray, neck_colour: np.ndarray, rings: int = 10
) -> tuple[Part, np.ndarray]:
    """The sheet that runs from the face's outline back to the neck and under the hair.

    Args:
        border: (N, 3) outline of the face, counter-clockwise seen from the front.
        colour: (N, 3) albedo there.
        neck_colour: (3,).

    Returns:
        The part, (rings · N) vertices ring after ring, and (rings,) how much of the outline's motion each ring takes.
    """
    below = smoothstep(border[:, 1], 0.1, -0.55)[:, None]
    x, y, _ = border.T
    upper = np.stack([0.82 * x, 0.9 * y + 0.03, np.full_like(x, -1.15)], 1)
    lower = np.stack([0.66 * x, 0.94 * y, np.full_like(x, -0.82)], 1)
    target = (1 - below) * upper + below * lower
    outward = np.stack([x, y - 0.1, np.zeros_like(x)], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    s = (np.arange(rings) / (rings - 1))[:, None, None]
    # A little outwards before it turns back: the outline must not become a sharp edge.
    bulge = 0.012 * np.sin(np.pi * np.minimum(s * 1.6, 1)) * (1 - below)
    vertices = border + s * (target - border) + bulge * outward
    tint = np.clip(s * 1.6, 0, 1)
    colours = (1 - tint) * colour + tint * neck_colour
    n = len(border)
    part = make_part(vertices.reshape(-1, 3), grid_triangles(rings, n, closed=True), colours.reshape(-1, 3), BODY)
    return part, (1 - smoothstep(s[:, 0, 0], 0.0, 0.8)).astype(np.float32)


def _around(columns: int) -> np.ndarray:
    """(columns,) radians from the front; they begin at the back, where nobody sees the seam of a pattern."""
    return np.pi + np.linspace(0, 2 * np.pi, columns, endpoint=False)


def _lathe(profile: np.ndarray, columns: int, power: float) -> np.ndarray:
    """(rows, columns, 3) rings around the y axis; a row of ``profile`` is (y, half width, half depth, centre z)."""
    angle = _around(columns)
    c, s = np.cos(angle), np.sin(angle)
    c, s = np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)
    y, w, d, z = (profile[:, i, None] for i in range(4))
    return np.stack([w * s, np.broadcast_to(y, (len(profile), columns)), z + d * c], -1)


def _resample(profile: list[tuple[float, ...]], rows: int) -> np.ndarray:
    from scipy.interpolate import PchipInterpolator

    p = np.array(profile)
    return PchipInterpolator(np.linspace(0, 1, len(p)), p)(np.linspace(0, 1, rows))


def neck(colour: np.ndarray, chin: float) -> Part:
    """A tube from inside the head to inside the jumper; ``chin`` is the height of the chin's lowest point."""
    drop = chin + 0.76
    profile = _resample(
        [
            (-0.45 + drop, 0.44, 0.40, -0.72),
            (-0.80 + drop, 0.42, 0.41, -0.70),
            (-1.05, 0.415, 0.42, -0.70),
            (-1.25, 0.48, 0.45, -0.72),
            (-1.45, 0.66, 0.52, -0.76),
        ],
        28,
    )
    rings = _lathe(profile, 72, 2.0)
    angle = _around(72)
    # The two muscles from behind the ears to the breastbone, and the hollow between them.
    t = np.linspace(0, 1, 28)[:, None]
    side = 1.05 - 0.75 * t
    muscle = sum(np.exp(-((((angle - sign * side + np.pi) % (2 * np.pi) - np.pi) / 0.17) ** 2)) for sign in (-1, 1))
    hollow = np.exp(-(((angle + np.pi) % (2 * np.pi) - np.pi) ** 2) / 0.05) * smoothstep(t, 0.6, 1)
    swell = 0.022 * muscle - 0.03 * hollow
    radial = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)
    rings = rings + swell[..., None] * radial
    y = rings[..., 1].ravel()
    return make_part(
        rings.reshape(-1, 3), grid_triangles(28, 72, closed=True), colour, BODY, head=smoothstep(y, -1.3, -0.75)
    )


def jumper(colour: np.ndarray) -> list[Part]:
    """Shoulders and a ribbed round collar; uv counts stitches."""
    body = _resample(
        [
            (-1.12, 0.50, 0.47, -0.73),
            (-1.20, 0.57, 0.51, -0.74),
            (-1.27, 0.78, 0.55, -0.76),
            (-1.36, 1.08, 0.60, -0.78),
            (-1.48, 1.40, 0.66, -0.80),
            (-1.68, 1.62, 0.72, -0.80),
            (-2.00, 1.72, 0.78, -0.80),
            (-2.50, 1.78, 0.84, -0.80),
        ],
        60,
    )
    columns = 160
    rings = _lathe(body, columns, 2.25)
    angle = _around(columns)
    t = np.linspace(0, 1, 60)[:, None]
    # Soft folds that run from the collar to the armpits.
    folds = 0.012 * np.sin(7 * angle + 9 * t) * smoothstep(t, 0.35, 0.8) + 0.010 * np.sin(3 * angle - 14 * t)
    rings[..., 2] += folds
    # A round neckline hangs lower in front.
    rings[..., 1] -= 0.10 * np.cos(angle) * (1 - smoothstep(t, 0.0, 0.45))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(body[:, :2], axis=0), axis=1))])
    uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi) * 150, length[:, None] * 26), -1).reshape(-1, 2)
    parts = [make_part(rings.reshape(-1, 3), grid_triangles(60, columns, closed=True), colour, CLOTH, uv, head=0.0)]
    tube = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    bead = 0.062 * np.stack([np.cos(tube), 1.25 * np.sin(tube)], 1)
    ring = np.stack([0.515 * np.sin(angle), -1.125 - 0.10 * np.cos(angle), -0.73 + 0.485 * np.cos(angle)], 1)
    radial = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    collar = ring[:, None] + bead[:, 0, None] * radial[:, None] + bead[:, 1, None] * np.array([0, 1, 0])
    uv = np.stack(np.broadcast_arrays(angle[:, None] / (2 * np.pi) * 96, -1 - tube / 10), -1).reshape(-1, 2)
    rows = np.concatenate([collar, collar[:1]]).reshape(-1, 3)
    triangles = grid_triangles(columns + 1, 14, closed=True)
    uv = np.concatenate([uv, uv[:14] + np.array([96, 0])])  # the ring is closed by a copy of its first row
    parts.append(make_part(rows, triangles, colour * 0.96, CLOTH, uv, head=0.0))
    return parts


def mouth_bag(loop: np.ndarray, upper: np.ndarray, rings: int = 10) -> tuple[Part, np.ndarray]:
    """The dark inside of the mouth: a bag sewn to the lips' inner border.

    Args:
        loop: (N, 3) inner border of the lips, with the face on the left.
        upper: (N,) 1 on the upper lip, -1 on the lower, between them at the corners.

    Returns:
        The part (uv[0] = depth 0..1) and (rings,) how much of the border's motion each ring takes.
    """
    s = (np.arange(rings) / (rings - 1))[:, None, None]
    middle = loop.mean(0)
    back = middle + (loop - middle) * np.array([0.9, 0.2, 0.4]) + np.array([0, 0, -0.62])
    # Wide right behind the lips, so that the bag stays clear of the teeth.
    swell = smoothstep(s, 0, 0.3) * (1.25 - s) * upper[:, None] * np.array([0, 0.17, 0])
    vertices = (loop + s**0.8 * (back - loop) + swell).reshape(-1, 3)
    n = len(loop)
    uv = np.stack([np.repeat(s[:, 0, 0], n), np.zeros(rings * n)], 1)
    colour = np.array([0.30, 0.055, 0.05])
    part = make_part(vertices, grid_triangles(rings, n, closed=True), colour, CAVITY, uv)
    return part, (1 - smoothstep(s[:, 0, 0], 0, 0.9)).astype(np.float32)


def _tooth_row(teeth: tuple[tuple[float, float], ...], edge: float, front: float, height: float, up: float) -> Part:
    """One arch of teeth with its gum.

    Args:
        teeth: (half width, rise of the edge) from the middle outwards.
        edge: y of the biting edge of the middle teeth.
        front: z of the middle teeth.
        height: length of a crown.
        up: +1 for the upper row, -1 for the lower.
    """
    bounds = np.cumsum([0.0, *(2 * w for w, _ in teeth)])
    columns, rows = 220, 22
    arc = np.linspace(-bounds[-1], bounds[-1], columns)
    index = np.clip(np.searchsorted(bounds, np.abs(arc), side="right") - 1, 0, len(teeth) - 1)
    inside = (np.abs(arc) - bounds[index]) / np.diff(bounds)[index]  # 0..1 across a tooth
    rise = np.array([r for _, r in teeth])[index]
    # A parabola-like arch: the angle grows with the arc.
    turn = arc / 0.30
    x, z = 0.285 * np.sin(np.clip(turn, -1.45, 1.45)), front - 0.34 * (1 - np.cos(np.clip(turn, -1.45, 1.45)))
    t = np.linspace(0, 1, rows)[:, None]  # 0 = edge, 1 = above the gum line
    crown = np.clip(t / 0.68, 0, 1)
    bump = 0.010 * (np.clip(1 - (2 * inside - 1) ** 4, 0, 1) - 1) * (1 - smoothstep(t, 0.6, 0.72))
    corner = 0.012 * np.abs(2 * inside - 1) ** 5  # rounded corners at the edge
    y = edge + up * (t * height * 1.47 + (1 - t) * (corner * 0.7 - rise * 0.5))
    lean = -0.02 * (1 - crown) + 0.025 * smoothstep(t, 0.66, 0.8)
    normal = np.stack([np.sin(turn), np.cos(turn)], 1)
    vertices = np.stack(
        [x + (bump + lean) * normal[:, 0], np.broadcast_to(y, (rows, columns)), z + (bump + lean) * normal[:, 1]], -1
    )
    gum_line = 0.66 + 0.07 * (2 * inside - 1) ** 2
    gum = smoothstep(t - gum_line, -0.025, 0.025)[..., None]
    gap = np.exp(-((np.minimum(inside, 1 - inside) / 0.035) ** 2)) * (0.35 + 0.65 * t)
    ivory = np.array([0.78, 0.70, 0.56]) * (1.0 if up > 0 else 0.75) * (1 - 0.06 * np.minimum(index, 3))[:, None]
    ivory = ivory * (1 - 0.10 * crown[..., None]) * (1 - 0.5 * gap[..., None])
    colour = (1 - gum) * ivory + gum * np.array([0.48, 0.16, 0.15])
    triangles = grid_triangles(rows, columns, closed=False)
    triangles = triangles[:, ::-1] if up > 0 else triangles
    return make_part(vertices.reshape(-1, 3), triangles, colour.reshape(-1, 3), TEETH, jaw=float(up < 0))


def mouth_inside(upper_lip: np.ndarray, lower_lip: np.ndarray) -> list[Part]:
    """Teeth and tongue for closed lips that meet between two inner-lip points (3,)."""
    meet = (upper_lip[1] + lower_lip[1]) / 2
    front = min(upper_lip[2], lower_lip[2]) - 0.075
    upper = _tooth_row(_UPPER, meet - 0.020, front, 0.10, 1.0)
    lower = _tooth_row(_LOWER, meet - 0.050, front - 0.03, 0.085, -1.0)
    a, b = np.meshgrid(np.linspace(0, np.pi, 24), np.linspace(0, 2 * np.pi, 40, endpoint=False), indexing="ij")
    groove = 1 - 0.25 * np.exp(-((np.sin(a) * np.cos(b) / 0.18) ** 2)) * (np.sin(b) > 0)
    ball = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b) * groove, np.cos(a)], -1)
    tongue = ball * np.array([0.20, 0.085, 0.27]) + np.array([0, meet - 0.105, front - 0.33])
    triangles = grid_triangles(24, 40, closed=True)
    return [
        upper, lower,
        make_part(tongue.reshape(-1, 3), triangles, np.array([0.52, 0.17, 0.16]), TONGUE, jaw=0.9),
    ]  # fmt: skip


def hairline(y: np.ndarray) -> np.ndarray:
    """z of the hairline at a height: what lies in front of it is bare skin."""
    return np.interp(y, [-0.4, 0.1, 0.45, 0.75, 0.9, 1.3], [-0.70, -0.60, -0.28, -0.06, 0.05, 0.60])


def curtain(colour: np.ndarray, length: float) -> Part:
    """The dark inside of long hair behind neck and ears, so that no wall shines through; ``length``: y of its end."""
    rows, columns = 24, 60
    t, a = np.meshgrid(np.linspace(0, 1, rows), np.radians(np.linspace(84, 276, columns)), indexing="ij")
    wide = 0.97 + 0.03 * np.sin(np.pi * t) - 0.12 * t**3
    y = 0.35 + t * (length + 0.04 - 0.35)
    x, z = SCALP_RADII[0] * wide * np.sin(a), SCALP_CENTRE[2] + SCALP_RADII[2] * wide * np.cos(a)
    triangles = grid_triangles(rows, columns, closed=False)
    return make_part(np.stack([x, y, z], -1).reshape(-1, 3), triangles[:, ::-1], colour, SCALP)


def scalp(colour: np.ndarray) -> Part:
    """The dark shell under the hair, cut off at the hairline."""
    rows, columns = 60, 120
    a, b = np.meshgrid(np.linspace(0, 2.2, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij")
    ball = np.stack([np.sin(a) * np.sin(b), np.cos(a), np.sin(a) * np.cos(b)], -1)
    vertices = (SCALP_CENTRE + ball * SCALP_RADII * 0.985).reshape(-1, 3)
    triangles = grid_triangles(rows, columns, closed=True)
    middle = vertices[triangles].mean(1)
    keep = middle[:, 2] < hairline(middle[:, 1]) - 0.12
    return make_part(vertices, triangles[keep], colour, SCALP)
