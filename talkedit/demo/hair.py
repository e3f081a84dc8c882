"""Hair as strands: where they grow and fall, and drawing them over a picture with its depth."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy.ndimage import gaussian_filter1d

from talkedit.demo.body import SCALP_CENTRE, SCALP_RADII, hairline, smoothstep


@dataclass(frozen=True)
class Strands:
    """Hairs in the head's frame.

    Attributes:
        points: (N, S, 3) float32 decimetres, root to tip.
        colour: (N, 3) float32 linear.
        shade: (N, S) float32 0..1 light that reaches them past other hair.
        normal: (N, S, 3) float32 which way the hair's surface faces.
    """

    points: np.ndarray
    colour: np.ndarray
    shade: np.ndarray
    normal: np.ndarray


def bob(
    colour: np.ndarray,
    border: np.ndarray,
    rng: np.random.Generator,
    length: float,
    side: float,
    wave: float,
    count: int = 4400,
) -> Strands:
    """Hair parted at one side that falls to jaw or shoulder.

    Args:
        colour: (3,) linear.
        border: (N, 3) outline of the face.
        rng: draws the strands.
        length: y of the tips.
        side: x of the parting, in -0.4..0.4 of the head's half width.
        wave: 0 straight .. 1 wavy.
        count: strands.
    """
    clumps = 260
    clump = rng.integers(0, clumps, count)
    left = np.where(rng.random(clumps) < 0.5, -1.0, 1.0)[clump]
    spread = rng.random(clumps) ** 1.4
    p = np.clip(spread[clump] + rng.normal(size=count) * 0.022, 0, 1)  # 0 = forehead, 1 = back of the head
    layer = rng.random(count)
    front = np.radians(57 - 112 * p)
    root = np.stack([np.full(count, side) + 0.03 * rng.normal(size=count), np.cos(front), np.sin(front)], 1)
    # A third of the hairs grows at the hairline, where single hairs show; the others at the parting.
    at_line = rng.random(count) < 0.36
    root[at_line] = _hairline_points(left[at_line], side, rng)
    p = np.where(at_line, np.clip(0.10 + 0.30 * np.abs(root[:, 0]) + 0.04 * rng.normal(size=count), 0, 1), p)
    layer = np.where(at_line, 0.15 + 0.6 * layer, layer)
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    around = np.radians(53 + 118 * p + rng.normal(size=count) * 2.0)
    drop = -0.02 + 0.05 * rng.normal(size=count)
    side_point = np.stack([left * np.sin(around), drop, np.cos(around)], 1)
    side_point /= np.linalg.norm(side_point, axis=1, keepdims=True)
    angle = np.arccos(np.clip((root * side_point).sum(1), -1, 1))[:, None, None]
    u = np.linspace(0, 1, 13)[None, :, None]
    arc = (np.sin((1 - u) * angle) * root[:, None] + np.sin(u * angle) * side_point[:, None]) / np.sin(angle)
    # The fringe swings forward and out before it falls, so that it frames the forehead instead of covering it.
    swing = np.sin(np.pi * u) * (0.16 * (1 - p) ** 4)[:, None, None]
    arc = arc + swing * np.array([0.0, 0.55, 0.35])
    grown = np.where(at_line[:, None, None], smoothstep(u, 0.0, 0.25), 1.0)
    lift = 1.0 + grown * (0.025 + (0.055 * layer)[:, None, None])
    lift = lift + 0.05 * np.sin(np.pi * np.minimum(u * 1.15, 1)) * np.minimum(angle, 1.0)
    over = SCALP_CENTRE + arc * SCALP_RADII * lift
    # They rise out of the forehead's own skin, a little in front of the line.
    skin = _forehead_points(border, over[:, 0, 0] - 0.05 * left + 0.03 * rng.normal(size=count), rng)
    rooted = np.where(at_line[:, None, None], 1 - smoothstep(u, 0.0, 0.22), 0.0)
    over = over + rooted * (skin[:, None] - over)
    ends = length + 0.10 * rng.normal(size=clumps)[clump] + 0.03 * rng.normal(size=count) + 0.10 * (layer - 0.5)
    h = np.linspace(0, 1, 11)[None, 1:, None]
    start, last = over[:, -1:], over[:, -1]
    fall = start + h * np.array([0, 1, 0]) * (ends - last[:, 1])[:, None, None]
    outward = last * np.array([1, 0, 1]) - np.array([0, 0, SCALP_CENTRE[2]])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    # Fuller at the height of the jaw, turned in at the tips.
    body = 0.055 * np.sin(np.pi * h * 0.8) - 0.20 * h**4
    fall = fall + outward[:, None] * body + np.array([0, 0, 0.10]) * h * (1 - p)[:, None, None]
    # Hair does not bend sharply where it leaves the head.
    points = np.concatenate([over, fall], 1)
    s = np.linspace(0, 1, points.shape[1])[None, :]
    supple = gaussian_filter1d(points, 1.3, axis=1, mode="nearest") - points
    points = points + smoothstep(s, 0.12, 0.3)[..., None] * supple
    phase = rng.uniform(0, 2 * np.pi, clumps)[clump][:, None]
    ripple = wave * 0.042 * smoothstep(s, 0.25, 0.9) * np.sin(2 * np.pi * s * 2.6 + phase)
    stray = np.cumsum(rng.normal(size=points.shape), 1) * 0.0016 * (1 + 3 * (rng.random((count, 1, 1)) < 0.04))
    points = points + ripple[..., None] * (outward * 0.6 + np.cross(outward, [0, 1, 0]))[:, None] + stray
    shade = (0.40 + 0.60 * layer)[:, None] * (1 - 0.35 * smoothstep(s, 0.55, 1.0)) * (0.6 + 0.4 * smoothstep(s, 0, 0.1))
    normal = (points - SCALP_CENTRE) * np.array([1, 0.75, 1])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    tones = 1 + 0.16 * rng.normal(size=clumps)[clump] + 0.20 * rng.normal(size=count)
    colours = colour * np.clip(tones, 0.45, 1.7)[:, None]
    order = np.argsort(layer, kind="stable")
    return Strands(*(np.ascontiguousarray(a[order], np.float32) for a in (points, colours, shade, normal)))


def _forehead_points(border: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) points on the upper outline of the face at given x, some of them a little further in."""
    upper = border[border[:, 1] > 0.25]
    upper = upper[np.argsort(upper[:, 0])]
    at = np.clip(x, upper[0, 0], upper[-1, 0])
    points = np.stack([at, np.interp(at, upper[:, 0], upper[:, 1]), np.interp(at, upper[:, 0], upper[:, 2])], 1)
    inward = (np.abs(rng.normal(size=len(x))) * 0.018)[:, None] - 0.015
    toward = np.array([0, 0.1, 0.0]) - points
    return points + inward * toward / np.linalg.norm(toward, axis=1, keepdims=True) + np.array([0, 0, 0.012])


