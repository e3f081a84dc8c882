"""Light on skin, eyes, teeth, hair and wool, one pixel after another.

Colours are linear light. A warm key light stands high on the viewer's left, a weak one fills in from the right, a cool
one from behind draws the edge of hair and shoulder, and the sky and floor give the rest.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from talkedit.demo.mesh import CAVITY, CLOTH, EYE_LEFT, EYE_RIGHT, SCALP, SKIN, TEETH, TONGUE

_jit = numba.njit(nogil=True, cache=True, error_model="numpy")


def _unit(x: float, y: float, z: float) -> np.ndarray:
    v = np.array([x, y, z], np.float32)
    return v / np.linalg.norm(v)


KEY = _unit(-0.50, 0.58, 0.68)
KEY_COLOUR = np.array([1.58, 1.50, 1.40], np.float32)
FILL = _unit(0.80, 0.10, 0.60)
FILL_COLOUR = np.array([0.26, 0.28, 0.33], np.float32)
RIM = _unit(0.72, 0.42, -0.62)
RIM_COLOUR = np.array([0.75, 0.85, 1.00], np.float32)
SKY = np.array([0.40, 0.41, 0.44], np.float32)
FLOOR = np.array([0.22, 0.18, 0.16], np.float32)
LIGHTS = np.stack(
    [np.concatenate([d, c]) for d, c in ((KEY, KEY_COLOUR), (FILL, FILL_COLOUR), (RIM, RIM_COLOUR))]
).astype(np.float32)  # fmt: skip
# Columns of an eye's parameters: centre x, y and radius in pixels; three axes of the eye in the world (right, up,
# forward); share of the radius that the iris and the pupil take; iris colour; seed of the iris's pattern.
EYE_COLUMNS = 18
SHADOW_SIZE = 320
SHADOW_REACH = 2.4  # decimetres from the middle that the shadow map covers


def shadow_axes() -> tuple[np.ndarray, np.ndarray]:
    """(3,), (3,) the picture axes (right, up) of the view from the key light."""
    right = np.cross(np.array([0, 1, 0]), KEY)
    right /= np.linalg.norm(right)
    return right.astype(np.float32), np.cross(KEY, right).astype(np.float32)


def shadow_points(world: np.ndarray) -> np.ndarray:
    """(V, 3) float32 shadow-map pixels and depth of (V, 3) world points."""
    right, up = shadow_axes()
    half = SHADOW_SIZE / 2
    x, y = half + world @ right / SHADOW_REACH * half, half - world @ up / SHADOW_REACH * half
    return np.stack([x, y, 10 - world @ KEY], 1).astype(np.float32)


@_jit
def _step(x, low, high):
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@_jit
def _sample(texture, u, v, out):
    """Bilinear; u, v in 0..1."""
    size = texture.shape[0]
    x, y = min(max(u * size - 0.5, 0.0), size - 1.001), min(max(v * size - 0.5, 0.0), size - 1.001)
    i, j = int(x), int(y)
    a, b = x - i, y - j
    for c in range(texture.shape[2]):
        top = texture[j, i, c] * (1 - a) + texture[j, i + 1, c] * a
        low = texture[j + 1, i, c] * (1 - a) + texture[j + 1, i + 1, c] * a
        out[c] = top * (1 - b) + low * b


def _taps() -> np.ndarray:
    """(16, 9, 2) shadow-map offsets: the middle, a wide and a narrow ring of four, in sixteen turns."""
    turn = np.arange(16)[:, None] / 16 * np.pi / 2
    angle = turn + np.array([0, *np.arange(4) * np.pi / 2, *np.arange(4) * np.pi / 2 + np.pi / 4])
    radius = np.array([0.0, *[4.6] * 4, *[2.2] * 4])
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).astype(np.float32)


_TAPS = _taps()


@_jit
def _lit(shadow, x, y, z, turn):
    """0..1 share of the key light that reaches a world point: nine taps of the shadow map, in one of 16 turns."""
    rx, ry, rz, ux, uy, uz, kx, ky, kz = (shadow_frame[0], shadow_frame[1], shadow_frame[2], shadow_frame[3],
        shadow_frame[4], shadow_frame[5], shadow_frame[6], shadow_frame[7], shadow_frame[8])  # fmt: skip
    half = SHADOW_SIZE / 2
    px = half + (x * rx + y * ry + z * rz) / SHADOW_REACH * half
    py = half - (x * ux + y * uy + z * uz) / SHADOW_REACH * half
    depth = 10 - (x * kx + y * ky + z * kz)
    reached = 0.0
    for tap in range(9):
        if tap == 5 and (reached == 0.0 or reached == 5.0):
            return reached / 5  # wholly in light or shade
        radius = 0.0 if tap == 0 else (4.6 if tap < 5 else 2.2)
        i, j = int(px + _TAPS[turn, tap, 0] + 0.5), int(py + _TAPS[turn, tap, 1] + 0.5)
        if i < 0 or j < 0 or i >= SHADOW_SIZE or j >= SHADOW_SIZE:
            reached += 1.0
        else:
            reached += 1 - _step(depth - shadow[j, i], 0.03 + 0.008 * radius, 0.09 + 0.012 * radius)
    return reached / 9


shadow_frame = tuple(float(v) for v in np.concatenate([*shadow_axes(), KEY]))
_key = tuple(float(v) for v in KEY)
_fill = tuple(float(v) for v in FILL)
_rim = tuple(float(v) for v in RIM)
_key_colour, _fill_colour, _rim_colour = (tuple(float(v) for v in c) for c in (KEY_COLOUR, FILL_COLOUR, RIM_COLOUR))
_sky, _floor = tuple(float(v) for v in SKY), tuple(float(v) for v in FLOOR)
_WRAP = (0.42, 0.24, 0.18)  # light that wanders under the skin, most of it red


@_jit
def _surface(albedo, gloss, sharp, wrap, nx, ny, nz, vx, vy, vz, lit, open_, out):
    """Diffuse and specular light of a surface with a normal, seen from v; ``open_`` is the unoccluded share."""
    k = nx * _key[0] + ny * _key[1] + nz * _key[2]
    f = nx * _fill[0] + ny * _fill[1] + nz * _fill[2]
    r = nx * _rim[0] + ny * _rim[1] + nz * _rim[2]
    view = max(nx * vx + ny * vy + nz * vz, 0.0)
    hx, hy, hz = _key[0] + vx, _key[1] + vy, _key[2] + vz
    hl = math.sqrt(hx * hx + hy * hy + hz * hz)
    h = max((nx * hx + ny * hy + nz * hz) / hl, 0.0)
    gx, gy, gz = _fill[0] + vx, _fill[1] + vy, _fill[2] + vz
    g = max((nx * gx + ny * gy + nz * gz) / math.sqrt(gx * gx + gy * gy + gz * gz), 0.0)
    broad, narrow = h**14 * 0.07, h ** (14 * sharp) * 0.16
    highlight = gloss * (broad + narrow) * lit * (1.0 if k > 0 else 0.0)
    soft = gloss * g**18 * 0.10 * open_
    fresnel = (1 - view) ** 4
    up = 0.5 + 0.5 * ny
    for c in range(3):
        w = wrap * _WRAP[c]
        diffuse = max((k + w) / (1 + w), 0.0)
        reached = lit + (1 - lit) * wrap * (0.10, 0.03, 0.02)[c]
        light = _key_colour[c] * diffuse * reached
        light += _fill_colour[c] * max((f + 0.3) / 1.3, 0.0) * open_
        light += _rim_colour[c] * max(r, 0.0) * 0.55 * open_
        # Occlusion on skin is red: light bleeds into creases.
        closed = open_ * (1 + (0.3, -0.1, -0.15)[c] * wrap * (1 - open_))
        light += (_sky[c] * up + _floor[c] * (1 - up)) * closed
        shine = highlight * _key_colour[c] + soft * _fill_colour[c]
        shine += fresnel * (0.05 + 0.25 * max(r + 0.3, 0.0)) * gloss * _sky[c] * open_
        out[c] = albedo[c] * light + shine


@_jit
def _hash(x):
    v = math.sin(x * 127.1 + 311.7) * 43758.5453
    return v - math.floor(v)


@_jit
def _fibres(angle, seed):
    """0..1 noise around the iris."""
    total = 0.0
    for octave in range(3):
        n = (14.0, 31.0, 67.0)[octave]
        t = (angle / (2 * math.pi) + 0.5) * n
        i = math.floor(t)
        a, b = _hash((i % n) + seed + 57 * octave), _hash(((i + 1) % n) + seed + 57 * octave)
        w = t - i
        w = w * w * (3 - 2 * w)
        total += (0.45, 0.33, 0.22)[octave] * (a * (1 - w) + b * w)
    return total


@_jit
def _eye(p, x, y, lid, height, lit, open_, out):
    """An eyeball's pixel: white, iris with fibres and dark rim, pupil, the lid's shadow and the window's reflection."""
    dx, dy = (x - p[0]) / p[2], -(y - p[1]) / p[2]
    square = min(dx * dx + dy * dy, 0.98)
    nx, ny, nz = dx, dy, math.sqrt(1 - square)
    ex, ey = nx * p[3] + ny * p[4] + nz * p[5], nx * p[6] + ny * p[7] + nz * p[8]
    rho = math.sqrt(ex * ex + ey * ey) / p[12]
    angle = math.atan2(ey, ex)
    edge = 2.2 / (p[2] * p[12])  # about a pixel, as a share of the iris
    fibre = _fibres(angle, p[17])
    inner = 1 - _step(rho, 0.35, 0.75)
    iris_light = 0.55 + 0.75 * fibre * _step(rho, 0.2, 0.6)
    # The cornea gathers light on the side away from the lamp.
    gather = 1 + 0.9 * max(-(ex * _key[0] + ey * _key[1]) / p[12], 0.0)
    rim = 1 - 0.72 * _step(rho, 0.74, 1.0)
    pupil = _step(rho, p[13] - edge * 0.6, p[13] + edge * 0.6)
    white_share = _step(rho, 1 - edge, 1 + edge)
    k = max((nx * _key[0] + ny * _key[1] + nz * _key[2] + 0.35) / 1.35, 0.0)
    corner = (1 - lid) * (1 - abs(height))
    shadow = 1 - 0.62 * _step(height, 0.05, 1.0) - 0.20 * _step(-height, 0.6, 1.1)
    shadow *= 0.72 + 0.28 * _step(lid, 0.0, 0.6)
    for c in range(3):
        iris = (p[14 + c] * (1 + inner * (0.9, 0.55, 0.2)[c])) * iris_light * gather * rim * pupil
        iris += 0.004 * (1 - pupil)
        white = (0.58, 0.54, 0.51)[c] * (1 - corner * (0.10, 0.28, 0.28)[c])
        albedo = white * white_share + iris * (1 - white_share)
        light = _key_colour[c] * k * (0.35 + 0.65 * lit) * 0.72 + (_sky[c] * 0.8 + 0.12) * (0.5 + 0.5 * open_)
        out[c] = albedo * light * shadow
    # The window: a soft square near the mirror direction of the key light, and a faint one from the fill.
    gx, gy = nx + 0.14, ny - 0.17
    window = (1 - _step(abs(gx), 0.05, 0.10)) * (1 - _step(abs(gy), 0.06, 0.11))
    gx, gy = nx - 0.28, ny + 0.05
    faint = (1 - _step(abs(gx), 0.05, 0.12)) * (1 - _step(abs(gy), 0.10, 0.18))
    glint = (1.25 * window + 0.06 * faint) * _step(lid, 0.02, 0.25) * (1 - 0.8 * _step(height, 0.75, 1.0))
    for c in range(3):
        out[c] += glint
    # Lashes' dark line along the upper lid, the wet line along the lower one.
    line = 1 - 0.85 * (1 - _step(lid, 0.0, 0.30)) * _step(height, -0.2, 0.35)
    wet = 0.05 * (1 - _step(abs(lid - 0.16), 0.05, 0.14)) * _step(-height, 0.2, 0.6)
    for c in range(3):
        out[c] = out[c] * line + wet


