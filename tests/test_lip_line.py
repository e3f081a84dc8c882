"""Where closed lips meet in a picture, and landmarks that follow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkedit.facemodel.load import load_face_model
from talkedit.track.lip_line import CLOSED, FARTHEST, OPENS, USUAL, above_line, seated, settled
from talkedit.track.measures import eye_distance, mouth_opening
from talkedit.track.topology import INNER_LIPS

LIP, LINE = (170, 90, 90), (70, 25, 25)


def face(gap: float = 0.0, turned: float = 0.0) -> np.ndarray:
    """(468, 3) landmarks in pixels; lips ``gap`` eye distances apart, the head rolled by so many degrees."""
    model = load_face_model("open")
    points = model.at_landmarks(model.mean) * np.float32([200, -200, -200]) + np.float32([240, 240, 0])
    eye = eye_distance(points)
    upper, lower = INNER_LIPS[1:10], INNER_LIPS[:10:-1]
    middle = (points[upper, 1] + points[lower, 1]) / 2
    points[upper, 1], points[lower, 1] = middle - gap * eye / 2, middle + gap * eye / 2
    roll = np.radians(turned)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points[:, :2] = (points[:, :2] - 240) @ turn.T + 240
    return points.astype(np.float32)


def draw(landmarks: np.ndarray, above: float) -> np.ndarray:
    """(480, 480, 3) uint8 lips with a dark line so many eye distances above the tracked one."""
    up = landmarks[10, :2] - landmarks[152, :2]
    up = up / np.linalg.norm(up) * above * eye_distance(landmarks)
    line = np.round((landmarks[INNER_LIPS[:11], :2] + up) * 16).astype(np.int32)
    picture = np.full((480, 480, 3), LIP, np.uint8)
    cv2.polylines(picture, [line], False, LINE, 3, cv2.LINE_AA, 4)
    return picture


@pytest.mark.parametrize("turned", [0.0, 25.0])
@pytest.mark.parametrize("above", [-0.01, 0.0, 0.012, 0.02])
def test_the_dark_line_is_found_and_the_landmarks_brought_there(above: float, turned: float):
    landmarks = face(turned=turned)
    found = above_line(draw(landmarks, above), landmarks)
    assert found == pytest.approx(above, abs=0.003)
    moved = seated(landmarks, 0.015)
    again = above_line(draw(landmarks, 0.015), moved)
    assert again == pytest.approx(0, abs=0.003)
    others = np.setdiff1d(np.arange(468), INNER_LIPS)
    np.testing.assert_array_equal(moved[others], landmarks[others])
    np.testing.assert_allclose(moved[[78, 308]], landmarks[[78, 308]], atol=1e-4)  # corners stay
    assert mouth_opening(moved) == pytest.approx(mouth_opening(landmarks), abs=1e-4)


def test_open_lips_tell_nothing_and_stay_where_they_are():
    landmarks = face(1.5 * OPENS[1])
    assert above_line(draw(landmarks, 0.01), landmarks) is None
    assert seated(landmarks, 0.02) is landmarks
    halfway = seated(face(sum(OPENS) / 2), 0.02)[13, 1] - face(sum(OPENS) / 2)[13, 1]
    whole = seated(face(0.5 * CLOSED), 0.02)[13, 1] - face(0.5 * CLOSED)[13, 1]
    assert halfway == pytest.approx(whole / 2, rel=0.02) and whole < -2


def test_mouths_at_the_border_tell_nothing():
    landmarks = face()
    lips = landmarks[13, :2]
    for side in ((lips[0] - 2, 0.0), (0.0, lips[1] - 2), (lips[0] - 478, 0.0)):
        away = landmarks - np.float32([*side, 0])
        assert above_line(np.full((480, 480, 3), LIP, np.uint8), away) is None


def test_few_frames_leave_a_shot_near_what_is_usual_and_strange_ones_are_bounded():
    assert settled([]) == USUAL
    assert USUAL < settled([0.02]) < settled([0.02] * 20) < 0.02
    assert settled([0.05] * 50) == FARTHEST and settled([-0.05] * 50) == 0
