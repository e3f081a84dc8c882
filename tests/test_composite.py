"""The warp, the ratio multiplied in, and the mouth: what must change, and above all what must not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkedit import resources
from talkedit.checkpoint import LinearEditors, load_linear
from talkedit.composite.shade import multiply_ratio
from talkedit.composite.softness import CRISP, keep_softness, source_blur
from talkedit.composite.warp import Warp, bounds, build_warp, sample
from talkedit.editor import load_face_model
from talkedit.emotions import EMOTIONS, code
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.openings import Openings
from talkedit.mouth.grid import jaws
from talkedit.mouth.inside import look_inside
from talkedit.mouth.interior import fill_mouth
from talkedit.mouth.registration import Registration
from talkedit.texture.tone import USUAL, Tone, tone_of

HEIGHT, WIDTH, SCALE = 240, 220, 90.0
TONE = Tone(tone_of([]).shares, np.full(256, 1e6, np.float32))  # as bright as one likes


@cache
def model() -> FaceModel:
    return load_face_model("open")


@cache
def editors() -> LinearEditors:
    return load_linear(resources.find("checkpoints", "linear_editor.safetensors"))


def in_picture(points: np.ndarray, scale: float = SCALE) -> np.ndarray:
    return (points * np.float32([scale, -scale, -scale]) + np.float32([WIDTH / 2 + 3.3, 108.7, 0])).astype(np.float32)


def mesh() -> np.ndarray:
    return in_picture(model().mean)


@cache
def noise() -> np.ndarray:
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame.setflags(write=False)
    return frame


def warped(source: np.ndarray, target: np.ndarray) -> Warp:
    warp = build_warp(source, target, model().triangles, model().uv, noise().shape)
    assert warp is not None
    return warp


def paste(picture: np.ndarray, warp: Warp) -> np.ndarray:
    out = noise().copy()
    h, w = warp.shape
    out[warp.y0 : warp.y0 + h, warp.x0 : warp.x0 + w] = picture
    return out


def emotion_delta(emotion: str, opening: float, intensity: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Source landmarks (the mean face, talking) and what the edit adds to them."""
    geometry = editors().geometry
    people = np.full(len(editors().people), 1 / len(editors().people), np.float32)
    rules = Openings(model().mean[:468])
    face = model().mean[:468].copy()
    face = face + geometry.speech * np.float32(opening - (face[13, 1] - face[14, 1]))
    e = code(emotion, intensity)
    delta = (model().exp_basis[:468] @ geometry.edit(None, np.zeros(64, np.float32), e, people)).astype(np.float32)
    delta = rules.lips(face, delta, geometry.speech, geometry.opening(e, people), 0.0)
    return face, rules.lids(face, delta, rules.lid_reference(model().mean[:468]))


# -- the warp ------------------------------------------------------------------------------------------------------


def test_nothing_moved_gives_the_very_same_pixels() -> None:
    warp = warped(mesh(), mesh())
    h, w = warp.shape
    np.testing.assert_array_equal(sample(noise(), warp), noise()[warp.y0 : warp.y0 + h, warp.x0 : warp.x0 + w])
    assert (warp.hit >= 0).mean() > 0.5


def test_outside_the_mesh_every_pixel_keeps_its_place() -> None:
    rng = np.random.default_rng(1)
    target = mesh() + rng.normal(0, 1.5, mesh().shape).astype(np.float32)
    warp = warped(mesh(), target)
    out = paste(sample(noise(), warp), warp)
    outside = np.ones((HEIGHT, WIDTH), bool)
    h, w = warp.shape
    outside[warp.y0 : warp.y0 + h, warp.x0 : warp.x0 + w] = warp.hit < 0
    assert outside.sum() > 5000
    np.testing.assert_array_equal(out[outside], noise()[outside])
    assert (out[~outside] != noise()[~outside]).any(-1).mean() > 0.9


@given(st.integers(-9, 9), st.integers(-9, 9))
@settings(max_examples=12, deadline=None)
def test_moving_all_vertices_moves_the_inside_by_whole_pixels(dx: int, dy: int) -> None:
    warp = warped(mesh(), mesh() + np.float32([dx, dy, 0]))
    out = paste(sample(noise(), warp), warp)
    y, x = np.nonzero(warp.hit >= 0)
    y, x = y + warp.y0, x + warp.x0
    inside = (y - dy >= 0) & (y - dy < HEIGHT) & (x - dx >= 0) & (x - dx < WIDTH)
    y, x = y[inside], x[inside]
    assert len(y) > 10_000
    np.testing.assert_array_equal(out[y, x], noise()[y - dy, x - dx])


