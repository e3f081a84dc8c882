"""Glasses are found in the texture and stay rigid under an edit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkedit.facemodel.load import load_face_model
from talkedit.geometry.glasses import GlassesHold
from talkedit.texture.glasses import glasses_score
from talkedit.track import topology as topo

BARE, WEARS = 0.05, 0.2


def skin(size: int = 256, seed: int = 0) -> np.ndarray:
    """A smooth, slightly noisy texture without a face's details."""
    rng = np.random.default_rng(seed)
    base = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), size / 20)
    return np.clip(140 + 20 * base / base.std() + rng.normal(0, 2, (size, size)), 1, 254).astype(np.float32)


def with_rims(texture: np.ndarray, level: float) -> np.ndarray:
    """Two round lenses and a bridge drawn with the given brightness."""
    out, s = texture.copy(), texture.shape[0] / 256
    thick = max(1, round(3 * s))
    for x in (93, 163):
        cv2.ellipse(out, (round(x * s), round(92 * s)), (round(27 * s), round(23 * s)), 0, 0, 360, level, thick)
    cv2.line(out, (round(118 * s), round(84 * s)), (round(138 * s), round(84 * s)), level, thick)
    return out


@pytest.mark.parametrize("size", [256, 512])
def test_rims_are_found_and_bare_skin_is_not(size: int) -> None:
    assert glasses_score(skin(size)) < BARE
    assert glasses_score(with_rims(skin(size), 40)) > WEARS


def test_a_broad_shadow_is_no_rim() -> None:
    """Deep eye sockets in light from above are dark, but wider than any rim."""
    shade = skin()
    shade[70:128] *= 0.4
    assert glasses_score(cv2.GaussianBlur(shade, (0, 0), 4)) < BARE


def test_one_side_is_not_enough() -> None:
    half = with_rims(skin(), 40)
    half[:, 128:] = skin()[:, 128:]
    assert glasses_score(half) < BARE


def hold() -> GlassesHold:
    model = load_face_model("open")
    return GlassesHold(model.mean[model.landmark_vertices])


def test_rims_stay_and_lids_brows_and_mouth_move() -> None:
    keep = hold()
    delta = np.ones((topo.LANDMARKS, 3), np.float32)
    held = keep(delta, 1.0)[:, 1]
    rims = [168, 6, 111, 340, 117, 346, 118, 347, 143, 372]
    assert held[rims].max() < 0.15
    free = np.r_[topo.OUTER_LIPS, topo.LEFT_EYE, topo.RIGHT_EYE, [152, 10, 1, 4, 61, 291]]
    assert held[free].min() > 0.99
    assert held[[105, 334, 66, 296]].min() > 0.3  # the brows' upper rows


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_hold_is_linear_in_its_share(share: float) -> None:
    keep = hold()
    delta = np.random.default_rng(1).normal(0, 1, (topo.LANDMARKS, 3)).astype(np.float32)
    expected = (1 - share) * delta + share * keep(delta, 1.0)
    np.testing.assert_allclose(keep(delta, share), expected, atol=1e-6)
