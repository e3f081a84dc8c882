"""Things before the face are found against the shot's own face, and faces without them are left alone."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from talkedit.composite.occlusion import Hidden, Together, continued, guided
from talkedit.demo.occluders import KINDS, Occluder
from talkedit.editor import Speaker
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.fit import Fitter
from talkedit.track.occluders import FACING, LOST, OccluderWatch, _without_gaps
from talkedit.track.skin import ShotSkin
from talkedit.track.texels import SIZE, Texels
from talkedit.track.topology import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE

SIDE, FRAMES = 160, 40


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model("open")


@pytest.fixture(scope="module")
def texels(model: FaceModel) -> Texels:
    return Texels(model)


def landmarks(model: FaceModel, shift: float = 0.0, turn: float = 0.0) -> np.ndarray:
    """(468, 3) the mean face in a picture of SIDE pixels, turned by degrees."""
    points = model.at_landmarks(model.mean) * np.float32([1, -1, -1])
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    points = points @ np.float32([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    scale = 0.62 * SIDE / np.ptp(points[:, 1])
    return (points * scale + np.float32([SIDE / 2 + shift, SIDE / 2, 0])).astype(np.float32)


def clip(model: FaceModel) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures and landmarks of a face that moves, blinks, opens its mouth, and whose light changes."""
    rng = np.random.default_rng(0)
    blotches = cv2.GaussianBlur(rng.normal(0, 12, (SIDE, SIDE)).astype(np.float32), (0, 0), 3) * 4
    skin = np.float32([205, 160, 135]) + blotches[..., None]
    out = []
    for i in range(FRAMES):
        points = landmarks(model, shift=4 * np.sin(0.3 * i), turn=6 * np.sin(0.2 * i))
        picture = np.roll(skin, round(4 * np.sin(0.3 * i)), axis=1)
        light = 1 + 0.2 * np.sin(0.15 * i) * np.linspace(-1, 1, SIDE, dtype=np.float32)[None, :, None]
        picture = np.clip(picture * light + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
        for ring in (LEFT_EYE, RIGHT_EYE):
            if i % 9 > 1:
                cv2.fillPoly(picture, [np.round(points[ring, :2]).astype(np.int32)], (40, 30, 30))
        lips = points[OUTER_LIPS, :2]
        lips = lips.mean(0) + (lips - lips.mean(0)) * [0.8, 0.4 + 0.4 * (i % 5 > 2)]
        cv2.fillPoly(picture, [np.round(lips).astype(np.int32)], (70, 20, 20))
        out.append((picture, points))
    return out


def blind(x: torch.Tensor) -> torch.Tensor:
    """A network that sees nothing."""
    return torch.full_like(x, -9.0)


def dark(x: torch.Tensor) -> torch.Tensor:
    """A network that takes what is dark for a thing, on chins only."""
    chin = torch.zeros(SIZE, SIZE)
    chin[51:64, 18:46] = 1
    return 9 * torch.where((x < -1.5) & (chin > 0), 1.0, -1.0)


def watch_of(model: FaceModel, frames: list, network: Callable = blind) -> tuple[OccluderWatch, set[int]]:
    watch = OccluderWatch(model, network)
    for i, (picture, points) in enumerate(frames):
        watch.see(i, picture, points)
    return watch, watch.solve(lambda i: frames[i][1])


# -- the face as texels --------------------------------------------------------------------------------------------


def test_texels_are_sampled_where_the_landmarks_are(model: FaceModel, texels: Texels) -> None:
    gx, gy = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    picture = np.stack([gx, gy, 0 * gx], axis=2).astype(np.uint8)
    points = landmarks(model)
    mesh = model.position @ points
    seen = texels.picture(texels.sample(picture, points).astype(np.float32))
    uv = np.round(model.uv[model.landmark_vertices] * SIZE - 0.5).astype(int)
    on = texels.inside[uv[:, 1], uv[:, 0]]
    found, true = seen[uv[:, 1], uv[:, 0], :2][on], mesh[model.landmark_vertices, :2][on]
    assert np.abs(np.median(found - true, axis=0)).max() < 0.5
    assert np.percentile(np.abs(found - true), 90) < 3


def test_a_large_face_is_sampled_like_a_small_one(model: FaceModel, texels: Texels) -> None:
    picture, points = clip(model)[0]
    large = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    difference = texels.sample(large, (points + 0.5) * 4 - 0.5).astype(int) - texels.sample(picture, points)
    assert np.abs(difference).mean() < 5


def test_cheeks_face_the_viewer_and_the_far_one_turns_away(model: FaceModel, texels: Texels) -> None:
    x = np.nonzero(texels.inside)[1]
    frontal, turned = (texels.facing(landmarks(model, turn=turn)) for turn in (0, 40))
    assert np.median(frontal) > 0.5 and np.abs(frontal).max() <= 1
    left, right = x < 0.35 * SIZE, x > 0.65 * SIZE
    assert abs(frontal[left].mean() - frontal[right].mean()) < 0.05
    assert abs(turned[left].mean() - turned[right].mean()) > 0.4


# -- the shot's face -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.45])
def test_a_patch_is_far_from_the_face_and_light_is_not(texels: Texels, share: float) -> None:
    rng = np.random.default_rng(1)
    face = np.clip(np.float32([190, 140, 120]) * rng.uniform(0.8, 1.1, (len(texels), 1)), 0, 255)
    x = np.nonzero(texels.inside)[1] / SIZE
    patch = x > 0.7
    frames = []
    for i in range(20):
        frame = face * (1 + 0.3 * np.sin(i) * (x - 0.5))[:, None] + rng.normal(0, 2, face.shape)
        if i < 20 * share:
            frame[patch] = (60, 90, 160)
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    seen = np.ones(len(texels), bool)
    skin = ShotSkin(texels.inside, seen, np.stack(frames), np.tile(seen, (20, 1)))
    for i, frame in enumerate(frames):
        distance = skin.distance(frame, seen)
        assert np.percentile(distance[~patch], 99) < 2
        if i < 20 * share:
            assert np.percentile(distance[patch], 5) > 5
        else:
            assert np.percentile(distance[patch], 99) < 2


# -- looking for things --------------------------------------------------------------------------------------------


def test_nothing_is_found_on_a_bare_face(model: FaceModel) -> None:
    watch, hidden = watch_of(model, clip(model))
    assert not hidden and all(watch.at(i) is None for i in range(FRAMES))


@pytest.mark.parametrize(("kind", "overlap"), [("cup", 0.75), ("paper", 0.75), ("hair", 0.5)])
def test_what_comes_and_goes_is_found(model: FaceModel, texels: Texels, kind: str, overlap: float) -> None:
    frames = clip(model)
    points = frames[0][1]
    face = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
    thing = Occluder(kind, face, 10, 30, seed=2)
    drawn = [thing.draw(picture, i) for i, (picture, _) in enumerate(frames)]
    watch, hidden = watch_of(model, [(d[0], f[1]) for d, f in zip(drawn, frames, strict=True)])
    assert hidden == {i + 1 for i in range(FRAMES) if watch.at(i) is not None}
    for i in range(13, 28):
        mask, seen = watch.at(i), texels.facing(frames[i][1]) > 0.35
        assert mask is not None, i
        cover = (255 * drawn[i][1]).astype(np.uint8)[..., None]
        true = texels.sample(np.repeat(cover, 3, 2), frames[i][1])[:, 0] > 127
        one = mask[texels.inside] & seen
        assert (one & true).sum() / (one | (true & seen)).sum() > overlap, i
    assert all(watch.at(i) is None for i in (*range(8), *range(33, FRAMES)))


def test_a_thing_lost_for_moments_is_there_all_the_while() -> None:
    one, other = np.eye(2, dtype=bool), ~np.eye(2, dtype=bool)
    frames = np.arange(60)
    masks = _without_gaps({5: one, 6: one, 5 + LOST: other, 40: one}, frames)
    assert sorted(masks) == [*range(5, 6 + LOST), 40]
    np.testing.assert_array_equal(masks[8], one)
    np.testing.assert_array_equal(masks[4 + LOST], other)


def test_a_short_shot_is_no_measure_of_a_face(model: FaceModel) -> None:
    assert watch_of(model, clip(model)[:5])[1] == set()


def with_ball(frames: list, radius: int, first: int = 0, last: int = FRAMES) -> list:
    """A dark ball before the chin, which goes along with it."""
    out = []
    for i, (picture, points) in enumerate(frames):
        drawn = picture.copy()
        if first <= i < last:
            cv2.circle(drawn, [int(v) for v in np.round(points[200, :2])], radius, (9, 9, 9), -1)
        out.append((drawn, points))
    return out


def test_what_never_leaves_is_found_by_the_network(model: FaceModel, texels: Texels) -> None:
    frames = clip(model)
    assert not watch_of(model, with_ball(frames, 9))[1]
    watch, hidden = watch_of(model, with_ball(frames, 9), dark)
    assert hidden == set(range(1, FRAMES + 1))
    white = [(np.full((SIDE, SIDE, 3), 255, np.uint8), points) for _, points in frames]
    for i, (picture, points) in enumerate(with_ball(white, 9)):
        true = (texels.sample(picture, points)[:, 0] < 128) & (texels.facing(points) > FACING)
        one = watch.at(i)[texels.inside]
        assert (one & true).sum() / (one | true).sum() > 0.7, i


@pytest.mark.parametrize(("radius", "first", "last"), [(2, 0, FRAMES), (9, 18, 20)])
def test_specks_and_moments_are_no_things(model: FaceModel, radius: int, first: int, last: int) -> None:
    assert not watch_of(model, with_ball(clip(model), radius, first, last), dark)[1]


def test_a_single_picture_needs_the_network(model: FaceModel) -> None:
    one = with_ball(clip(model)[:1], 9)
    assert watch_of(model, one, dark)[1] == {1} and not watch_of(model, one)[1]


def test_a_shot_without_a_usable_frame_ends_quietly(model: FaceModel) -> None:
    assert watch_of(model, [], dark)[1] == set()


# -- in front of the edit ------------------------------------------------------------------------------------------


def over(model: FaceModel, landmark: int, radius: float) -> np.ndarray:
    """(SIZE, SIZE) bool, a round mask over the template around a landmark; radius in texels."""
    y, x = np.mgrid[:SIZE, :SIZE]
    u, v = model.uv[model.landmark_vertices[landmark]] * SIZE - 0.5
    return np.hypot(x - u, y - v) < radius


def hidden_by(model: FaceModel, mask: np.ndarray, rgb: np.ndarray | None = None) -> tuple[Hidden, np.ndarray]:
    mesh = model.position @ landmarks(model)
    return Hidden(mesh, [None] * 3, 40.0, model, [None, mask, None], rgb), mesh


def test_a_things_pixels_are_the_sources_own_and_others_the_edits(model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    source, picture = rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    edited = picture.copy()
    hidden, mesh = hidden_by(model, over(model, 205, 8), source)
    hidden.restore(picture, source, 0, 0)
    at = model.landmark_vertices
    x, y = np.round(mesh[at[205], :2]).astype(int)
    np.testing.assert_array_equal(picture[y - 1 : y + 2, x - 1 : x + 2], source[y - 1 : y + 2, x - 1 : x + 2])
    x, y = np.round(mesh[at[[425, 10, 152, 263]], :2]).astype(int).T
    np.testing.assert_array_equal(picture[y, x], edited[y, x])


def test_skin_goes_on_behind_a_thing(model: FaceModel) -> None:
    skin = np.full((SIDE, SIDE, 3), (200, 150, 130), np.uint8)
    skin[:, :, 0] = np.linspace(170, 220, SIDE).astype(np.uint8)
    drawn, points = skin.copy(), landmarks(model)
    cv2.circle(drawn, [int(v) for v in np.round(points[205, :2])], 9, (20, 20, 20), -1)
    hidden, mesh = hidden_by(model, over(model, 205, 7), drawn)
    assert np.abs(hidden.behind.astype(int) - skin).max() < 6
    # The mask is coarse; what is laid over again ends where the ball does.
    picture = skin.copy()
    hidden.restore(picture, drawn, 0, 0)
    assert np.abs(picture.astype(int) - drawn).max(2).astype(bool).sum() < 0.12 * np.pi * 9**2
    assert np.array_equal(Hidden(mesh, [None], 40.0, model, [None], drawn).behind, drawn)


def test_what_reaches_beyond_the_face_is_whole(model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    source = np.full((SIDE, SIDE, 3), (200, 150, 130), np.uint8)
    source[70:110, 100:] = rng.integers(0, 90, (40, SIDE - 100, 3))
    at = np.round(landmarks(model)[:, :2]).astype(int)
    dark = source[at[:, 1], at[:, 0]].max(1) < 90
    u, v = (model.uv[model.landmark_vertices[dark]] * SIZE - 0.5).T
    mask = np.zeros((SIZE, SIZE), bool)
    mask[round(v.min()) : round(v.max()) + 1, round(u.min()) :] = True
    hidden, mesh = hidden_by(model, mask, source)
    hidden.hold(np.ones((len(mesh), 1), np.float32), model.triangles, model.mouth_loop)
    picture = hidden.behind.copy()
    hidden.restore(picture, source, 0, 0)
    beyond = np.ones((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(beyond, cv2.convexHull(np.round(mesh[:, :2]).astype(np.int32)), 0)
    beyond = cv2.erode(beyond, np.ones((3, 3), np.uint8)) > 0
    assert beyond[70:110, 100:].sum() > 200
    np.testing.assert_array_equal(picture[beyond], source[beyond])


@pytest.mark.parametrize("free", [0.0, 1.0])
def test_what_a_held_mouth_shows_between_its_lips_stays_too(model: FaceModel, free: float) -> None:
    points = landmarks(model)
    points[INNER_LIPS[11:], 1] += 12
    mesh = model.position @ points
    source = np.full((SIDE, SIDE, 3), (200, 150, 130), np.uint8)
    hole = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(hole, [np.round(mesh[model.mouth_loop, :2]).astype(np.int32)], 1)
    hole = cv2.erode(hole, np.ones((5, 5), np.uint8)) > 0
    source[hole] = (230, 225, 220)
    hidden = Hidden(mesh, [None], 40.0, model, [over(model, 205, 4)], source)
    hidden.hold(np.full((len(mesh), 1), free, np.float32), model.triangles, model.mouth_loop)
    edited = source.copy()
    edited[hole] = 90
    hidden.restore(edited, source, 0, 0)
    assert hole.sum() > 40
    np.testing.assert_array_equal(edited[hole], source[hole] if free == 0 else 90)


def test_a_face_beyond_the_picture_is_left_alone(model: FaceModel) -> None:
    rgb = np.full((SIDE, 24, 3), 90, np.uint8)
    mesh = model.position @ (landmarks(model) + np.float32([30, 0, 0]))
    assert mesh[:, 0].min() > 24
    hidden = Hidden(mesh, [None], 40.0, model, [over(model, 205, 8)], rgb)
    assert np.array_equal(hidden.behind, rgb)
    picture = rgb.copy()
    hidden.restore(picture, rgb, 0, 0)
    assert np.array_equal(picture, rgb)


def test_a_face_moves_behind_a_thing_but_not_its_outline_nor_what_is_covered(model: FaceModel) -> None:
    together, at = Together(model), model.landmark_vertices
    beside = together(*hidden_by(model, over(model, 205, 4)))
    assert beside[at[[205, 50, 36]]].min() > 0.95 and beside[at[OUTER_LIPS]].min() > 0.95
    edge = together(*hidden_by(model, over(model, 152, 6)))
    assert edge[at[152]] < 0.05 and edge[at[OUTER_LIPS]].min() > 0.95
    lips = together(*hidden_by(model, over(model, 13, 9)))
    assert np.ptp(lips[at[OUTER_LIPS]]) < 1e-5 and lips[at[13]] < 0.05
    assert lips[at[[10, 105, 334]]].min() > 0.95
    np.testing.assert_array_equal(together(*hidden_by(model, np.zeros((SIZE, SIZE), bool))), 1)


def test_a_mouth_beside_a_hand_stops_as_a_whole(model: FaceModel) -> None:
    mesh = model.position @ landmarks(model)
    hand = mesh[model.landmark_vertices[61], :2] + np.stack([np.linspace(-14, -6, 21), np.linspace(16, -16, 21)], 1)
    hand = hand[None].astype(np.float32)
    free = Together(model)(Hidden(mesh, [hand], 40.0), mesh)
    assert free[model.landmark_vertices[61]] < 0.9
    assert np.ptp(free[model.landmark_vertices[OUTER_LIPS]]) < 1e-5
    assert free[model.landmark_vertices[[10, 334]]].min() > 0.95


def test_edges_of_a_mask_follow_the_pictures() -> None:
    picture = np.full((40, 60, 3), 40, np.uint8)
    picture[:, 30:] = 200
    mask = np.zeros((40, 60), np.float32)
    mask[:, 33:] = 1
    found = guided(mask, picture, 6.0)
    assert found[20, 31] > 0.8 and found[20, 28] < 0.2
    plain = guided(mask, np.full_like(picture, 90), 6.0)  # nothing to follow: it stays, softer
    assert plain[20, 24] < 0.05 and abs(plain[20, 32] + plain[20, 33] - 1) < 0.2 and plain[20, 42] > 0.95


def test_what_is_not_seen_is_continued_from_around() -> None:
    y, x = np.mgrid[:48, :64].astype(np.float32)
    plane = np.stack([40 + x, 90 - y, 0 * x + 70], axis=2)
    seen = np.ones((48, 64), np.float32)
    seen[16:30, 20:40] = 0
    made = continued(np.where(seen[..., None] > 0, plane, 0), seen)
    np.testing.assert_allclose(made[seen > 0], plane[seen > 0], atol=1e-4)
    assert np.abs(made - plane).max() < 9  # of a range of 20 across what is hidden
    np.testing.assert_allclose(continued(plane, np.ones_like(seen)), plane, atol=1e-4)


def test_looks_at_hidden_frames_are_dropped_unless_all_are(model: FaceModel) -> None:
    speaker = Speaker(Fitter(model), np.ones(3), None, looked=[0, 12, 24], contrast=[1.0, 2.0, 3.0], blurs=[1, 2, 3])
    speaker.drop(lambda index: index == 12)
    assert speaker.contrast == [1.0, 3.0] and speaker.blurs == [1, 3] and speaker.rims == []
    full = Speaker(Fitter(model), np.ones(3), None, looked=[0, 12], contrast=[1.0, 2.0])
    full.drop(lambda index: True)
    assert full.contrast == [1.0, 2.0]


# -- drawn things --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_things_hide_what_they_say(kind: str) -> None:
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    thing = Occluder(kind, np.float32([40, 40, 120, 120]), 0, 40, seed=1)
    picture, cover = thing.draw(grey, 20)
    again, _ = thing.draw(grey, 20)
    np.testing.assert_array_equal(picture, again)
    assert cover.min() >= 0 and cover.max() <= 1 + 1e-6 and 200 < (cover > 0.9).sum() < 0.5 * SIDE**2
    np.testing.assert_array_equal(picture[cover == 0], 128)
    assert np.abs(picture[cover > 0.9].astype(int) - 128).max(-1).mean() > 20
    if kind != "microphone":
        assert thing.draw(grey, 50)[1].max() == 0
