"""Eyeballs that widened lids bare: round irises, their own colours, and nothing else touched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkedit.composite.eyes import LEAST_SHADED, SHADED, SHADOW, _eyeball, _gleam, _left_under_lid, widen_eyes
from talkedit.composite.warp import Warp
from talkedit.facemodel.load import load_face_model
from talkedit.geometry.openings import smoothstep
from talkedit.track.topology import IRISES, LEFT_EYE, RIGHT_EYE

SKIN, WHITE, IRIS = (200, 150, 130), (225, 222, 215), (60, 40, 30)
SIZE = 500


def face(radius: float = 0.24) -> np.ndarray:
    """(478, 3) landmarks in pixels; irises of a radius over the eye's width, a third of them under the upper lid."""
    model = load_face_model("open")
    mean = model.at_landmarks(model.mean)
    points = np.zeros((478, 3), np.float32)
    points[:468] = mean * np.float32([230, -230, -230]) + np.float32([SIZE / 2, SIZE / 2, 0])
    for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
        lids = points[ring]
        r = radius * float(np.linalg.norm(lids[8, :2] - lids[0, :2]))
        middle = lids.mean(0)
        middle[1] = lids[:, 1].min() + 0.35 * r
        points[iris] = middle + r * np.float32([[0, 0, 0], [1, 0, 0], [0, -1, 0], [-1, 0, 0], [0, 1, 0]])
    return points


def draw(points: np.ndarray) -> np.ndarray:
    picture = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
        ball, mask = np.full_like(picture, WHITE), np.zeros((SIZE, SIZE), np.uint8)
        r = (points[iris[1]] - points[iris[0]])[0]
        cv2.circle(ball, tuple(np.round(points[iris[0], :2]).astype(int).tolist()), round(float(r)), IRIS, -1)
        cv2.fillPoly(mask, [np.round(points[ring, :2]).astype(np.int32)], 1)
        picture[mask > 0] = ball[mask > 0]
    return picture


def widened(points: np.ndarray, up: float) -> np.ndarray:
    """(468, 3) with upper lids higher by a share of the eye's width."""
    out = points[:468].copy()
    for ring in (RIGHT_EYE, LEFT_EYE):
        width = np.linalg.norm(out[ring[8], :2] - out[ring[0], :2])
        out[ring[1:8], 1] -= up * width * np.sin(np.linspace(0, np.pi, 9))[1:8]
    return out


def warp() -> Warp:
    places = np.zeros((SIZE, SIZE, 2), np.float32)
    return Warp(0, 0, places, places, np.zeros((SIZE, SIZE), np.int32))


def test_what_lids_bare_is_a_round_iris_in_its_white():
    points = face()
    frame, edited = draw(points), widened(points, 0.3)
    stretched = np.full_like(frame, SKIN)  # stands for what the mesh makes of it
    out = stretched.copy()
    widen_eyes(out, frame, warp(), points, edited)
    for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
        before, after = (np.zeros((SIZE, SIZE), np.uint8) for _ in range(2))
        cv2.fillPoly(before, [np.round(points[ring, :2]).astype(np.int32)], 1)
        cv2.fillPoly(after, [np.round(edited[ring, :2]).astype(np.int32)], 1)
        width = np.linalg.norm(points[ring[8], :2] - points[ring[0], :2])
        edge = np.ones((2 * round(0.11 * width) + 1,) * 2, np.uint8)
        y, x = np.mgrid[:SIZE, :SIZE]
        r = (points[iris[1]] - points[iris[0]])[0]
        away = np.hypot(x - points[iris[0], 0], y - points[iris[0], 1]) / r
        bared = (cv2.erode(after, edge) > 0) & (cv2.erode(before, edge) == 0)
        round_iris, white = bared & (away < 0.85), bared & (away > 1.15)
        assert round_iris.sum() > 30 and white.sum() > 10
        assert np.abs(out[round_iris].astype(int) - IRIS).max() < 25
        assert (out[white].mean(1) > 0.75 * np.mean(WHITE)).all()
        clear = (cv2.erode(before, edge) > 0) & (cv2.erode(after, edge) > 0)
        assert np.abs(out[clear].astype(int) - frame[clear]).max() <= 2  # the eyeball does not move
        out[cv2.dilate(after, np.ones((7, 7), np.uint8)) > 0] = SKIN
    np.testing.assert_array_equal(out, stretched)


@pytest.mark.parametrize(
    "case", ("same", "closing", "shut", "glasses", "tiny", "no iris", "aside", "pale iris", "soft")
)
def test_other_eyes_are_left_alone(case):
    points = face()
    edited, strength = widened(points, 0.16), 1.0
    if case in ("same", "closing"):
        edited = widened(points, 0.0 if case == "same" else -0.1)
    if case == "shut":
        for ring in (RIGHT_EYE, LEFT_EYE):
            points[ring[1:8]] = points[ring[15:8:-1]]
        edited = widened(points, 0.16)
    if case == "glasses":
        strength = 0.0
    if case == "tiny":
        points, edited = (np.float32(20 / 230) * (p - SIZE / 2) + SIZE / 2 for p in (points, edited))
    if case == "aside":
        for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
            points[iris] += 0.74 * (points[ring[0]] - points[iris[0]])
    if case == "no iris":
        points[468:473], points[473:] = points[468], points[473]
    frame = draw(face())
    blur = 0.13 * float(np.linalg.norm(points[469] - points[471])) / 2 if case == "soft" else 0.0
    if case == "pale iris":  # as light as its white, beside skin
        frame[(frame == IRIS).all(2)] = np.subtract(WHITE, 20)
    out = frame.copy()
    widen_eyes(out, frame, warp(), points, edited, strength, blur)
    np.testing.assert_array_equal(out, frame)


