"""Where open lips end in a picture, and landmarks that follow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkedit.facemodel.load import load_face_model
from talkedit.mouth.lip_edge import LIP, beyond, mended
from talkedit.track.measures import eye_distance, mouth_opening
from talkedit.track.topology import INNER_LIPS, LIP_PAIRS, LOWER_LIP_RINGS, OUTER_LIPS, UPPER_LIP_RINGS

SKIN, LIPS, DARK, TOOTH = (205, 160, 140), (180, 95, 95), (35, 15, 15), (225, 215, 205)
MIDDLE = slice(2, 7)  # towards the corners, which stay, moves fade


def face(gap: float = 0.1, turned: float = 0.0) -> np.ndarray:
    """(468, 3) landmarks in pixels; lips ``gap`` eye distances apart, the head rolled by so many degrees."""
    model = load_face_model("open")
    points = model.at_landmarks(model.mean) * np.float32([200, -200, -200]) + np.float32([240, 240, 0])
    eye, arch = eye_distance(points), np.sin(np.linspace(0, np.pi, 11))[1:-1] ** 0.5
    seam = points[LIP_PAIRS, 1].mean(1)
    for rings, side in ((UPPER_LIP_RINGS, -1), (LOWER_LIP_RINGS, 1)):
        thick = points[rings[-1], 1] - points[rings[0], 1]
        for k, ring in enumerate(rings):
            points[ring, 1] = seam + side * gap * eye / 2 * arch + k / 3 * thick
    roll = np.radians(turned)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points[:, :2] = (points[:, :2] - 240) @ turn.T + 240
    return points.astype(np.float32)


def draw(landmarks: np.ndarray, inside: tuple[int, int, int] = DARK, lips: tuple[int, int, int] = LIPS) -> np.ndarray:
    """(480, 480, 3) uint8 skin, lips, and what lies between them."""
    picture = np.full((480, 480, 3), SKIN, np.uint8)
    for loop, colour in ((OUTER_LIPS, lips), (INNER_LIPS, inside)):
        cv2.fillPoly(picture, [np.round(landmarks[loop, :2] * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    return picture


def shifted(landmarks: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Landmarks whose inner lips lie so many eye distances further out."""
    return mended(landmarks, np.float32([[upper], [lower]]) * np.ones(9, np.float32))


@pytest.mark.parametrize("turned", [0.0, 20.0])
@pytest.mark.parametrize("inside", [DARK, TOOTH])
@pytest.mark.parametrize(("upper", "lower"), [(0.03, 0.0), (0.0, 0.03), (-0.03, 0.025), (0.025, -0.03), (0.0, 0.0)])
def test_the_edge_is_found_on_both_sides_of_the_tracked_one(
    upper: float, lower: float, inside: tuple[int, int, int], turned: float
):
    tracked = face(0.12, turned)
    real = shifted(tracked, upper, lower)
    found = beyond(draw(real, inside), tracked)
    # Bright teeth shine over the edge by a pixel or so: less of the lip is told.
    np.testing.assert_allclose(found[:, MIDDLE].mean(1), [upper, lower], atol=0.006 if inside == DARK else 0.01)
    eye = eye_distance(tracked)
    before, after = (
        np.linalg.norm(v[LIP_PAIRS[MIDDLE], :2] - real[LIP_PAIRS[MIDDLE], :2], axis=2).max() / eye
        for v in (tracked, mended(tracked, found))
    )
    assert after < max(0.5 * before, 0.005)


def test_closed_lips_stay_and_the_border_of_the_picture_does_no_harm():
    assert not beyond(draw(face(0.1)), face(0.008)).any()
    tracked = face(0.12)
    picture = draw(shifted(tracked, 0.03, 0.0))
    cut = int(tracked[UPPER_LIP_RINGS[-1], 1].min())
    moved = tracked - np.float32([0, cut, 0])
    assert not beyond(picture[cut:], moved).any()


def test_what_cannot_be_told_from_lips_moves_nothing():
    tracked = face(0.12)
    assert not beyond(draw(shifted(tracked, 0.03, 0.03), inside=LIPS), tracked).any()  # a tongue
    # Nearly as dark as the lips themselves: the tracker knows better.
    dim, dimmer = (60, 25, 25), (48, 20, 20)
    assert np.abs(beyond(draw(shifted(tracked, 0.03, 0.03), dimmer, dim), tracked)).max() < 0.003


def test_rings_of_a_lip_follow_and_never_cross():
    tracked = face(0.12)
    moves = np.full((2, 9), 0.03, np.float32)
    out, eye = mended(tracked, moves), eye_distance(tracked)
    assert mouth_opening(out) == pytest.approx(mouth_opening(tracked) + 0.06, abs=0.003)
    for rings in (UPPER_LIP_RINGS, LOWER_LIP_RINGS):
        np.testing.assert_array_equal(out[rings[-1]], tracked[rings[-1]])
        way = np.linalg.norm(out[rings] - tracked[rings], axis=2) / eye
        np.testing.assert_allclose(way, np.float32([0.03, 0.02, 0.01, 0])[:, None] * np.ones(9), atol=1e-4)
    others = np.setdiff1d(np.arange(468), np.r_[UPPER_LIP_RINGS.ravel(), LOWER_LIP_RINGS.ravel()])
    np.testing.assert_array_equal(out[others], tracked[others])
    assert mended(tracked, np.zeros((2, 9), np.float32)) is tracked
    found = beyond(draw(shifted(tracked, 0.055, 0.055)), tracked)
    thick = np.linalg.norm(tracked[UPPER_LIP_RINGS[-1], :2] - tracked[UPPER_LIP_RINGS[0], :2], axis=1) / eye
    assert (found[0] <= LIP * thick + 1e-6).all()


def test_small_moves_are_left_to_the_tracker():
    tracked, found = face(0.12), []
    for real in (0.005, 0.012, 0.03):
        found.append(float(beyond(draw(shifted(tracked, real, 0.0)), tracked)[0, MIDDLE].mean()))
    assert found[0] < 0.002 and found[1] < 0.5 * found[2] and found[2] == pytest.approx(0.03, abs=0.005)