def test_pixels_come_from_where_their_triangle_was() -> None:
    """Against the affine map of each hit triangle, solved apart from the rasterizer."""
    face, delta = emotion_delta("happy", 0.1)
    source = in_picture(np.asarray(model().position @ face))
    target = in_picture(np.asarray(model().position @ face + model().displacement @ delta))
    warp = warped(source, target)
    y, x = np.nonzero(warp.hit >= 0)
    pick = np.random.default_rng(2).choice(len(y), 300, replace=False)
    for yy, xx in zip(y[pick], x[pick], strict=True):
        corners = model().triangles[warp.hit[yy, xx]]
        plane = np.c_[target[corners, :2], np.ones(3)].astype(np.float64)
        if abs(np.linalg.det(plane)) < 0.05:
            continue
        share = np.linalg.solve(plane.T, [xx + warp.x0, yy + warp.y0, 1])
        np.testing.assert_allclose(warp.source[yy, xx], share @ source[corners, :2], atol=0.01)
        np.testing.assert_allclose(warp.uv[yy, xx], share @ model().uv[corners], atol=1e-3)


def test_mesh_beside_the_frame_is_no_warp() -> None:
    away = mesh() + np.float32([3 * WIDTH, 0, 0])
    assert build_warp(away, away, model().triangles, model().uv, noise().shape) is None
    partly = mesh() - np.float32([WIDTH / 2, 0, 0])
    warp = warped(partly, partly)
    assert warp.x0 == 0
    h, w = warp.shape
    np.testing.assert_array_equal(sample(noise(), warp), noise()[warp.y0 : warp.y0 + h, :w])


def test_bounds() -> None:
    points = np.float32([[10.2, 20.7, 5], [30.9, 25.1, -5]])
    assert bounds(points, (100, 100, 3)) == (8, 18, 34, 29)
    assert bounds(points, (22, 31, 3)) == (8, 18, 31, 22)
    assert bounds(points - 30, (100, 100))[:2] == (0, 0)


# -- luminance ratio -----------------------------------------------------------------------------------------------


def test_zero_ratio_is_no_change() -> None:
    picture = sample(noise(), warped(mesh(), mesh()))
    before = picture.copy()
    multiply_ratio(picture, warped(mesh(), mesh()), np.zeros((256, 256), np.float32), TONE)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("change", [-0.3, -0.05, 0.1, 0.35])
def test_constant_ratio_multiplies_the_face_and_only_it(change: float) -> None:
    warp = warped(mesh(), mesh())
    before = sample(noise(), warp)
    picture = before.copy()
    multiply_ratio(picture, warp, np.full((256, 256), change, np.float32), TONE)
    face = warp.hit >= 0
    np.testing.assert_array_equal(picture[~face], before[~face])
    gain = np.exp(change * USUAL)
    expected = np.clip(before[face] * gain, 0, 255)
    assert np.abs(picture[face] - expected).max() <= 0.5 + 1e-3


def test_channel_shares_keep_the_luminance() -> None:
    assert pytest.approx(1, abs=0.01) == USUAL @ [0.299, 0.587, 0.114]
    assert USUAL[0] < USUAL[1] < USUAL[2]  # shadows turn warmer