def test_the_white_is_as_dark_as_its_side_of_the_iris_shows_it():
    points = face()
    x = np.arange(SIZE, dtype=np.float32)
    frame, edited = draw(points).astype(np.float32), widened(points, 0.3)
    for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
        away = (x - points[iris[0], 0]) / (points[iris[1]] - points[iris[0]])[0]
        frame[:, (away < 0) & (away > -4) & (np.abs(x - points[ring, 0].mean()) < 60)] *= 0.5
    out = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    widen_eyes(out, frame.astype(np.uint8), warp(), points, edited)
    for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
        r = float((points[iris[1]] - points[iris[0]])[0])
        y = round(float(points[ring, 1].min()) - 1)  # the lid hid it
        dark, bright = (out[y, round(float(points[iris[0], 0] + s * 1.35 * r))].mean() for s in (-1, 1))
        assert bright > 0.7 * np.mean(WHITE) and dark == pytest.approx(0.5 * bright, rel=0.15)


@pytest.mark.parametrize("few", [0, 2, 6])
def test_a_few_pixels_tell_that_the_white_lies_in_the_dark(few: int) -> None:
    """The far eye of a turned head: on its outer side there is hardly any white, and that is as dark as the iris."""
    x, y = np.meshgrid(np.arange(41.0) - 20, np.arange(21.0) - 10)
    away, side = np.hypot(x, y) / 8, smoothstep(x[:1], -4, 4)
    own = np.where((away < 1)[..., None], np.float32(IRIS), np.float32(WHITE))
    own[(x < 0) & (away > 1)] *= 0.2
    known = (np.abs(y) < 4) & ((x > -8) | ((x == -12) & (np.abs(y - 0.5) < few / 2)))
    assert (known & (away > 1.1) & (x < 0)).sum() == few
    outer, inner = (_eyeball(own, known, away, side, np.ones_like(away))[10, at].mean() for at in (4, 36))
    assert inner == pytest.approx(np.mean(WHITE), rel=0.02)
    assert outer == pytest.approx((0.2 if few else 1.0) * np.mean(WHITE), rel=0.05)


@pytest.mark.parametrize("light", [1.0, 0.45])
def test_a_highlight_stays_on_the_eyeball_and_is_seen_once(light: float) -> None:
    points = face()
    edited, real = widened(points, 0.25), points.copy()
    real[:468] = widened(points, 0.1)  # tracked lids may lie below the real ones
    frame = draw(real)
    spots = []
    for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
        r = float((points[iris[1]] - points[iris[0]])[0])
        spots.append((points[iris[0], :2] - [0, 0.45 * r], r))
        assert spots[-1][0][1] < points[ring, 1].min()
    carried = frame.copy()  # stands for what the mesh makes of it
    for (x, y), r in spots:
        for picture, up in ((frame, 0.0), (carried, 0.5)):
            cv2.circle(picture, (round(float(x)), round(float(y - up * r))), round(0.14 * r), (250, 250, 250), -1)
    frame, carried = ((v * light).astype(np.uint8) for v in (frame, carried))
    out = carried.copy()
    mesh = warp()
    mesh.source[:] = np.indices((SIZE, SIZE))[::-1].transpose(1, 2, 0) + np.float32([0, 0.5 * spots[0][1]])
    widen_eyes(out, frame, mesh, points, edited)
    for (x, y), r in spots:
        there, moved = (out[round(float(y - up * r)), round(float(x))].mean() for up in (0.0, 0.5))
        assert there > 0.85 * 250 * light and moved < 0.5 * 250 * light


@pytest.mark.parametrize("shade", [True, False])
def test_the_white_tells_how_dark_it_is_under_the_lid(shade: bool) -> None:
    under = np.linspace(0, 1.6, 80)[:, None].repeat(10, 1)
    usual = SHADED + (1 - SHADED) * smoothstep(under, 0, SHADOW)
    level, white = 210 * (usual if shade else np.ones_like(usual)), under > 0.25
    assert _left_under_lid(level, white, under) == pytest.approx(SHADED if shade else LEAST_SHADED, abs=0.03)
    assert _left_under_lid(level, white & (under > SHADOW), under) == SHADED


@pytest.mark.parametrize("kind", ["highlight", "shiny lid", "bright bar"])
def test_a_highlight_between_lids_nearly_shut_is_one_and_a_lid_that_shines_is_none(kind: str) -> None:
    """Lids lie above and below it, as bright as it is dark beside it; what shines on a lid goes on along the lid."""
    radius, (h, w) = 20.0, (40, 120)
    level = np.full((h, w), 120, np.float32)
    level[14:27, 10:110] = 35  # what a narrow eye shows of its iris
    if kind == "highlight":
        level[15:19, 58:62] = 240
    elif kind == "shiny lid":
        level[9:14, 30:90] = 190
    else:
        level[15:19, 30:90] = 240
    lids = np.float32(
        [[10, 20], *([x, 13] for x in range(22, 107, 14)), [110, 20], *([x, 27] for x in range(106, 21, -14))]
    )
    y, x = np.mgrid[:h, :w]
    away = np.hypot(x - 60, y - 22) / radius
    found = _gleam(level, lids, np.zeros((h, w), bool), 35.0, away, radius)
    if kind == "highlight":
        assert found[15:19, 58:62].min() > 0.7 and found[:, 70:].max() < 0.05
    else:
        assert found.max() < 0.35
