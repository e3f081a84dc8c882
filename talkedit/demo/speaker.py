"""The virtual speaker: a person drawn from the face model's statistics, and the pictures of that person talking."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from talkedit.demo import body, hair, mesh, shade
from talkedit.demo.motion import Motion, natural_motion
from talkedit.demo.poses import MouthPoses, blink_displacement
from talkedit.demo.skin import paint_skin
from talkedit.demo.speech import Mouth, Syllable, babble, mouth_track
from talkedit.facemodel.boundary import boundary_loop
from talkedit.facemodel.camera import rotation_matrix_numpy
from talkedit.facemodel.control_mesh import SKIRT_RADII
from talkedit.facemodel.model import FaceModel, load_open_model
from talkedit.render.numba_backend import attribute_map, map_buffers
from talkedit.resources import find
from talkedit.track import topology as topo

FPS = 25
# Where the row of people begins: seed 0 is who the documentation shows.
_FIRST = 2
Buffers = tuple[np.ndarray, np.ndarray, np.ndarray]
# Pixels of a decimetre at the head's distance, as a share of the picture's side, and the height in its middle.
_SCALE, _MIDDLE = 0.335, 0.0
_EYE_RADIUS, _IRIS, _PUPIL = 0.132, 0.062, 0.40
# Plausible, not average: shares of the statistics' spread. Wider draws of the texture bring its photographs' light.
_IDENTITY_SPREAD, _TEXTURE_SPREAD = 0.75, 0.30
_HAIRS = np.array(
    [[0.034, 0.018, 0.010], [0.085, 0.040, 0.018], [0.015, 0.011, 0.010], [0.24, 0.130, 0.055], [0.12, 0.040, 0.014]]
)
_IRISES = np.array([[0.075, 0.040, 0.016], [0.13, 0.085, 0.030], [0.10, 0.16, 0.19], [0.10, 0.13, 0.055]])
_WOOLS = np.array(
    [[0.045, 0.14, 0.17], [0.33, 0.10, 0.055], [0.30, 0.24, 0.10], [0.09, 0.10, 0.22], [0.36, 0.32, 0.27]]
)
_WALLS = np.array([[0.20, 0.21, 0.20], [0.13, 0.18, 0.19], [0.24, 0.20, 0.16]])


@dataclass(frozen=True)
class Script:
    """What the speaker does in a clip.

    Attributes:
        syllables: what is babbled.
        mouth: its targets per frame.
        motion: head, lids and eyes per frame.
        frames: how many pictures.
    """

    syllables: list[Syllable]
    mouth: Mouth
    motion: Motion
    frames: int


def make_script(seed: int, seconds: float = 4.0) -> Script:
    """The same seed always gives the same script."""
    rng = np.random.default_rng([seed, 1])
    frames = round(seconds * FPS)
    syllables = babble(seconds, rng)
    mouth = mouth_track(syllables, frames, FPS)
    return Script(syllables, mouth, natural_motion(frames, FPS, mouth.emphasis, rng), frames)


class Speaker:
    """A person who does not exist.

    Args:
        seed: another number, another person.
        size: side of the square picture in pixels.
        oversample: pictures are drawn this many times as large and shrunk.
        model: the open face model; read from the shipped file by default.

    Attributes:
        size: side of the picture.
    """

    def __init__(self, seed: int = 0, size: int = 512, oversample: int = 2, model: FaceModel | None = None) -> None:
        self.size, self._over, self._seed = size, oversample, seed
        self._model = model or load_open_model(find("bfm", "open_face.safetensors"))
        rng = np.random.default_rng([seed + _FIRST, 0])
        self._draw_person(rng)
        self._build(rng)
        side = size * oversample
        self._focal, self._centre_x = _SCALE * side * 10, (side - 1) / 2
        self._centre_y = (side - 1) / 2 + _MIDDLE * _SCALE * side
        # Threads that draw at the same time each take a set of buffers and give it back.
        self._spare: list[tuple[Buffers, Buffers]] = []
        self._curve = shade.film_curve()
        self._background = _background(side, _WALLS[int(rng.integers(len(_WALLS)))])

    # ---- the person

    def _draw_person(self, rng: np.random.Generator) -> None:
        def draw(spread: float) -> np.ndarray:
            return (np.clip(rng.normal(size=80), -1.5, 1.5) * spread).astype(np.float32)

        # Nobody is symmetric, but the statistics' one-sided directions are mostly tilted heads.
        self.identity = draw(_IDENTITY_SPREAD) * _evenness(self._model)
        self.skin_tone = draw(_TEXTURE_SPREAD)
        self._hair_colour = _HAIRS[int(rng.integers(len(_HAIRS)))] * rng.uniform(0.85, 1.2)
        self._iris_colour = _IRISES[int(rng.integers(len(_IRISES)))]
        self._wool = _WOOLS[int(rng.integers(len(_WOOLS)))]

    def _build(self, rng: np.random.Generator) -> None:
        model = self._model
        face, eyes = _face_and_eyes(model)
        self.poses = MouthPoses(model, self.identity)
        self._rest = self._face(self.poses.rest, 0.0)
        albedo = _symmetric(model, model.texture(self.skin_tone))
        self._texture = paint_skin(model, face, albedo, self._hair_colour * 0.55, rng)
        border, lips = boundary_loop(face, 10), boundary_loop(face, 13)
        self._border, self._lips = border, lips
        self._smooth_band(face, border)
        uv = model.uv[border] * len(self._texture) - 0.5
        edge = cv2.remap(self._texture[..., :3], uv[:, None, 0], uv[:, None, 1], cv2.INTER_LINEAR)[:, 0]
        neck_colour = edge.mean(0) * np.array([0.97, 0.93, 0.92])
        shell, self._shell_follow = body.back_of_head(self._rest[border], edge, neck_colour)
        bag, self._bag_follow = body.mouth_bag(self._rest[lips], self._upper_lip(lips))
        eye_right, eye_left = self._eye_parts(eyes)
        zero = np.zeros(3)
        parts = [
            mesh.make_part(self._rest, face, zero, mesh.SKIN, model.uv), eye_right, eye_left, shell, bag,
            *body.mouth_inside(self._rest[13], self._rest[14]), body.neck(neck_colour, float(self._rest[152, 1])),
            *body.jumper(self._wool), body.scalp(self._hair_colour * 0.55),
        ]  # fmt: skip
        length, side = float(rng.uniform(-1.15, -0.80)), float(rng.choice([-1, 1]) * rng.uniform(0.12, 0.30))
        self._hair = hair.bob(
            self._hair_colour, self._rest[border], rng, length, side, wave=float(rng.uniform(0.2, 1.0))
        )
        parts.append(body.curtain(self._hair_colour * 0.22, length))
        self._assemble(parts)
        lids = np.concatenate([topo.RIGHT_EYE, topo.LEFT_EYE])
        shut = blink_displacement(self._rest[model.landmark_vertices])
        self._blink = np.asarray(model.displacement @ shut, np.float32)
        self._blink[model.eyeball, 2] -= 0.08  # behind the lids, which would let them through
        self._eyes = [self._rest[ring].mean(0) for ring in (lids[:16], lids[16:])]
        for centre, ring in zip(self._eyes, (lids[:16], lids[16:]), strict=True):
            centre[2] = self._rest[ring, 2].max() + 0.012 - _EYE_RADIUS

    def _smooth_band(self, face: np.ndarray, border: np.ndarray) -> None:
        """Prepares `_weld`: vertices near the face's outline, how much each is smoothed, its neighbours' mean."""
        away = cKDTree(self._rest[border]).query(self._rest)[0]
        used = np.zeros(len(away), bool)
        used[face] = True
        self._band = np.flatnonzero(used & (away < 0.19))
        self._band_weight = (0.8 * (1 - body.smoothstep(away[self._band], 0.10, 0.19)))[:, None].astype(np.float32)
        i, j = np.concatenate([face[:, [0, 1]], face[:, [1, 2]], face[:, [2, 0]]]).T
        ones = np.ones(2 * len(i), np.float32)
        joined = sparse.csr_matrix((ones, (np.r_[i, j], np.r_[j, i])), shape=(len(away), len(away)))
        mean = sparse.diags(1 / np.maximum(np.asarray(joined.sum(1)).ravel(), 1)) @ joined
        self._band_mean = mean.tocsr()[self._band].astype(np.float32)

    def _upper_lip(self, loop: np.ndarray) -> np.ndarray:
        """(N,) 1 on the upper lip .. -1 on the lower: told from the model's mean, whose lips are parted."""
        mean = self._model.mean
        height = mean[loop, 1] - np.interp(np.abs(mean[loop, 0]), [0.0, 0.21], [mean[[13, 14], 1].mean(), mean[78, 1]])
        return np.clip(height / 0.012, -1, 1)

    def _eye_parts(self, triangles: np.ndarray) -> list[mesh.Part]:
        """The openings of the lids; colour holds (distance from the lid 0..1, height -1 .. 1 between the lids, 0)."""
        out = []
        for ring, material, sign in ((topo.RIGHT_EYE, mesh.EYE_RIGHT, -1), (topo.LEFT_EYE, mesh.EYE_LEFT, 1)):
            mine = triangles[(self._rest[triangles, 0].mean(1) * sign) > 0]
            border = np.unique(np.concatenate([ring, boundary_loop(mine, int(ring[0]))]))
            used = np.unique(mine)
            away = np.linalg.norm(self._rest[used, None, :2] - self._rest[None, border, :2], axis=2).min(1)
            points = self._rest[used]
            corners = self._rest[ring[[0, 8]]]
            order = np.argsort(self._rest[ring[:9], 0])
            top = np.interp(points[:, 0], self._rest[ring[:9], 0][order], self._rest[ring[:9], 1][order])
            low_ring = np.concatenate([ring[8:], ring[:1]])
            order = np.argsort(self._rest[low_ring, 0])
            low = np.interp(points[:, 0], self._rest[low_ring, 0][order], self._rest[low_ring, 1][order])
            gap = np.maximum(top - low, 0.02 * np.ptp(corners[:, 0]))
            height = np.clip((2 * points[:, 1] - top - low) / gap, -1, 1)
            colour = np.zeros((len(self._rest), 3), np.float32)
            colour[used, 0], colour[used, 1] = np.clip(away / 0.045, 0, 1), height
            out.append(mesh.make_part(self._rest, mine, colour, material))
        return out

    def _assemble(self, parts: list[mesh.Part]) -> None:
        """One mesh of all parts; face and eyes share the model's vertices."""
        offset = np.cumsum([0, *(len(p.vertices) for p in parts)])
        self._parts = [slice(a, b) for a, b in pairwise(offset.tolist())]
        self._vertices = np.concatenate([p.vertices for p in parts])
        shifted = [p.triangles + o for p, o in zip(parts, offset[:-1], strict=True)]
        self._triangles = np.concatenate(shifted).astype(np.int32)
        self._materials = np.concatenate([np.full(len(p.triangles), p.material, np.uint8) for p in parts])
        self._head = np.concatenate([p.head for p in parts])[:, None]
        self._jaw = np.flatnonzero(np.concatenate([p.jaw for p in parts]) > 0)
        self._jaw_weight = np.concatenate([p.jaw for p in parts])[self._jaw, None]
        self._surface = np.concatenate([np.concatenate([p.uv, p.colour], 1) for p in parts]).astype(np.float32)
        hidden = np.isin(self._materials, [mesh.EYE_LEFT, mesh.EYE_RIGHT, mesh.CAVITY, mesh.TEETH, mesh.TONGUE])
        self._casting = np.ascontiguousarray(self._triangles[~hidden])

    def _face(self, expression: np.ndarray, blink: float) -> np.ndarray:
        out = self._model.vertices(self.identity, expression)
        return out + blink * self._blink if blink > 0 else out

    # ---- one picture

    def expression(self, script: Script, frame: int) -> np.ndarray:
        """(64,) expression coefficients of a frame."""
        m, p = script.mouth, self.poses
        lift = 0.25 * max(0.0, float(m.emphasis[frame]) - 0.75)
        return (
            p.rest + m.opening[frame] * p.opening + m.rounding[frame] * p.rounding + m.spreading[frame] * p.spreading
            + m.pressing[frame] * p.pressing + lift * p.brows
        )  # fmt: skip

    def face_vertices(self, script: Script, frame: int) -> np.ndarray:
        """(V, 3) face of a frame in the head's frame, decimetres."""
        return self._face(self.expression(script, frame), float(script.motion.blink[frame]))

    def lip_opening(self, script: Script, frame: int) -> float:
        """Driven gap of the inner lips over the distance of the outer eye corners."""
        face = self.face_vertices(script, frame)
        return float(np.linalg.norm(face[13] - face[14]) / np.linalg.norm(face[33] - face[263]))

    def picture(self, script: Script, frame: int) -> np.ndarray:
        """(size, size, 3) uint8; may be called by several threads at once."""
        side, shadow_side = self.size * self._over, shade.SHADOW_SIZE
        try:
            buffers, shadow = self._spare.pop()
        except IndexError:
            buffers, shadow = map_buffers(side, side, 8), map_buffers(shadow_side, shadow_side, 1)
        rotation = rotation_matrix_numpy(script.motion.angles[frame]).astype(np.float32)
        shift = script.motion.shift[frame].astype(np.float32)
        rest, face = self._pose(script, frame)
        world = self._to_world(rest, rotation, shift)
        normals = mesh.vertex_normals(world, self._triangles)
        self._weld(normals)
        screen = self._project(world)
        values, hit = attribute_map(
            screen, self._triangles, np.concatenate([normals, self._surface], 1), side, side, out=buffers
        )
        depth = buffers[2]
        attribute_map(
            shade.shadow_points(world), self._casting, normals[:, :1], shade.SHADOW_SIZE, shade.SHADOW_SIZE,
            out=shadow,
        )  # fmt: skip
        image = self._background.copy()
        mouth = float(np.clip(self.lip_opening(script, frame) / 0.25, 0, 1))
        shade.shade(
            values, hit, depth, self._materials, self._texture, self._eye_table(script, frame, rotation, shift),
            shadow[2], _openness(depth, side), rotation, (self._focal, self._centre_x, self._centre_y), mouth, image,
        )  # fmt: skip
        self._draw_lashes(image, depth, face, rotation, shift)
        self._draw_hair(image, depth, rotation, shift)
        shade.develop(image, self._curve)
        self._spare.append((buffers, shadow))
        # Shrunk as seen, not as light: edges against the dark hair come out smoother.
        small = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        grain = np.random.default_rng([self._seed, 2, frame]).standard_normal(small.shape[:2], np.float32) * 1.3
        return np.clip(small + grain[..., None] + 0.5, 0, 255).astype(np.uint8)

    def _pose(self, script: Script, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """All vertices in the head's frame, and the face among them."""
        face = self.face_vertices(script, frame)
        rest = self._vertices.copy()
        for part in self._parts[:3]:
            rest[part] = face
        moved = face - self._rest
        rest[self._parts[3]] += (self._shell_follow[:, None, None] * moved[self._border]).reshape(-1, 3)
        rest[self._parts[4]] += (self._bag_follow[:, None, None] * moved[self._lips]).reshape(-1, 3)
        # The jaw turns about its joint as far as the chin has dropped.
        chin = self._rest[152] - body.JAW_PIVOT
        angle = float(np.arcsin(np.clip(-moved[152, 1] / np.hypot(chin[1], chin[2]) / 0.75, -0.3, 0.6)))
        turn = rotation_matrix_numpy(np.array([angle, 0, 0])).astype(np.float32)
        at = rest[self._jaw] - body.JAW_PIVOT
        rest[self._jaw] += self._jaw_weight * (at @ turn - at)
        return rest, face

    def _weld(self, normals: np.ndarray) -> None:
        """One normal on both sides of the seam between face and back of the head, and no ridge beside it.

        Landmarks of the outline are the least certain ones: the model's surface curls up there.
        """
        for _ in range(10):
            normals[self._band] += self._band_weight * (self._band_mean @ normals[self._parts[0]] - normals[self._band])
        normals[self._band] /= np.linalg.norm(normals[self._band], axis=1, keepdims=True) + 1e-9
        face, shell = self._border, self._parts[3].start + np.arange(len(self._border))
        both = normals[face] + normals[shell]
        both /= np.linalg.norm(both, axis=1, keepdims=True) + 1e-9
        normals[face] = normals[shell] = both

    def _to_world(
        self, points: np.ndarray, rotation: np.ndarray, shift: np.ndarray, all_head: bool = False
    ) -> np.ndarray:
        turned = (points - body.NECK_PIVOT) @ rotation + (body.NECK_PIVOT + shift)
        if all_head:
            return turned
        return np.ascontiguousarray(points + self._head * (turned - points), np.float32)

    def _project(self, world: np.ndarray) -> np.ndarray:
        depth = 10 - world[..., 2]
        x = self._centre_x + self._focal * world[..., 0] / depth
        y = self._centre_y - self._focal * world[..., 1] / depth
        return np.ascontiguousarray(np.stack([x, y, depth], -1), np.float32)

    def _eye_table(self, script: Script, frame: int, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
        table = np.zeros((2, shade.EYE_COLUMNS), np.float32)
        yaw, pitch = script.motion.gaze[frame]
        pixels = self._focal / 10
        for row, centre in zip(table, self._eyes, strict=True):
            at = self._to_world(centre[None], rotation, shift, all_head=True)[0]
            # Both eyes look at the camera, which keeps their axes a little together, then at the glance.
            forward = np.array([0, 0, 9.0]) - at
            forward /= np.linalg.norm(forward)
            forward = forward + np.array([np.sin(yaw), np.sin(pitch), 0])
            forward /= np.linalg.norm(forward)
            right = np.cross([0, 1, 0], forward)
            right /= np.linalg.norm(right)
            up = np.cross(forward, right)
            x, y, depth = self._project(at[None])[0]
            row[:3] = x, y, _EYE_RADIUS * pixels * 10 / depth
            row[3:12] = np.concatenate([right, up, forward])
            row[12:14] = _IRIS / _EYE_RADIUS, _PUPIL
            row[14:17], row[17] = self._iris_colour, self._seed % 97
        return table

    def _draw_lashes(self, image, depth, face, rotation, shift) -> None:
        pixels = self._focal / 10
        for ring, sign in ((topo.RIGHT_EYE, -1.0), (topo.LEFT_EYE, 1.0)):
            lid = face[ring[:9]]
            t = np.linspace(0.04, 0.93, 34)
            knots = np.linspace(0, 1, 9)
            root = np.stack([np.interp(t, knots, lid[:, k]) for k in range(3)], 1)
            jitter = np.sin(np.arange(34) * 12.9898) * 0.5
            length = (0.034 + 0.022 * (1 - t)) * (1 + 0.25 * jitter)
            way = np.stack([sign * (0.75 - 1.15 * t + 0.2 * jitter), np.full(34, 0.25), np.full(34, 1.0)], 1)
            s = np.linspace(0, 1, 5)[None, :, None]
            line = root[:, None] + length[:, None, None] * (way[:, None] * s + np.array([0, 0.85, 0]) * s**2.2)
            screen = self._project(self._to_world(line.astype(np.float32), rotation, shift, all_head=True))
            colour = np.broadcast_to(np.float32([0.010, 0.007, 0.006]), screen.shape)
            cover = np.float32([0.75, 0.7, 0.55, 0.4, 0.15])
            hair.draw_strands(image, depth, screen, np.ascontiguousarray(colour), cover, 0.0060 * pixels, 0.06)

    def _draw_hair(self, image, depth, rotation, shift) -> None:
        world = np.ascontiguousarray(self._to_world(self._hair.points, rotation, shift, all_head=True), np.float32)
        colours = hair.hair_colours(world, self._hair, rotation, shade.LIGHTS)
        steps = world.shape[1]
        cover = np.full(steps, 0.75, np.float32)
        cover[:2], cover[-2:] = (0.12, 0.5), (0.5, 0.1)
        hair.draw_strands(image, depth, self._project(world), colours, cover, 0.0095 * self._focal / 10, 0.012)


def pictures(speaker: Speaker, script: Script) -> Iterator[np.ndarray]:
    """(size, size, 3) uint8 of every frame in turn, drawn by two threads (the kernels release the GIL)."""
    with ThreadPoolExecutor(2) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for frame in range(script.frames):
            waiting.append(pool.submit(speaker.picture, script, frame))
            if len(waiting) > 3:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _face_and_eyes(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the face, and those that fill its eyes; the skirt around the face is left out.

    Subdivision keeps the order of the control mesh: face, skirt, eyes.
    """
    face, skirt = len(topo.tessellation()), 2 * len(topo.FACE_OVAL) * len(SKIRT_RADII)
    eyes = 3 * (len(topo.RIGHT_EYE) + len(topo.LEFT_EYE))
    group = np.arange(len(model.triangles)) // (len(model.triangles) // (face + skirt + eyes))
    return model.triangles[group < face], model.triangles[group >= face + skirt]


def _mirror(model: FaceModel) -> np.ndarray:
    """(V,) the vertex on the other side of the face."""
    return cKDTree(model.mean).query(model.mean * np.float32([-1, 1, 1]))[1]


def _evenness(model: FaceModel) -> np.ndarray:
    """(80,) 1 for identity directions that treat both sides alike, 0 for those that move them apart."""
    basis = model.id_basis
    same = basis + basis[_mirror(model)] * np.float32([-1, 1, 1])[None, :, None]
    share = (same**2).sum((0, 1)) / np.maximum(4 * (basis**2).sum((0, 1)), 1e-12)
    return np.clip(2 * share - 0.9, 0, 1).astype(np.float32)


def _symmetric(model: FaceModel, albedo: np.ndarray) -> np.ndarray:
    """Albedo with half of its left-right difference taken out: that is mostly one-sided light."""
    return 0.5 * albedo + 0.5 * albedo[_mirror(model)]


def _openness(depth: np.ndarray, side: int) -> np.ndarray:
    """(H, W) 0..1: darker where nearer surfaces stand around a pixel, at a small and a large scale."""
    quarter = cv2.resize(np.minimum(depth, 11.2), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    out = np.ones_like(quarter)
    for radius, strength, limit in ((0.006, 5.0, 0.10), (0.022, 1.6, 0.35)):
        mean = cv2.GaussianBlur(quarter, (0, 0), radius * side / 2)
        out *= np.exp(-strength * np.clip(quarter - mean, 0, limit))
    return cv2.resize(out, (depth.shape[1], depth.shape[0]), interpolation=cv2.INTER_LINEAR)


def _background(side: int, wall: np.ndarray) -> np.ndarray:
    """(side, side, 3) float32 linear: a plain wall out of focus, brighter behind the speaker's shoulder."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    glow = np.exp(-(((x - 0.66) / 0.55) ** 2 + ((y - 0.38) / 0.50) ** 2))
    level = 0.38 + 0.85 * glow
    corner = (x - 0.5) ** 2 + (y - 0.5) ** 2
    level *= 1 - 0.35 * corner
    return (level[..., None] * wall * (1 + np.float32([0.06, 0.0, -0.06]) * (glow[..., None] - 0.5))).astype(np.float32)


__all__ = ["FPS", "Script", "Speaker", "make_script", "pictures"]