@_jit
def shade(values, hit, depth, materials, texture, eyes, shadow, openness, axes, camera, mouth, image):
    """Colours every pixel that shows the speaker.

    Args:
        values: (H, W, 8) float32 normal in the world, uv, colour.
        hit: (H, W) int32 triangle, -1 none.
        depth: (H, W) float32 decimetres from the camera.
        materials: (F,) uint8.
        texture: (T, T, 6) from `talkedit.demo.skin`.
        eyes: (2, 18) see EYE_COLUMNS.
        shadow: (S, S) float32 depth from the key light.
        openness: (H, W) float32 0..1, 1 = nothing near covers the pixel.
        axes: (3, 3) rows: the head's right, up and forward in the world.
        camera: focal length, centre x and y in pixels; it stands at z = 10.
        mouth: 0..1 how wide the mouth is open, for the light inside.
        image: (H, W, 3) float32, changed where hit.
    """
    height, width = hit.shape
    focal, centre_x, centre_y = camera
    texel = np.empty(6, np.float32)
    albedo = np.empty(3, np.float32)
    out = np.empty(3, np.float32)
    for row in range(height):
        for column in range(width):
            triangle = hit[row, column]
            if triangle < 0:
                continue
            material = materials[triangle]
            value = values[row, column]
            nx, ny, nz = value[0], value[1], value[2]
            d = depth[row, column]
            x, y, z = (column - centre_x) * d / focal, (centre_y - row) * d / focal, 10 - d
            vl = math.sqrt(x * x + y * y + (10 - z) ** 2)
            vx, vy, vz = -x / vl, -y / vl, (10 - z) / vl
            turn = ((column * 7 + row * 11) ^ (row * 3)) & 15
            lit = _lit(shadow, x + 0.02 * nx, y + 0.02 * ny, z + 0.02 * nz, turn)
            free = openness[row, column]
            for c in range(3):
                albedo[c] = value[5 + c]
            if material in (EYE_RIGHT, EYE_LEFT):
                eye = eyes[0] if material == EYE_RIGHT else eyes[1]
                _eye(eye, float(column), float(row), value[5], value[6], lit, free, out)
                for c in range(3):
                    image[row, column, c] = out[c]
                continue
            gloss, sharp, wrap = 0.30, 4.0, 1.0
            if material == SKIN:
                _sample(texture, value[3], value[4], texel)
                for c in range(3):
                    albedo[c] = texel[c]
                gloss = texel[3]
                bump = 0.55
                for a in range(3):
                    lean = bump * (texel[4] * axes[0, a] - texel[5] * axes[1, a])
                    if a == 0:
                        nx -= lean
                    elif a == 1:
                        ny -= lean
                    else:
                        nz -= lean
            elif material == TEETH:
                gloss, sharp, wrap = 1.2, 9.0, 0.4
            elif material == TONGUE:
                gloss, sharp, wrap = 1.0, 5.0, 1.0
            elif material == CAVITY:
                gloss, wrap = 0.15, 0.0
            elif material == CLOTH:
                gloss, wrap = 0.0, 0.25
                u, v = value[3], value[4]
                if v < -0.5:  # ribbed collar
                    wave = math.cos(2 * math.pi * u)
                    relief = 0.5 + 0.5 * wave
                else:  # rows of V stitches
                    across = u - math.floor(u)
                    slant = v + 1.1 * abs(across - 0.5)
                    along = slant - math.floor(slant)
                    relief = math.sin(math.pi * along) * (0.35 + 0.65 * _step(abs(across - 0.5), 0.0, 0.16))
                    relief *= 1 - 0.5 * _step(abs(across - 0.5), 0.40, 0.5)
                wool = 0.92 + 0.01 * ((column * 7919 + row * 104729 + column * row) & 15)
                for c in range(3):
                    albedo[c] *= (0.62 + 0.50 * relief) * wool
            elif material == SCALP:
                gloss, wrap = 0.05, 0.0
            length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            nx, ny, nz = nx / length, ny / length, nz / length
            if material in (TEETH, TONGUE, CAVITY):
                if nz < 0:
                    nx, ny, nz = -nx, -ny, -nz
                lit = 0.22 + 0.50 * lit
                free *= 0.35 + 0.50 * mouth
            _surface(albedo, gloss, sharp, wrap, nx, ny, nz, vx, vy, vz, lit, free, out)
            if material == CAVITY:
                dim = math.exp(-5.0 * value[3])
                for c in range(3):
                    out[c] *= dim
            elif material == TEETH:
                side = 1 - 0.65 * _step(abs(value[3]), 0.45, 1.0)
                for c in range(3):
                    out[c] *= side * (1.12, 1.0, 0.86)[c]
            elif material == CLOTH:
                fuzz = (1 - max(nx * vx + ny * vy + nz * vz, 0.0)) ** 3
                for c in range(3):
                    out[c] += fuzz * albedo[c] * 0.9
            for c in range(3):
                image[row, column, c] = out[c]


def film_curve() -> np.ndarray:
    """(4096,) float32 screen values 0..255 of the square roots of linear light 0..4: a soft shoulder, then sRGB."""
    light = np.linspace(0, 2, 4096) ** 2
    rolled = np.where(light > 0.55, 0.55 + 0.45 * (1 - np.exp(-(light - 0.55) / 0.45)), light)
    screen = np.where(rolled < 0.0031308, 12.92 * rolled, 1.055 * np.maximum(rolled, 1e-6) ** (1 / 2.4) - 0.055)
    return (255 * screen).astype(np.float32)


@_jit
def develop(image, curve):
    """Linear light (H, W, 3) float32 to screen values 0..255, in place; ``curve`` from `film_curve`."""
    flat = image.reshape(-1)
    last = len(curve) - 1
    for i in range(len(flat)):
        flat[i] = curve[min(int(math.sqrt(max(flat[i], 0.0)) * 0.5 * last + 0.5), last)]