def _hairline_points(left: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) directions from the scalp's centre to points near the hairline, on the parting's left or right."""
    table = np.linspace(0.25, 0.91, 200)
    line = np.stack([table - SCALP_CENTRE[1], hairline(table) - SCALP_CENTRE[2]], 1) / SCALP_RADII[1:]
    reach = np.sqrt(np.maximum(1 - (line**2).sum(1), 0.0))
    order = np.argsort(reach)
    # From the parting outwards: hair of the one side reaches over the middle of the forehead.
    nearest = np.where(left * side > 0, abs(side), -abs(side))
    across = nearest + rng.uniform(0.0, 1.0, len(left)) * (0.93 - nearest)
    up = np.interp(np.abs(across), reach[order], line[order, 0])
    ahead = np.interp(np.abs(across), reach[order], line[order, 1]) - np.abs(rng.normal(size=len(left))) * 0.035 + 0.01
    return np.stack([across * left, up, ahead], 1)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _behind(depth, x, y, z):
    row, column = int(y + 0.5), int(x + 0.5)
    if row < 0 or column < 0 or row >= depth.shape[0] or column >= depth.shape[1]:
        return True
    return z > depth[row, column]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def draw_strands(image, depth, screen, colours, cover, width, bias):
    """Draws polylines into a picture, behind what is nearer.

    Args:
        image: (H, W, 3) float32 linear, changed in place.
        depth: (H, W) float32, changed in place.
        screen: (N, S, 3) float32 x, y in pixels, depth.
        colours: (N, S, 3) float32 linear.
        cover: (S,) float32 opacity along the strand.
        width: pixels.
        bias: decimetres by which a hair may lie behind a surface and still be seen.
    """
    height, columns = depth.shape
    count, steps = screen.shape[0], screen.shape[1]
    for n in range(count):
        for s in range(steps - 1):
            x0, y0, z0 = screen[n, s, 0], screen[n, s, 1], screen[n, s, 2]
            x1, y1, z1 = screen[n, s + 1, 0], screen[n, s + 1, 1], screen[n, s + 1, 2]
            if _behind(depth, x0, y0, z0 - bias - 0.02) and _behind(depth, x1, y1, z1 - bias - 0.02):
                continue
            dx, dy = x1 - x0, y1 - y0
            steep = abs(dy) > abs(dx)
            pixels = int(max(abs(dx), abs(dy))) + 1
            # Across the minor axis a line of this width covers so many pixels.
            reach = width * np.sqrt(dx * dx + dy * dy) / max(abs(dx), abs(dy), 1e-6) * 0.5
            for i in range(pixels):
                t = i / pixels
                x, y, z = x0 + t * dx, y0 + t * dy, z0 + t * (z1 - z0)
                centre = x if steep else y
                first, last = int(np.floor(centre - reach + 0.5)), int(np.floor(centre + reach + 0.5))
                for k in range(first, last + 1):
                    # Exact overlap of the strand with the pixel in one dimension.
                    share = min(centre + reach, k + 0.5) - max(centre - reach, k - 0.5)
                    if share <= 0:
                        continue
                    row = int(y + 0.5) if steep else k
                    column = k if steep else int(x + 0.5)
                    if row < 0 or row >= height or column < 0 or column >= columns:
                        continue
                    if z - bias > depth[row, column]:
                        continue
                    a = min(share, 1.0) * ((1 - t) * cover[s] + t * cover[s + 1])
                    for c in range(3):
                        value = (1 - t) * colours[n, s, c] + t * colours[n, s + 1, c]
                        image[row, column, c] += a * (value - image[row, column, c])
                    if a > 0.5 and z < depth[row, column]:
                        depth[row, column] = z


def hair_colours(points: np.ndarray, strands: Strands, rotation: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """(N, S, 3) lit colours: the light along a hair (Kajiya and Kay 1989), dimmed inside the hair.

    Args:
        points: (N, S, 3) in the world.
        strands: the hair at rest.
        rotation: (3, 3) for row vectors.
        lights: (L, 6) direction to the light and its colour.
    """
    return _hair_colours(points, strands.colour, strands.shade, strands.normal, rotation.astype(np.float32), lights)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _hair_colours(points, colour, shade, normal, rotation, lights):
    count, steps = shade.shape
    out = np.empty((count, steps, 3), np.float32)
    for n in range(count):
        for s in range(steps):
            a, b = max(s - 1, 0), min(s + 1, steps - 1)
            tx, ty, tz = (points[n, b, 0] - points[n, a, 0], points[n, b, 1] - points[n, a, 1],
                          points[n, b, 2] - points[n, a, 2])  # fmt: skip
            length = np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9
            tx, ty, tz = tx / length, ty / length, tz / length
            q = normal[n, s]
            nx = q[0] * rotation[0, 0] + q[1] * rotation[1, 0] + q[2] * rotation[2, 0]
            ny = q[0] * rotation[0, 1] + q[1] * rotation[1, 1] + q[2] * rotation[2, 1]
            nz = q[0] * rotation[0, 2] + q[1] * rotation[1, 2] + q[2] * rotation[2, 2]
            ambient = 0.16 + 0.16 * (0.5 + 0.5 * ny)
            red, green, blue = ambient * colour[n, 0], ambient * colour[n, 1], ambient * colour[n, 2]
            for i in range(len(lights)):
                lx, ly, lz = lights[i, 0], lights[i, 1], lights[i, 2]
                facing = max(0.0, (nx * lx + ny * ly + nz * lz + 0.35) / 1.35)
                if lz < 0:  # from behind only the outermost hairs are reached
                    facing *= max(0.0, shade[n, s] * 1.6 - 0.9)
                along = tx * lx + ty * ly + tz * lz
                diffuse = np.sqrt(max(0.0, 1 - along * along)) * facing
                hx, hy, hz = lx, ly, lz + 1.0
                hl = np.sqrt(hx * hx + hy * hy + hz * hz)
                th = (tx * hx + ty * hy + tz * hz) / hl
                # Two highlights: a white one shifted to the root, a coloured one shifted to the tip.
                white = max(0.0, 1 - (th - 0.06) ** 2) ** 90 * facing
                tinted = max(0.0, 1 - (th + 0.10) ** 2) ** 22 * facing
                for k in range(3):
                    value = colour[n, k] * (0.70 * diffuse + 1.1 * tinted) + 0.045 * shade[n, s] ** 2 * white
                    value *= lights[i, 3 + k]
                    if k == 0:
                        red += value
                    elif k == 1:
                        green += value
                    else:
                        blue += value
            out[n, s, 0], out[n, s, 1], out[n, s, 2] = red * shade[n, s], green * shade[n, s], blue * shade[n, s]
    return out