def test_each_luminance_has_its_own_shares() -> None:
    """Taken halfway between the luminance before the change and after it."""
    shares = np.ones((256, 3), np.float32)
    shares[100:] = (0.5, 1.0, 1.5)
    warp = warped(mesh(), mesh())
    for level, change, own in ((150, -0.3, True), (104, -0.3, False), (96, -0.3, False), (96, 0.3, True)):
        picture = np.full((*warp.shape, 3), level, np.uint8)
        multiply_ratio(picture, warp, np.full((256, 256), change, np.float32), replace(TONE, shares=shares))
        inside = cv2.erode((warp.hit >= 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        gain = np.exp(change * (shares[255] if own else shares[0]))
        assert np.abs(picture[inside] - level * gain).max() <= 0.5 + 1e-3


def test_what_the_edit_squeezes_is_shaded_the_less() -> None:
    """Shading is no steeper than it was made: a face at half its height takes half of the change."""
    low = mesh().copy()
    low[:, 1] = low[:, 1].mean() + 0.5 * (low[:, 1] - low[:, 1].mean())
    for target, share in ((mesh(), 1.0), (low, 0.5)):
        warp = warped(mesh(), target)
        picture = np.full((*warp.shape, 3), 150, np.uint8)
        multiply_ratio(picture, warp, np.full((256, 256), -0.3, np.float32), TONE)
        inside = cv2.erode((warp.hit >= 0).astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
        assert np.median(picture[inside][:, 1]) == pytest.approx(150 * np.exp(-0.3 * share * USUAL[1]), abs=1.5)


def test_no_skin_becomes_brighter_than_the_brightest_of_the_shot() -> None:
    tone = tone_of([np.full((50, 3), 180.0)])
    warp, ratio = warped(mesh(), mesh()), np.full((256, 256), 0.3, np.float32)
    face = cv2.erode((warp.hit >= 0).astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    after = []
    for level in (60, 120, 160, 178, 200):
        picture = np.full((*warp.shape, 3), level, np.uint8)
        multiply_ratio(picture, warp, ratio, tone)
        after.append(float(picture[face].mean()) / level)
    assert after[0] == pytest.approx(np.exp(0.26), abs=0.03)  # far below it nearly all of the change
    assert (np.diff(after[:-1]) < 0).all()
    assert 160 < 160 * after[2] <= 180 and after[3] < 1.02 and after[4] == pytest.approx(1, abs=0.005)
    dark = np.full((*warp.shape, 3), 200, np.uint8)
    multiply_ratio(dark, warp, -ratio, tone)
    assert dark[face].mean() == pytest.approx(200 * np.exp(-0.3), abs=1.5)  # darker is another thing


def test_ratio_lands_where_its_texel_lies() -> None:
    """A dark spot at the uv of a landmark darkens the picture around that landmark and nowhere else."""
    warp = warped(mesh(), mesh())
    for landmark in (50, 280, 151, 199):
        ratio = np.zeros((256, 256), np.float32)
        u, v = (model().uv[landmark] * 256).astype(int)
        ratio[v - 3 : v + 4, u - 3 : u + 4] = -0.3
        picture = np.full((*warp.shape, 3), 200, np.uint8)
        multiply_ratio(picture, warp, ratio, TONE)
        y, x = np.nonzero((picture != 200).any(-1))
        centre = np.array([x.mean() + warp.x0, y.mean() + warp.y0])
        assert np.linalg.norm(centre - mesh()[landmark, :2]) < 2.5
        assert np.hypot(x + warp.x0 - centre[0], y + warp.y0 - centre[1]).max() < 12


# -- softness ------------------------------------------------------------------------------------------------------


def stripes(sigma: float, shape: tuple[int, int] = (160, 200)) -> np.ndarray:
    """(h, w, 3) uint8 wide stripes both ways, blurred by ``sigma`` pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    level = 60 + 60 * ((x // 20) % 2) + 60 * ((y // 20) % 2)
    return np.repeat(cv2.GaussianBlur(level.astype(np.float32), (0, 0), sigma)[..., None] + 0.5, 3, 2).astype(np.uint8)


def corners_of(picture: np.ndarray) -> np.ndarray:
    return np.float32([[0, 0], [picture.shape[1], picture.shape[0]]])


def scaled(picture: np.ndarray, sx: float, sy: float) -> Warp:
    """A warp that takes ``sx`` and ``sy`` source pixels for each of its own, about the middle."""
    h, w = picture.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    source = np.stack([(x - w / 2) * sx + w / 2, (y - h / 2) * sy + h / 2], -1).astype(np.float32)
    return Warp(0, 0, source, np.zeros_like(source), np.zeros((h, w), np.int32))


def energy(picture: np.ndarray, axis: int) -> float:
    """Mean square of the second difference along an axis, per edge that is there to be seen."""
    level = picture[30:-30, 30:-30, 0].astype(np.float32)
    return float((np.diff(level, 2, axis=axis) ** 2).sum() / np.abs(np.diff(level, axis=axis)).sum())


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5, 2.0])
def test_blur_is_measured(sigma: float) -> None:
    picture = stripes(sigma)
    assert source_blur(picture, corners_of(picture)) == pytest.approx(sigma, rel=0.15)


def test_blur_ignores_noise_on_plain_skin_and_plain_pictures() -> None:
    noisy = stripes(1.5).astype(np.float32) + np.random.default_rng(3).normal(0, 0.5, (160, 200, 1))
    noisy = noisy.clip(0, 255).astype(np.uint8)
    assert source_blur(noisy, corners_of(noisy)) == pytest.approx(1.5, rel=0.25)
    plain = np.full((100, 100, 3), 128, np.uint8)
    assert source_blur(plain, corners_of(plain)) == CRISP
    assert source_blur(plain, np.float32([[-50, -50], [5, 5]])) == CRISP  # almost outside the picture


@pytest.mark.parametrize(("sx", "sy"), [(1.0, 1.3), (1.3, 1.0), (1.0, 1.8), (0.85, 1.0)])
def test_squeezed_edges_stay_as_soft_and_stretched_ones_as_sharp(sx: float, sy: float) -> None:
    blur = 1.2
    frame = stripes(blur)
    warp = scaled(frame, sx, sy)
    plain = sample(frame, warp)
    kept = plain.copy()
    keep_softness(kept, warp, blur)
    for axis, scale in ((1, sx), (0, sy)):
        wanted, before, after = (energy(p, axis) for p in (frame, plain, kept))
        if scale == 1:
            assert after == pytest.approx(before, rel=0.05)  # along the other axis nothing is lost
        else:
            assert abs(np.log(after / wanted)) < 0.5 * abs(np.log(before / wanted))


def test_a_fold_becomes_as_soft_as_the_source() -> None:
    blur = 1.2
    y = np.arange(80, dtype=np.float32)
    source = np.stack(np.meshgrid(np.arange(60, dtype=np.float32), np.where(y < 40, y, y + 12)), -1)
    warp = Warp(0, 0, source.astype(np.float32), np.zeros_like(source), np.zeros((80, 60), np.int32))
    picture = np.full((80, 60, 3), 60, np.uint8)
    picture[40:] = 160
    keep_softness(picture, warp, blur)
    edge = picture[:, 30, 0].astype(np.float32)
    slope = np.diff(edge)
    assert slope.max() < 50 and (slope >= 0).all()  # a hard step has one of 100
    np.testing.assert_array_equal(edge[[30, 50]], [60, 160])


def test_where_nothing_moves_softness_changes_nothing() -> None:
    warp = warped(mesh(), mesh())
    picture = sample(noise(), warp)
    before = picture.copy()
    keep_softness(picture, warp, 1.5)
    np.testing.assert_array_equal(picture, before)


def test_softness_never_touches_what_lies_off_the_mesh() -> None:
    face, delta = emotion_delta("angry", 0.1)
    source = in_picture(np.asarray(model().position @ face))
    warp = warped(source, in_picture(np.asarray(model().position @ face + model().displacement @ delta)))
    picture = sample(noise(), warp)
    before = picture.copy()
    keep_softness(picture, warp, 1.2)
    assert (picture != before).any()
    np.testing.assert_array_equal(picture[warp.hit < 0], before[warp.hit < 0])


# -- the mouth -----------------------------------------------------------------------------------------------------


def mouth(opening: float, wider: float, scale: float = 200.0) -> tuple[np.ndarray, Warp, np.ndarray, np.ndarray]:
    """A face-coloured frame with a dark mouth; its warp when speech opens the lips by ``wider`` more."""
    speech = editors().geometry.speech
    face = model().mean[:468] + speech * np.float32(opening - 0.04)

    def place(points: np.ndarray) -> np.ndarray:
        return (points * np.float32([scale, -scale, -scale]) + np.float32([220, 230, 0])).astype(np.float32)

    source = place(np.asarray(model().position @ face))
    change = model().displacement @ (speech * np.float32(wider))
    target = source + np.asarray(change) * np.float32([scale, -scale, -scale])
    frame = np.full((480, 440, 3), (190, 140, 120), np.uint8)
    cv2.fillPoly(frame, [np.round(source[model().mouth_loop, :2]).astype(np.int32)], (40, 15, 15))
    frame = cv2.GaussianBlur(frame, (0, 0), 1)
    warp = build_warp(source, target.astype(np.float32), model().triangles, model().uv, frame.shape)
    assert warp is not None
    return frame, warp, source, target


def paint(picture: np.ndarray, frame: np.ndarray, warp: Warp, source: np.ndarray, target: np.ndarray) -> None:
    """Fills the mouth of a speaker without remembered teeth, in place."""
    loop, bones = model().mouth_loop, model().landmark_vertices
    inside = look_inside(frame, source[loop, :2], 170.0, CRISP, (None, None), Registration())
    fill_mouth(picture, frame, warp, inside, target[loop, :2], jaws((target - source)[bones, :2]))


@pytest.mark.parametrize("opening", [0.0, 0.05, 0.2])
def test_a_mouth_that_does_not_move_is_left_alone(opening: float) -> None:
    frame, warp, source, target = mouth(opening, 0.0)
    picture = sample(frame, warp)
    before = picture.copy()
    paint(picture, frame, warp, source, target)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize(("opening", "wider"), [(0.0, 0.08), (0.06, 0.06), (0.2, 0.08), (0.15, -0.05)])
def test_mouth_is_painted_in_its_hole_and_its_soft_edge_only(opening: float, wider: float) -> None:
    frame, warp, source, target = mouth(opening, wider)
    picture = sample(frame, warp)
    before = picture.copy()
    loop = model().mouth_loop
    paint(picture, frame, warp, source, target)
    changed = (picture != before).any(-1)
    polygon = np.zeros(warp.shape, np.uint8)
    cv2.fillPoly(polygon, [np.round(target[loop, :2] - [warp.x0, warp.y0]).astype(np.int32)], 1)
    allowed = cv2.dilate(polygon, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17))) > 0  # 5 % of the eyes
    assert not (changed & ~allowed).any()
    hole = (warp.hit < 0) & (cv2.erode(polygon, np.ones((9, 9), np.uint8)) > 0)
    if wider > 0:
        assert changed[hole].any()
        # No skin is left in the opened mouth: the skin here is three times brighter than the inside.
        assert picture[hole].astype(float).mean(-1).max() < 110
        assert before[hole].astype(float).mean(-1).max() > 110 or opening > 0.1


@pytest.mark.parametrize(("opening", "wider"), [(0.0, 0.08), (0.03, 0.08), (0.1, 0.08)])
def test_no_line_of_the_unmoved_source_shows_along_the_opened_lips(opening: float, wider: float) -> None:
    """Dark lips on a bright face: what lay under the new hole is bright, what belongs there is not."""
    frame, warp, source, target = mouth(opening, wider)
    loop = model().mouth_loop
    dark = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillPoly(dark, [np.round(source[loop, :2]).astype(np.int32)], 1)
    dark = cv2.dilate(dark, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17))) > 0
    frame = np.where(dark[..., None], np.minimum(frame, 100), 250).astype(np.uint8)
    picture = sample(frame, warp)
    paint(picture, frame, warp, source, target)
    polygon = np.zeros(warp.shape, np.uint8)
    cv2.fillPoly(polygon, [np.round(target[loop, :2] - [warp.x0, warp.y0]).astype(np.int32)], 1)
    hole = (warp.hit < 0) & (polygon > 0)
    under = frame[warp.y0 :, warp.x0 :][: warp.shape[0], : warp.shape[1]]
    assert hole.sum() > 200 and (under[hole] == 250).any()
    assert picture[hole].max() <= 110


# -- displacement --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_displacement_grows_with_intensity_and_ends_before_the_skirt_does(emotion: str) -> None:
    moved = [np.asarray(model().displacement @ emotion_delta(emotion, 0.06, s)[1]) for s in (0.25, 0.5, 0.75, 1.0)]
    size = np.array([np.linalg.norm(m, axis=1).mean() for m in moved])
    assert (np.diff(size) > 0.1 * size[-1]).all()
    assert size[-1] > 0.005  # half a millimetre on average over face and surroundings
    outer = slice(468 + 72, 468 + 108)  # the skirt's outer ring
    assert (moved[-1][outer] == 0).all()


@pytest.mark.parametrize("yaw", [-50, -38, 0, 38, 50])
def test_a_turned_faces_far_cheek_is_not_seen_through_its_mouth(yaw: int) -> None:
    speech, loop, triangles = editors().geometry.speech, model().mouth_loop, model().triangles
    turn = np.radians(yaw)
    matrix = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    open_face = model().mean + np.asarray(model().displacement @ (speech * np.float32(0.3)))
    target = in_picture(open_face @ matrix.T, 2 * SCALE)
    source = target - np.float32([4, 0, 0])
    through, clear = (build_warp(source, target, triangles, model().uv, (480, 480), loop=edge) for edge in (None, loop))
    hole = np.zeros(clear.shape, np.uint8)
    cv2.fillPoly(hole, [np.round(target[loop, :2] - [clear.x0, clear.y0]).astype(np.int32)], 1)
    taken = through.hit != clear.hit
    assert hole.sum() > 100 and (hole[taken] == 1).all() and (clear.hit[taken] == -1).all()
    # What is taken out stays in its place; the rest is as it was.
    rows, columns = np.nonzero(taken)
    np.testing.assert_allclose(clear.source[taken], np.stack([columns + clear.x0, rows + clear.y0], 1), atol=1e-4)
    np.testing.assert_array_equal(clear.source[~taken], through.source[~taken])
    a, b, c = target[triangles[clear.hit[(hole == 1) & (clear.hit >= 0)]], :2].transpose(1, 2, 0)
    behind = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0
    assert behind.mean() < 0.02 and taken.any() == (yaw != 0)
