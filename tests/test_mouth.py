"""Teeth: aligned crops, completion and its training, what a shot's memory keeps, and how remembered rows are shown."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from talkedit import resources
from talkedit.composite.warp import Warp, build_warp, sample
from talkedit.editor import Editor
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.mouth import assembly, cavity, interior
from talkedit.mouth.alignment import HEIGHT, WIDTH, align, cut, from_crop, hidden, polygon, to_crop
from talkedit.mouth.assembly import (
    BACK,
    ENOUGH,
    GAP,
    GLOSS,
    Kept,
    _above_arch,
    _arch,
    _end_in_gum,
    _lengthen,
    _this_side,
    _together,
    assemble,
)
from talkedit.mouth.completion import Completion, complete, load_completion, save_completion
from talkedit.mouth.dentition import ARCH, CROWNS, EDGE, TURN, upper_row, whole_crowns
from talkedit.mouth.grid import Grid
from talkedit.mouth.inside import (
    CAVITY_RED,
    CAVITY_SHARE,
    STAYS,
    TORN,
    Inside,
    _behind_dark,
    _beyond,
    _cavity_colour,
    _continued,
    _relight,
    _rounded,
    _touch,
    _upper_edge,
    _usual_cavity,
    look_inside,
)
from talkedit.mouth.interior import (
    COVERS,
    DROPPED,
    SINKS,
    TOUCH,
    WIDER,
    _close,
    _left_behind,
    _sunk,
    _ways,
    _widened,
    fill_mixed,
    fill_mouth,
)
from talkedit.mouth.invention import OPENED, invent, plausible
from talkedit.mouth.lips import beside_lips, between_lips
from talkedit.mouth.memory import KEPT, LOWEST_REST, SPACING, MouthMemory
from talkedit.mouth.parting import parting
from talkedit.mouth.registration import _BACK, _ENOUGH, _FAR, _FARTHEST, Registration, find
from talkedit.mouth.rows import (
    Row,
    depth,
    gap_of,
    middles,
    redness,
    row_end,
    split,
    teeth_end,
    toothness,
    undivided,
    with_stained,
)
from talkedit.reconstruct.pose import find_pose
from talkedit.track.topology import INNER_LIPS, OUTER_LIPS
from talkedit.train import teeth as training
from talkedit.train.mouths import Mouths

WEIGHTS = resources.folders("checkpoints")[-1] / "teeth.safetensors"
SKIN, LIP, TOOTH, DARK = (190, 140, 120), (160, 80, 80), (225, 220, 205), (35, 12, 12)


def model():
    return load_face_model("open")


def face(opening: float = 0.0, scale: float = 200.0, shift: tuple[float, float] = (220, 230)) -> np.ndarray:
    """(468, 3) landmarks in pixels of a face whose lips are parted by ``opening`` model units."""
    mean = model().at_landmarks(model().mean)
    points = mean.copy()
    upper, lower = INNER_LIPS[1:10], INNER_LIPS[11:]
    middle = (points[upper, 1].mean() + points[lower, 1].mean()) / 2
    arch = 1 - np.linspace(-1, 1, 9) ** 2
    points[upper, 1], points[lower, 1] = middle + 0.2 * opening * arch, middle - 0.8 * opening * arch[::-1]
    return (points * np.float32([scale, -scale, -scale]) + np.float32([*shift, 0])).astype(np.float32)


def draw(landmarks: np.ndarray, teeth: float = 0.0, brightness: float = 1.0) -> np.ndarray:
    """(480, 440, 3) uint8: skin, lips, and between them the dark with ``teeth`` pixels of an upper row."""
    picture = np.full((480, 440, 3), SKIN, np.uint8)
    loop = landmarks[INNER_LIPS, :2]
    inside = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(loop).astype(np.int32)], 1)
    picture[cv2.dilate(inside, np.ones((11, 11), np.uint8)) > 0] = LIP
    picture[inside > 0] = DARK
    if teeth:
        top, x = int(loop[3:8, 1].min()), np.arange(picture.shape[1])
        row = np.zeros_like(inside)
        row[top : round(top + teeth)] = 1
        row[:, x % 16 == 0] = 0  # lines between them
        picture[(row & inside) > 0] = TOOTH
    return (cv2.GaussianBlur(picture, (0, 0), 0.7) * brightness).astype(np.uint8)


def owns(inside: Inside) -> list[np.ndarray]:
    return [part.own for part in inside.parts]


def with_parts(inside: Inside, **pairs) -> Inside:
    """With an attribute of both parts set, the upper row's first."""
    parts = (replace(part, **{name: pair[k] for name, pair in pairs.items()}) for k, part in enumerate(inside.parts))
    return replace(inside, parts=tuple(parts))


def observe(memory: MouthMemory, picture: np.ndarray, landmarks: np.ndarray, yaw: float = 0.0) -> None:
    memory.observe(picture, landmarks, find_pose(landmarks, memory.mean), yaw)


def remembered() -> MouthMemory:
    memory = MouthMemory(model().at_landmarks(model().mean))
    landmarks = face(0.2)
    observe(memory, draw(landmarks, 16), landmarks)
    return memory


# ---- alignment


def test_points_come_back_from_the_crop():
    landmarks = face(0.1)
    transform = align(landmarks)
    there = to_crop(landmarks[INNER_LIPS], transform)
    np.testing.assert_allclose(from_crop(there, transform), landmarks[INNER_LIPS, :2], atol=2e-3)
    assert (there > 0).all() and (there < (WIDTH, HEIGHT)).all()


def test_a_crop_is_the_same_wherever_and_however_large_the_face_is():
    near, far = (face(0.15, scale, place) for scale, place in ((200.0, (220, 230)), (150.0, (200, 260))))
    a, b = (cut(draw(points), align(points)).astype(float) for points in (near, far))
    np.testing.assert_allclose(to_crop(near[INNER_LIPS], align(near)), to_crop(far[INNER_LIPS], align(far)), atol=0.01)
    assert np.abs(a - b).mean() < 6


# ---- completion


def small_set(count: int = 12) -> Mouths:
    rng = np.random.default_rng(0)
    images, loops = [], []
    for i in range(count):
        landmarks = face(0.12 + 0.01 * i)
        transform = align(landmarks)
        images.append(cut(draw(landmarks, 12), transform))
        loops.append(to_crop(landmarks[INNER_LIPS], transform))
    colour = np.arange(count) % 3 > 0
    people = np.array([f"p{i % 4}" for i in range(count)])
    noisy = np.clip(np.array(images) + rng.normal(0, 3, (count, HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    return Mouths(noisy, np.array(loops), people, np.array(["s"] * count), colour)


def test_known_pixels_stay_and_hidden_ones_have_no_say():
    torch.manual_seed(0)
    network, mouths = Completion().eval(), small_set(1)
    mask = hidden(mouths.loops[0])
    crop = mouths.images[0]
    made = complete(network, crop, mask)
    assert made.shape == (HEIGHT, WIDTH, 3) and made.dtype == np.uint8
    np.testing.assert_array_equal(made[mask == 0], crop[mask == 0])
    other = np.where(mask[..., None] > 0, 255 - crop, crop)
    np.testing.assert_array_equal(complete(network, other, mask), made)
    assert (complete(network, np.where(mask[..., None] > 0, crop, 255 - crop), mask)[mask > 0] != made[mask > 0]).any()


def test_the_loss_looks_at_what_is_hidden_only_and_grey_teaches_luminance_only():
    mouths = small_set(4)
    masks = np.stack([hidden(loop) for loop in mouths.loops])
    batch = training.draw_batch(mouths, masks, np.arange(4), np.random.default_rng(0), "cpu")
    assert float(training.masked_loss(batch.images, batch)) == 0
    outside = batch.images + 0.3 * (1 - batch.mask)
    assert float(training.masked_loss(outside, batch)) == 0
    assert float(training.masked_loss(batch.images + 0.1 * batch.mask, batch)) > 0.05
    grey = replace(batch, colour=torch.zeros(4))
    tinted = batch.images + torch.tensor([0.1, 0.0, -0.1 * 0.299 / 0.114])[:, None, None] * batch.mask
    assert float(training.masked_loss(tinted, grey)) == pytest.approx(0, abs=1e-5)
    assert float(training.masked_loss(tinted, replace(batch, colour=torch.ones(4)))) > 0.05


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path):
    config = training.Config(steps=4, batch=2, warm_up=2, save_every=2)
    mouths = small_set()
    whole = training.Run(config, mouths, tmp_path / "whole")
    list(whole.train())
    first = training.Run(config, mouths, tmp_path / "parts")
    next(first.train())
    second = training.Run(config, mouths, tmp_path / "parts")
    assert second.step == 2
    list(second.train())
    for name, value in whole.generator.state_dict().items():
        assert torch.equal(value, second.generator.state_dict()[name]), name
    with pytest.raises(InputError, match="other settings"):
        training.Run(replace(config, seed=1), mouths, tmp_path / "parts")


def test_weights_come_back_and_damaged_ones_are_refused(tmp_path):
    torch.manual_seed(0)
    network, file = Completion(), tmp_path / "teeth.safetensors"
    save_completion(file, network, {})
    again = load_completion(file)
    for name, value in network.state_dict().items():
        assert torch.equal(value.half().float(), again.state_dict()[name]), name
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a teeth completion network"):
        load_completion(file)
    torch.save({"a": 1}, file)
    with pytest.raises(InputError, match="not a teeth completion network"):
        load_completion(file)


def test_the_shipped_weights_load_and_put_something_bright_into_a_hidden_smile():
    network = load_completion(WEIGHTS)
    assert WEIGHTS.stat().st_size < 4e6
    landmarks = face(0.15)
    transform = align(landmarks)
    crop = cut(draw(landmarks), transform)
    mask = hidden(to_crop(landmarks[INNER_LIPS], transform))
    made = complete(network, crop, mask)[mask > 0].astype(float)
    assert made.mean(1).std() > 10 and made.mean(1).max() > 110


# ---- memory


def test_teeth_are_told_from_lips_skin_and_dark():
    light = np.float32(SKIN)
    colours = np.array([[TOOTH, LIP, DARK]], np.uint8)
    tooth, lip, dark = toothness(colours, light)[0]
    assert tooth > 0.9 and lip < 0.1 and dark < 0.1


def test_yellow_teeth_are_told_by_their_green():
    """As much less blue than red as the skin has, nearly, but not less green."""
    light = np.float32([172, 128, 125])
    colours = np.array([[(191, 176, 145), (191, 146, 145)]], np.uint8)
    yellow, pink = toothness(colours, light)[0]
    assert 0.85 * (light[0] - light[2]) / light[0] < (191 - 145) / 191
    assert yellow > 0.9 and pink < 0.35


def test_a_pinhole_between_closed_lips_takes_the_colour_that_touches_it():
    lips = np.full((30, 30, 3), 200, np.float32)
    lips[13:18] = 80  # the dark line between them
    hole = np.zeros((30, 30), np.float32)
    hole[15, 4::5] = 1
    torn = np.where(hole[..., None] > 0, np.float32(255), lips)
    closed = _close(torn, hole, 4.0)
    assert np.abs(closed - lips)[hole > 0].max() < 12
    np.testing.assert_array_equal(closed[hole == 0], lips[hole == 0])


@pytest.mark.parametrize(("wider", "expected"), [(30.0, 1 + WIDER * 30 / 60), (-20.0, 1.0)])
def test_rows_widen_with_a_smile_and_are_not_pressed_together(wider, expected):
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False) + np.pi
    loop = np.stack([30 * np.cos(turn), 8 * np.sin(turn)], 1).astype(np.float32)
    target = (loop * [1 + wider / 60, 1] + [60, 20]).astype(np.float32)
    mouth = np.zeros((40, 120, 3), np.float32)
    mouth[:, [50, 70]] = 100  # ten pixels to both sides of the middle
    made = _widened(mouth, loop, target, 60.0)[20, :, 0]
    places = [float((made[part] * np.arange(120)[part]).sum() / made[part].sum()) for part in (np.s_[:60], np.s_[60:])]
    np.testing.assert_allclose(places, [60 - 10 * expected, 60 + 10 * expected], atol=0.5)


@pytest.mark.parametrize("aside", [-12.0, 0.0, 12.0])
@pytest.mark.parametrize("tilt", [-0.4, 0.0, 0.4])
def test_depth_is_the_same_along_a_mouth_that_is_pulled_aside(aside, tilt):
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False) + np.pi
    loop = np.stack([40 * np.cos(turn), 10 * np.sin(turn)], 1)
    loop[11:, 0] += aside  # the lower lip
    c, s = np.cos(tilt), np.sin(tilt)
    turned = np.float32(loop @ np.array([[c, s], [-s, c]]))
    x, y = np.float32(np.array([[-20, 0], [20, 0], *middles(loop.astype(np.float32))]) @ np.array([[c, s], [-s, c]])).T
    left, right, top, bottom = depth(x, y, turned)
    assert left == pytest.approx(right, abs=1e-5)
    assert (top, bottom) == pytest.approx((0, 1), abs=1e-5)


def test_the_rows_part_at_the_dark_line_and_near_where_the_upper_one_should_end():
    area = np.full((40, 30, 3), 200, np.uint8)
    area[22:25] = 20
    loop = np.zeros((20, 2), np.float32)
    loop[3:8], loop[13:18] = (15, 0), (15, 39)
    loop[0], loop[10] = (0, 20), (30, 20)
    y, x = np.mgrid[:40, :30].astype(np.float32)
    between = depth(x, y, loop)
    known = np.ones((40, 30), np.float32)
    assert split(area, known, between) == pytest.approx(23 / 39, abs=0.06)
    assert split(np.full_like(area, 200), known, between, 0.3, 0.1) == pytest.approx(0.3, abs=0.08)


def test_memory_is_bounded_keeps_the_most_teeth_and_is_the_same_every_time():
    def learn() -> MouthMemory:
        memory = MouthMemory(model().at_landmarks(model().mean))
        for i in range(12 * SPACING):
            landmarks = face(0.16 + 0.04 * (i % 7) / 7)
            observe(memory, draw(landmarks, 6 + i % 11), landmarks)
        return memory

    memory = learn()
    assert 1 < len(memory.upper) <= KEPT and len(memory.lower) <= KEPT
    assert min(k.score for k in memory.upper) > 0.5 * memory.upper[0].score
    a, b = memory.solve(0.6), learn().solve(0.6)
    np.testing.assert_array_equal(a.upper.picture, b.upper.picture)
    np.testing.assert_array_equal(a.upper.place, b.upper.place)
    assert not memory.upper and memory.still is None


@pytest.mark.parametrize("case", ["shut", "no teeth", "turned away"])
def test_what_shows_no_teeth_is_not_remembered_and_only_for_shut_lips_are_some_drawn(case):
    memory = MouthMemory(model().at_landmarks(model().mean))
    landmarks = face(0.0 if case == "shut" else 0.2)
    observe(memory, draw(landmarks, 16 * (case == "turned away")), landmarks, 50.0 * (case == "turned away"))
    assert memory.lacks_teeth()
    rows = memory.solve(0.6)
    if case == "turned away" or case == "no teeth":  # nothing to go by
        assert rows is None
    else:
        assert rows.upper is rows.lower is None and rows.guess is not None


def test_a_row_lies_where_it_was_seen_and_moves_with_the_head():
    rows = remembered().solve(0.6)
    for shift, scale in (((220, 230), 200.0), ((240, 215), 170.0)):
        landmarks = face(0.2, scale, shift)
        pose = find_pose(landmarks, model().at_landmarks(model().mean))
        upper, _ = rows.placed(pose, pose.to_model(landmarks))
        teeth = upper.where(np.zeros(2), (480, 440))
        inside = np.zeros(teeth.shape, np.uint8)
        cv2.fillPoly(inside, [np.round(landmarks[INNER_LIPS, :2]).astype(np.int32)], 1)
        drawn = toothness(draw(landmarks, 16 * scale / 200), np.float32(SKIN)) > 0.5
        drawn = cv2.morphologyEx((drawn & (inside > 0)).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5))) > 0
        seen = (teeth > 0.5) & (cv2.erode(inside, np.ones((5, 5))) > 0)
        assert (seen & drawn).sum() > 0.65 * drawn.sum() and (seen & drawn).sum() > 0.85 * seen.sum()


def test_a_row_loses_much_of_its_lips_shadow_and_nothing_else():
    depth_of = np.clip(np.arange(50) - 10, 0, None)
    level = np.interp(depth_of, [0, 10, 20, 39], [100, 200, 200, 150])  # shadow, teeth, and where they curve away
    picture = np.repeat(np.repeat(level[:, None, None], 60, 1), 3, 2).astype(np.uint8)
    teeth = np.zeros((50, 60), np.float32)
    teeth[10:45, 5:55] = 1
    out = assembly._without_shadow(picture, teeth, 20)
    column = out[:, 30, 0].astype(float)
    expected = level[12:20] * (200 / level[12:20]) ** assembly.UNSHADED
    np.testing.assert_allclose(column[12:20], expected, rtol=0.03)
    np.testing.assert_array_equal(out[25:], picture[25:])
    np.testing.assert_array_equal(out[:7], picture[:7])
    np.testing.assert_array_equal(out[:, 58:], picture[:, 58:])
    np.testing.assert_array_equal(assembly._without_shadow(picture, 0 * teeth, 20), picture)  # no row


def test_a_drawn_row_is_an_arch_of_single_teeth_in_the_light_of_the_skin():
    grid = Grid(model().at_landmarks(model().mean), 200.0)
    light, lip = np.float32([180, 130, 100]), np.array([grid.size[0] / 2, grid.lips_at])
    row = upper_row(grid, lip, light, 0.6)
    assert row.picture.shape[1::-1] == grid.size and row.teeth.shape == row.picture.shape[:2]
    np.testing.assert_allclose(row.teeth, row.teeth[:, ::-1], atol=1e-4)
    shown = row.teeth > 0.9
    rows, columns = np.nonzero(row.teeth > 0.5)
    assert 0 < rows.max() - grid.lips_at < 0.03 * grid.pixels  # a little below the lips of the mean face
    assert 0.5 < np.ptp(columns) / grid.pixels < 0.65
    # The line from the middle outwards dips where the mean crowns of adults meet.
    level = row.picture[round(grid.lips_at - 0.02 * grid.pixels)].astype(float).mean(1)
    dips = np.flatnonzero((level[1:-1] < level[:-2]) & (level[1:-1] <= level[2:])) + 1
    middle = grid.size[0] / 2 - 0.5
    for away in (0.0, CROWNS[0][0], CROWNS[0][0] + CROWNS[1][0]):
        expected = ARCH * np.sin(away / TURN) * grid.pixels
        assert np.abs(dips - (middle + expected)).min() <= 1.5 and np.abs(dips - (middle - expected)).min() <= 1.5
    teeth = row.picture[shown].astype(float)
    bright = np.percentile(teeth.mean(1), 98)
    assert 0.8 < bright / light.mean() < 1.1 and teeth.mean() < 0.65 * bright  # most of it in shadow
    red = [(c[0] - c[2]) / c.mean() for c in (teeth.mean(0), light)]
    assert 0.3 * red[1] < red[0] < 0.8 * red[1]  # tinted by the light, paler than skin
    low, high = np.percentile(teeth.mean(1), [20, 80])
    dim, bright = (teeth[part].mean(0) for part in (teeth.mean(1) < low, teeth.mean(1) > high))
    assert dim[0] / dim[2] > 1.1 * bright[0] / bright[2]  # what light there is in shadow has come off lips
    assert np.ptp(upper_row(grid, lip, np.full(3, 140, np.float32), 0.6).picture, axis=2).max() <= 1
    brighter = upper_row(grid, lip, light * 1.3, 0.6).picture[shown].astype(float)
    assert brighter.mean() == pytest.approx(1.3 * teeth.mean(), rel=0.02)
    soft = [upper_row(grid, lip, light, blur).picture.astype(float).mean(2) for blur in (0.6, 3)]
    lines = [np.abs(np.diff(picture, axis=1))[shown[:, 1:]] for picture in soft]
    assert lines[1].mean() < 0.6 * lines[0].mean()  # as soft as the shot


@pytest.mark.parametrize("down", [0.0, 9.0])
def test_a_strip_of_upper_teeth_gets_crowns_in_its_colour(down: float) -> None:
    grid = Grid(model().at_landmarks(model().mean), 200.0)
    light, lip = np.float32(SKIN), np.float32([grid.size[0] / 2, grid.lips_at])
    whole = upper_row(grid, lip + np.float32([0, down]), light, 1.0)
    y, last = np.arange(grid.size[1])[:, None], np.flatnonzero((whole.teeth > 0.5).any(1)).max()
    seen = whole.teeth * (y > last - 7)
    grey = np.clip(0.7 * whole.picture.astype(float), 0, 255).astype(np.uint8)
    strip = Row(grey, seen, light, np.eye(2, 3, dtype=np.float32))
    loop = np.tile(lip, (20, 1)) + np.linspace(-30, 30, 20)[:, None] * np.float32([1, 0])
    loop[10] = 2 * lip - loop[0]
    row = whole_crowns(strip, seen, loop, grid)
    both = (row.teeth > 0.9) & (whole.teeth > 0.9)
    assert both.sum() > 0.95 * (whole.teeth > 0.9).sum() > 3 * (seen > 0.5).sum()  # at the height of the strip
    assert np.median(np.abs(row.picture[both].astype(float) - grey[both])) < 6
    nowhere = np.roll(seen, -300, axis=0) * 0
    assert whole_crowns(strip, nowhere, loop, grid) is strip


def teeth_row() -> Row:
    """An upper row of uneven teeth, 60 x 14 pixels of a picture of 60 rows and 100 columns."""
    rng = np.random.default_rng(0)
    picture, teeth = np.full((60, 100, 3), DARK, np.uint8), np.zeros((60, 100), np.float32)
    edges = np.r_[20, 20 + np.cumsum([9, 7, 11, 12, 8, 13])]
    for left, right in pairwise(edges):
        end = 30 + rng.integers(-1, 2)
        picture[16:end, left + 1 : right], teeth[16:end, left:right] = TOOTH, 1
    return Row(cv2.GaussianBlur(picture, (0, 0), 0.8), teeth, np.float32(SKIN), np.eye(2, 3, dtype=np.float32))


def test_a_row_goes_on_to_the_corners_lower_and_darker():
    row, pixels = teeth_row(), 90
    stray = row.teeth.copy()
    stray[20:24, 4:7] = 1  # a gleam on the lip is no end of the row
    picture, arch = _arch(row.picture, stray, pixels)
    np.testing.assert_array_equal(arch[:, 20:80], stray[:, 20:80])
    np.testing.assert_array_equal(picture[16:28, 20:80], row.picture[16:28, 20:80])
    light = picture.astype(float).mean(2)
    for columns in (range(80, 88), range(19, 11, -1)):
        height = arch[:, list(columns)].sum(0)
        assert 0.8 * 14 < height[0] <= 15 and (np.diff(height) <= 1).all() and height[-1] < 0.92 * height[0]
    assert arch[:, 80 + round(BACK * pixels) :].max() < 0.05
    assert light[22, 81:89].mean() > 1.1 * light[22, 89:93].mean()


def test_a_row_goes_on_as_it_bends():
    row, x = teeth_row(), np.arange(100)
    for bend in (-1, 1):  # the ends lie higher, as a lower row's in a smile do, or lower
        shift = np.round(bend * 6 * ((x - 50) / 30.0) ** 2).astype(int)
        bent = (np.stack([np.roll(v[:, i], shift[i], axis=0) for i in x], 1) for v in (row.picture, row.teeth))
        arch = _arch(*bent, 90)[1]
        middle = (np.arange(60) @ arch) / np.maximum(arch.sum(0), 1e-6)
        for end, beyond in ((78, 85), (21, 14)):
            assert 0.5 < bend * (middle[beyond] - middle[end]) <= 0.06 * 90 + 0.5


def test_a_gap_between_upper_front_teeth_stays() -> None:
    teeth, pixels = np.zeros((40, 100), np.float32), 100
    teeth[12:24, 26:46], teeth[12:24, 53:80] = 1, 1
    picture = np.where(teeth[..., None] > 0, np.uint8(TOOTH), np.uint8(DARK)).astype(np.uint8)
    np.testing.assert_array_equal(_together(teeth, pixels, GAP) * teeth, teeth)
    shown, arch = _arch(picture, teeth, pixels)
    assert arch[:, 46:53].max() == 0 and (shown[12:24, 46:53] == DARK).all()
    assert (arch[14:22, [22, 83]] > 0.5).all()  # it goes on at both ends
    assert (_together(teeth, pixels)[:, 26:46] == 0).all()  # of other rows no gap is so wide
    for lesser in (np.s_[12:24, 43:46], np.s_[26:38, 26:46], np.s_[12:24, 18:38]):  # small, below, far
        stray = teeth.copy()
        stray[:, 26:46] = 0
        stray[lesser] = 1
        assert ((_together(stray, pixels, GAP) * stray)[lesser] == 0).all()


def test_lines_between_teeth_grow_vague_under_the_lip():
    row = teeth_row()
    picture, teeth = row.picture.copy(), row.teeth.copy()
    out = _lengthen(picture, teeth, 12, -1).astype(float).mean(2)
    lines = [np.abs(np.diff(out[y, 26:74])).mean() for y in (18, 13, 6)]
    assert lines[1] < 0.8 * lines[0] and 0.3 * lines[0] < lines[2] < 0.7 * lines[1]  # but no smooth bar either
    np.testing.assert_array_equal(_lengthen(row.picture, row.teeth.copy(), 12, -1)[17:], row.picture[17:])


@pytest.mark.parametrize("step", [-1, 1])
def test_crowns_end_in_gum_and_what_was_seen_stays(step: int) -> None:
    seen = np.zeros((60, 40), np.float32)
    seen[20:40, 5:35] = 1
    picture, red = np.full((60, 40, 3), 200, np.uint8), np.float32([120, 60, 60])
    out = _end_in_gum(picture, seen, step, 26.0, 1.0, red)
    beyond, crown = (slice(4, 12), slice(15, 20)) if step < 0 else (slice(48, 56), slice(40, 45))
    assert (out[20:40] == 200).all() and (out[crown] == 200).all()
    assert (out[beyond, 5:35] == [120, 60, 60]).all()
    assert (out[:, :5] == 200).all()
    tall = _end_in_gum(picture, seen, step, 15.0, 1.0, red)  # long teeth are nobody's mistake
    assert (tall[20:40, 5:35] == 200).all()


def test_a_row_that_hardly_showed_goes_on_nowhere():
    row = teeth_row()
    for faint in (0.4 * row.teeth, 0 * row.teeth):
        picture, arch = _arch(row.picture, faint, 90)
        np.testing.assert_array_equal(picture, row.picture)
        np.testing.assert_array_equal(arch, faint)


def test_what_lies_beyond_the_dark_line_is_the_other_rows_and_what_lies_apart_is_none() -> None:
    grey, teeth = np.full((40, 60), 60.0, np.float32), np.zeros((40, 60), np.float32)
    grey[8:20, 10:40], grey[20:23, 10:40], grey[23:30, 10:25] = 200, 110, 180  # upper row, line, lower row
    teeth[8:20, 10:40] = teeth[23:30, 10:25] = 1
    for turned in (False, True):
        kept = _this_side(grey[::-1] if turned else grey, teeth[::-1] if turned else teeth, turned)
        kept = (kept[::-1] if turned else kept) * teeth
        assert (kept[8:20, 10:40] == 1).all() and kept[24:].max() == 0
    grey[20:23, 10:40] = 180  # no dark line
    assert (_this_side(grey, teeth, False) * teeth == teeth).all()
    teeth[10:14, 50:52] = 1
    assert (_together(teeth, 90) * teeth)[:, 48:].max() == 0 and (_together(teeth, 90) * teeth)[8:20, 10:40].all()
    assert _together(0 * teeth, 90).all()


def test_what_hangs_far_below_the_arch_of_a_row_is_not_its_own() -> None:
    row, x = np.zeros((50, 120), np.float32), np.arange(120)
    ends = 24 - 0.004 * (x - 60) ** 2 + 1 * (x // 9 % 2)  # as uneven as teeth are
    row[:] = np.arange(50)[:, None] <= ends
    row[:, :20] = row[:, 100:] = 0
    assert (row - _above_arch(row, 100) * row).sum() < 0.01 * row.sum()
    hanging = row.copy()
    hanging[:40, 30:34] = hanging[:40, 70:80] = 1
    kept = _above_arch(hanging, 100) * hanging
    assert np.abs(kept - row).sum() < 0.03 * row.sum() and kept[32:].max() == 0
    assert (_above_arch(0 * row, 100) == 1).all()


def test_where_upper_teeth_end_is_read_off_a_mouth_that_gapes_and_off_no_other() -> None:
    between = np.linspace(0, 1, 64, endpoint=False, dtype=np.float32).repeat(20)
    for end in (0.2, 0.31, 0.4):
        assert teeth_end((between < end).astype(np.float32), between, 0.1) == pytest.approx(end, abs=0.03)
    lower = (between > 0.8).astype(np.float32)
    assert teeth_end(np.maximum(between < 0.3, lower), between, 0.1) == pytest.approx(0.3, abs=0.03)
    assert teeth_end(np.maximum(between < 0.75, lower), between, 0.1) is None  # the lower ones touch
    for nothing in (lower, 0 * lower, 0 * lower + 1):
        assert teeth_end(nothing, between, 0.1) is None


def test_teeth_from_lip_to_lip_are_one_row_unless_something_dark_runs_across() -> None:
    grey, teeth, middle = np.full((40, 60), 200, np.float32), np.ones((40, 60), np.float32), np.ones((40, 60))
    grey[:, ::12] = 90  # lines between teeth
    assert undivided(grey, teeth, middle) == 1
    for dark, one in ((0.6, 0), (0.87, 0), (0.95, 1)):  # tips of teeth that meet throw little shadow
        line = grey.copy()
        line[24:26] *= dark
        assert undivided(line, teeth, middle) == one
    half = teeth.copy()
    half[20:] = 0
    assert undivided(grey, half, middle) == 0
    shiny = grey.copy()
    shiny[4:8], shiny[28:32] = 255, 255  # what lies between highlights is no dark
    assert undivided(shiny, teeth, middle) == 1
    assert undivided(grey, 0 * teeth, middle) == 0


def test_teeth_from_lip_to_lip_are_one_row_as_long_as_no_frames_show_where_it_ends():
    def tall(*rows: float) -> float:
        memory = MouthMemory(model().at_landmarks(model().mean))
        for teeth in rows:
            landmarks = face(0.16)
            observe(memory, draw(landmarks, teeth), landmarks)
            memory.frames += SPACING
        return float((memory.solve(0.6).upper.teeth > 0.5).sum(0).max())

    whole = tall(60.0)
    assert whole > gap_of(face(0.16)[INNER_LIPS, :2])
    assert tall(60.0, 10.0) > 0.9 * whole  # the one that shows it could be this one
    assert tall(60.0, 10.0, 10.0) == tall(10.0, 10.0, 60.0) < 0.7 * whole


def test_the_upper_edge_of_lower_teeth_belongs_to_them():
    grey = np.repeat(np.float32([60] * 10 + [30] * 10 + [120] * 3 + [200] * 15 + [60] * 4)[:, None], 20, 1)
    seen, below = np.zeros_like(grey), np.zeros_like(grey)
    seen[8:40, 3:17], below[22:] = 1, 1
    teeth = np.float32(grey > 150)
    edge = np.zeros(grey.shape, bool)
    edge[20:22, 3:17] = True
    np.testing.assert_array_equal(_upper_edge(grey, seen, teeth, below, 4.0), edge)
    assert not _upper_edge(grey, seen, teeth, below, 2.0).any()  # so much is no edge
    assert not _upper_edge(grey, seen, 0 * teeth, below, 4.0).any()  # no teeth
    assert not _upper_edge(grey, 0 * seen, teeth, below, 4.0).any()
    covered = seen * (np.arange(len(seen))[:, None] >= 20)  # what reaches the upper lip hangs from it
    assert not _upper_edge(grey, covered, teeth, below, 4.0).any()
    lit = np.where(grey == 30, 80, grey)  # behind the teeth, so that all above them is bright as well
    lit[20:22, 8], lit[15:22, 12] = 30, 160  # a dark line between two teeth, and something bright above one
    edge[20:22, [8, 12]] = True
    np.testing.assert_array_equal(_upper_edge(lit, seen, teeth, below, 4.0), edge)


def test_a_few_crumbs_of_teeth_do_not_say_whose_they_are(monkeypatch):
    memory = remembered()
    monkeypatch.setattr("talkedit.mouth.memory.lower_like", lambda *_: 1.0)
    assert memory._shows_lower_only()
    memory.upper = [replace(k, score=0.9 * ENOUGH) for k in memory.upper]
    assert not memory._shows_lower_only()


@pytest.mark.parametrize("like, lower", [(0.0, True), (-0.2, False), (None, False)])
def test_teeth_kept_as_both_rows_are_the_lower_ones_unless_too_broad(monkeypatch, like, lower) -> None:
    monkeypatch.setattr("talkedit.mouth.memory.lower_like", lambda *_: like)
    memory, row = remembered(), teeth_row()
    memory.grid = SimpleNamespace(pixels=90.0)
    lips, jaws = mouth_of(76, 34) + np.float32([50, 24]), np.float32([-2, -5])
    both = Kept(0.02, 1, row.picture, row.teeth, row.light, lips, 0 * jaws)
    below = Kept(0.02, 2, *(np.roll(v, (5, 2), (0, 1)) for v in (row.picture, row.teeth)), row.light, lips - jaws, jaws)
    memory.upper, memory.lower = [both], [below]
    assert memory._are_lower(row) is lower
    shown = np.roll(row.picture[::-1], 9, 1)
    memory.lower = [replace(below, picture=shown, seen=row.teeth[::-1])]  # other teeth, lower down
    assert not memory._are_lower(row)
    memory.lower = []
    assert not memory._are_lower(row)


@pytest.mark.parametrize("opening", [0.1, 0.16])
def test_upper_teeth_that_fill_lips_hardly_apart_give_no_lower_row(opening: float) -> None:
    """Cut at where most people's upper teeth end, their tips would go down with the jaw."""
    landmarks = face(opening)
    memory = MouthMemory(model().at_landmarks(model().mean))
    observe(memory, draw(landmarks, 60), landmarks)
    rows = memory.solve(0.6)
    assert rows.lower is None
    place = rows.grid.place(find_pose(landmarks, memory.mean), np.zeros(2))
    tip = landmarks[INNER_LIPS[15], 1]
    lowest = np.nonzero((rows.upper.teeth > 0.5).any(1))[0].max()
    assert (lowest - (place[1, 1] * tip + place[1, 2])) / rows.grid.pixels == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("yaw", [0.0, 50.0])
@pytest.mark.parametrize(("opening", "teeth", "gaped"), [(0.0, 0, 0), (0.1, 60, 0), (0.2, 60, 0), (0.2, 16, 1)])
def test_a_mouth_gapes_where_a_frame_shows_its_dark_and_not_between_teeth(opening, teeth, gaped, yaw) -> None:
    landmarks, memory = face(opening), MouthMemory(model().at_landmarks(model().mean))
    observe(memory, draw(landmarks, teeth), landmarks, yaw)
    assert memory.gaped == gaped
    observe(memory, draw(face()), face())  # one frame is enough
    assert memory.gaped == gaped


def test_a_stained_tooth_is_one_of_its_row_and_no_gap_or_lip_is() -> None:
    picture, teeth = np.full((24, 60, 3), TOOTH, np.uint8), np.zeros((24, 60), np.float32)
    teeth[4:16] = 1
    notch = np.s_[9:16, 26:34]
    teeth[notch] = 0
    for colour, share in (((190, 155, 105), 1), (DARK, 0), (LIP, 0), ((170, 105, 110), 0)):
        picture[notch] = colour
        got = with_stained(picture, teeth, 100)
        np.testing.assert_allclose(got[notch], share, atol=0.02)
        np.testing.assert_array_equal(np.delete(got, np.s_[9:16], 0), np.delete(teeth, np.s_[9:16], 0))
    picture[notch] = 190, 155, 105
    np.testing.assert_array_equal(with_stained(picture, teeth, 60), teeth)  # broader than any tooth
    np.testing.assert_array_equal(with_stained(picture, 0 * teeth, 100), 0 * teeth)


def test_the_memory_learns_where_upper_teeth_end() -> None:
    memory, landmarks = MouthMemory(model().at_landmarks(model().mean)), face(0.2)
    for k in range(6):
        observe(memory, draw(landmarks, 16 + k % 2), landmarks)
    assert len(memory.ends) == 6
    pose = find_pose(landmarks, memory.mean)
    place = memory.grid.place(pose, memory.grid.shifts(pose.to_model(landmarks))[0])
    low = np.array([220, landmarks[INNER_LIPS[3:8], 1].min() + 16.5])
    assert np.median(memory.ends) == pytest.approx(float(place[1, :2] @ low + place[1, 2]), abs=3)


@pytest.mark.parametrize(("ends", "told"), [((40,) * 3, False), ((40, 40, 40, 45), False), ((40, 40, 40, 41), True)])
def test_a_few_mouths_that_agree_tell_where_upper_teeth_end(ends: tuple[float, ...], told: bool) -> None:
    """Without them a mouth full of both rows is parted where most people's upper teeth end."""
    landmarks, edge = face(0.2), face(0.2)[INNER_LIPS[3:8], 1].min() + 16
    memory = remembered()
    memory.ends = list(ends)
    assert memory._agree() == told
    place = memory.grid.place(find_pose(landmarks, memory.mean), np.zeros(2, np.float32))
    w, h = memory.grid.size
    both = cv2.warpAffine(draw(landmarks, 60), place, (w, h), flags=cv2.INTER_AREA)
    loop = landmarks[INNER_LIPS, :2] @ place[:, :2].T + place[:, 2]
    rows = []
    for down in (0.0, 8.0):
        memory.ends = [float(place[1, :2] @ [220, edge + down] + place[1, 2]) + v - 40 for v in ends]
        kept = Kept(1.0, 0, both, np.ones((h, w), np.float32), np.float32(SKIN), loop, np.zeros(2))
        rows.append(float(np.flatnonzero((memory._again(kept).seen > 0.5).any(1)).max()))
    assert rows[1] - rows[0] == (pytest.approx(8 * place[1, 1], abs=1.5) if told else 0)


def _same_and_others() -> tuple[list[Kept], list[Kept]]:
    """Four kept mouths of one row, and three that each look like another."""
    row, rng = teeth_row(), np.random.default_rng(0)
    loop, light = np.zeros((20, 2), np.float32), np.float32(SKIN)

    def kept(picture: np.ndarray, number: int) -> Kept:
        return Kept(0.02, number, picture, row.teeth, light, loop, np.zeros(2))

    others = []
    for k in range(3):
        noise = cv2.GaussianBlur(rng.normal(size=row.teeth.shape), (0, 0), 2)[..., None]
        others.append(
            kept(np.where(row.teeth[..., None] > 0, TOOTH + 200 * noise, DARK).clip(0, 255).astype(np.uint8), k)
        )
    return [kept(np.roll(row.picture, k, axis=1), k) for k in range(4)], others


def test_a_row_that_the_kept_frames_do_not_agree_on_is_not_shown() -> None:
    same, others = _same_and_others()
    assert assemble(same, 90, False) is not None
    assert assemble([same[0], *others], 90, False) is None
    assert assemble(same[:1], 90, False) is not None


def test_a_row_is_that_of_most_teeth_which_look_the_same() -> None:
    same, others = _same_and_others()
    largest = replace(others[0], score=0.03)
    row = assemble([largest, *same[:3]], 90, False)
    np.testing.assert_array_equal(row.teeth, assemble(same[:3], 90, False).teeth)
    np.testing.assert_array_equal(row.picture, assemble(same[:3], 90, False).picture)
    assert assemble([replace(largest, score=0.07), *same[:3]], 90, False) is not None  # more than all others
    np.testing.assert_array_equal(
        assemble([replace(largest, score=0.07), *same[:3]], 90, False).picture, assemble([largest], 90, False).picture
    )
    assert assemble([largest, *same[:3]], 90, False, 4) is None


def test_of_a_rows_place_those_know_most_that_show_most_teeth() -> None:
    row = teeth_row()
    lips = mouth_of(90, 40) + np.float32([50, 24])
    best, other = (
        Kept(score, n, np.roll(row.picture, by, 1), np.roll(row.teeth, by, 1), row.light, lips, np.zeros(2, np.float32))
        for score, n, by in ((0.02, 1, 0), (0.02, 9, 2))
    )
    places = [assemble([best, replace(other, score=score)], 90, False).place[0, 2] for score in (0.02, 0.005)]
    np.testing.assert_allclose(places, [places[0], 0.4 * places[0]], atol=0.1)
    assert abs(places[0]) > 0.8


def test_the_lower_row_ends_where_its_teeth_lie_highest() -> None:
    between = np.linspace(0, 1, 50, dtype=np.float32)[:, None].repeat(30, 1)
    teeth, middle = (between > 0.6).astype(np.float32), np.ones_like(between, bool)
    assert row_end(teeth, between, middle, is_lower=True) == pytest.approx(0.63, abs=0.03)
    assert row_end(1 - teeth, between, middle) == pytest.approx(0.55, abs=0.03)


def test_a_highlight_at_the_edge_of_the_lip_does_not_go_on_under_it() -> None:
    row = teeth_row()
    picture, teeth = row.picture.copy(), row.teeth.copy()
    picture[16:18, 40:44] = 255
    out = _lengthen(picture, teeth, 8, -1)
    assert (out[16:18, 40:44] == 255).all() and teeth[9:16, 41:43].min() > 0.85
    brightest = out[8:16, 40:44, 0].max(1)[::-1] / TOOTH[0]  # from the highlight on
    assert brightest[0] <= GLOSS and (np.diff(brightest.astype(float)) <= 0).all() and brightest[5] < 1


def test_teeth_go_on_beyond_tracked_lips_as_rows_are_parted(monkeypatch) -> None:
    landmarks = face(0.2)
    frame, loop = draw(landmarks, 30), landmarks[INNER_LIPS, :2]
    x, top = round(float(loop[:, 0].mean())), round(float(loop[3:8, 1].min()))
    known = []
    monkeypatch.setattr(
        "talkedit.mouth.inside.parting", lambda grey, inside, *a: known.append(inside) or parting(grey, inside, *a)
    )
    cut = np.minimum(loop, [np.inf, top + 20])
    corner = look_inside(frame, cut, 173.0, 0.55, (None, None), Registration()).corner
    column = known[0][:, x + 3 - corner[0]]
    assert column[top + 8 - corner[1] : top + 21 - corner[1]].min() > 0.9
    assert column[top + 28 - corner[1] :].max() < 0.1  # no further


@pytest.mark.parametrize("line", [0.6, 1.0])
def test_below_a_line_that_is_seen_nothing_is_the_upper_rows_however_far_it_was_remembered(line: float) -> None:
    landmarks = face(0.2)
    frame, loop = draw(landmarks, 30), landmarks[INNER_LIPS, :2]
    x, top = round(float(loop[:, 0].mean())), round(float(loop[3:8, 1].min()))
    between = np.s_[top + 16 : top + 18, x - 40 : x + 41]
    frame[between] = frame[between] * line
    pose = find_pose(landmarks, model().at_landmarks(model().mean))
    upper, _ = remembered().solve(0.6).placed(pose, pose.to_model(landmarks))
    upper = replace(upper, teeth=cv2.dilate(upper.teeth, np.ones((9, 1), np.uint8), anchor=(0, 8)))
    registration = Registration()
    registration.place = lambda row, *_: row
    inside = look_inside(frame, loop, 173.0, 0.55, (upper, None), registration)
    below = inside.parts[0].own[top + 20 - inside.corner[1], x - 20 - inside.corner[0] : x + 21 - inside.corner[0], 3]
    assert below.max() < 0.1 if line < 1 else np.median(below) > 0.8


def test_rows_touch_where_both_show_and_no_dark_lies_between_them() -> None:
    eye, (h, w) = 100.0, (24, 24)
    down = np.repeat(((np.arange(h, dtype=np.float32) - 12) / eye)[:, None], w, 1)
    middle = np.ones((h, w), np.float32)

    def touch(gap: int, lower: float = 1.0) -> float:
        grey, teeth = np.full((h, w), 200, np.float32), np.ones((h, w), np.float32)
        grey[12 - gap // 2 : 12 + (gap + 1) // 2], teeth[12 - gap // 2 : 12 + (gap + 1) // 2] = 20, 0
        return _touch(grey, middle, teeth, down, lower * (down > 0).astype(np.float32), eye)

    found = [touch(gap) for gap in (0, 1, 2, 4, 8)]
    assert found[:2] == [1, 1] and found[4] == 0 and found == sorted(found, reverse=True)
    assert touch(0, lower=0.0) == 0
    assert _touch(np.full((h, w), 200, np.float32), 0 * middle, middle, down, middle, eye) == 0
    shot = Registration()
    assert [shot.together(1.0), shot.together(0.0), shot.together(1.0)] == [1.0, 0.5, 0.75]
    shot.follow(7)
    assert shot.together(0.25) == 0.25


def test_rows_that_touch_part_only_as_an_edit_parts_them_far(monkeypatch) -> None:
    monkeypatch.setattr(interior, "COVERS", 0.0)
    eye, lips = 100.0, np.zeros((20, 2), np.float32)
    for apart, kept in ((0.5 * TOUCH[0], 1.0), (sum(TOUCH) / 2, 0.5), (TOUCH[1], 0.0)):
        jaws = np.float32([[1, -2], [1, -2 + apart * eye / (1 - interior.RIDES)]])
        free, held = (_ways(jaws, lips, mouth_of(60, 10), touch, apart, eye) for touch in (0.0, 1.0))
        np.testing.assert_allclose(free[1] - free[0], [0, apart * eye], atol=1e-4)
        np.testing.assert_allclose(held[1] - held[0], [0, (1 - kept) * apart * eye], atol=1e-3)
        np.testing.assert_array_equal(held[0], free[0])


@pytest.mark.parametrize("roll", [0.0, 0.5])
def test_rows_part_no_further_than_lips_do(roll: float) -> None:
    turn = np.float32([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    source, eye, none = mouth_of(60, 10) @ turn, 100.0, np.zeros((20, 2), np.float32)
    jaws = np.float32([[1, 0], [1, 10]]) @ turn
    for further, parted in ((-0.1, 0.0), (0.0, 0.0), (0.02, 2.0), (0.3, 10 * (1 - interior.RIDES))):
        upper, lower = _ways(jaws, none, source, 0.0, further, eye) @ turn.T
        np.testing.assert_allclose(lower - upper, [0, parted], atol=1e-3)
        upper, lower = _ways(jaws, none, mouth_of(60, 25) @ turn, 0.0, further, eye) @ turn.T  # lips that are wide open
        np.testing.assert_allclose(lower - upper, [0, 10 * (1 - interior.RIDES)], atol=1e-3)


def mouth_of(width: float, height: float) -> np.ndarray:
    """(20, 2) float32 inner lips: an ellipse around the origin, from the left corner along the upper lip."""
    angle = np.pi * (1 + np.arange(20) / 10)
    return np.stack([width / 2 * np.cos(angle), height / 2 * np.sin(angle)], 1).astype(np.float32)


@pytest.mark.parametrize("roll", [0.0, 0.5])
def test_lower_teeth_stay_behind_a_lip_that_drops_further_than_its_jaw(roll: float) -> None:
    turn = np.float32([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    source, eye = mouth_of(60, 10) @ turn, 100.0
    jaws = np.float32([[0, 0], [0, 2]]) @ turn
    for drop, rides in ((0.0, interior.RIDES), (6.0, interior.FOLLOWS)):  # a lip that stays, and one that drops
        moved = np.zeros((20, 2), np.float32)
        moved[10:] = np.float32([0, drop]) @ turn
        way = _ways(jaws, moved, source, 0.0, 0.1, eye)[1] @ turn.T
        lip = drop * float(interior._WEIGHTS[:-1].sum())  # all of it but the corner that both lips share
        assert way == pytest.approx([0, 2 + rides * (lip - 2)], abs=1e-3)


@pytest.mark.parametrize("roll", [0.0, -0.4])
def test_lower_teeth_sink_behind_their_lip_as_a_jaw_drops_out_of_a_grin(roll: float) -> None:
    turn = np.float32([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    source, eye, none = mouth_of(60, 10) @ turn, 100.0, np.zeros((20, 2), np.float32)
    apart = np.float32([[0, 0], [0, 1]]) @ turn
    for shut, further, sinks in (
        (1.0, 0.13, 0.1),
        (0.5, 0.13, 0.05),
        (0.0, 0.13, 0.0),
        (1.0, 0.01, 0.0),
        (1.0, -0.1, 0),
    ):
        still, moved = (_ways(apart, none, source, shut, more, eye) @ turn.T for more in (DROPPED, further))
        np.testing.assert_array_equal(moved[0], still[0])
        np.testing.assert_allclose(moved[1] - still[1], [0, COVERS * sinks * eye], atol=1e-3)


def test_light_falls_off_towards_the_corners_as_lips_close() -> None:
    loop = mouth_of(60, 20)
    x, y = np.arange(-35, 36, dtype=np.float32)[None], np.arange(-12, 13, dtype=np.float32)[:, None]
    apart = interior._parted(x, y, loop)
    np.testing.assert_allclose(apart, np.broadcast_to(apart[:1], apart.shape), atol=1e-6)
    ellipse = np.sqrt(np.maximum(1 - (x[0] / 30) ** 2, 0))
    np.testing.assert_allclose(apart[0], 20 * ellipse, atol=2)  # between points of the loop
    across = interior._parted(x, y, loop @ np.float32([[0, 1], [-1, 0]]))  # a head that lies on its side
    assert across.shape == apart.shape and across[12, 35] == pytest.approx(20.0, abs=0.4) and np.ptp(across[12]) == 0


def test_what_lies_below_teeth_and_a_dark_line_is_not_the_upper_row_going_on() -> None:
    grey = np.full((30, 20), 200, np.float32)
    seen, teeth = np.ones_like(grey), np.ones_like(grey)
    assert _behind_dark(grey, seen, teeth).max() == 0
    grey[:3], teeth[:3] = 20, 0  # the upper lip's shadow says nothing
    assert _behind_dark(grey, seen, teeth).max() == 0
    grey[14:16, :12], teeth[14:16, :12] = 30, 0
    below = _behind_dark(grey, seen, teeth)
    assert below[14:, :12].min() == 1 and below[:14].max() == 0 and below[:, 12:].max() == 0
    grey[14:16, :12] = 130  # a shallow line between two teeth of one row
    assert _behind_dark(grey, seen, teeth).max() == 0


def test_upper_teeth_that_reach_the_lower_lip_do_not_go_on_below_it() -> None:
    """Nor do they come along with that lip as a light line, once it drops."""
    rgb, seen = np.full((40, 60, 3), 200, np.float32), np.zeros((40, 60), np.float32)
    seen[12:28, 10:50] = 1
    side = np.broadcast_to(np.linspace(-1, 2, 40).clip(0, 1)[:, None], seen.shape)  # the line lies in the middle
    for lower, below in ((np.zeros_like(seen), 0.0), (np.broadcast_to(side > 0.5, seen.shape) * 1.0, 0.15)):
        up, down = (part[..., 3] for part in _continued(rgb, seen, lower.astype(np.float32), side, 100.0))
        assert down[29:33, 20:40].min() >= below and (below > 0 or down.max() < 0.01)
        assert up[7:11, 20:40].min() > 0.15 and up[29:, :].max() < 0.05


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.4, -1.3), (-3.0, 3.5)])
def test_a_row_is_found_where_the_frame_shows_it(shift):
    row = teeth_row()
    frame = np.full((60, 100), 110, np.float32)
    shown = np.zeros((60, 100), np.float32)
    shown[20:40, 25:78] = 1
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    moved = cv2.warpAffine(row.picture, move, (100, 60), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    frame[shown > 0] = moved[shown > 0].astype(np.float32).mean(1) * 0.8  # in less light
    at, sure = find(row, frame, shown, 130.0, False, np.zeros(2))
    np.testing.assert_allclose(at, shift, atol=0.5)  # held a little by where the pose puts it
    assert sure > 0.9


def test_a_row_is_not_led_away_further_from_its_jaw_than_the_pose_errs():
    row, eye, at = teeth_row(), 130.0, np.zeros(2)
    for down in (0.02, 0.035, 0.05, 0.065, 0.08):  # what looks just like it is the other row, as the jaw drops
        move = np.float32([[1, 0, 0], [0, 1, down * eye]])
        frame = cv2.warpAffine(row.picture, move, (100, 80), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
        frame = np.maximum(frame.astype(np.float32).mean(2), 10)
        at, _ = find(row, frame, np.ones((80, 100), np.float32), eye, False, at)
        assert abs(at[1]) <= 0.041 * eye


def test_a_slit_and_a_place_far_from_the_poses_say_little_of_where_a_row_is():
    row, eye = teeth_row(), 130.0
    shown = np.zeros((60, 100), np.float32)
    shown[20:40, 25:78] = 1

    def found(down: float, seen: np.ndarray) -> float:
        move = np.float32([[1, 0, 0], [0, 1, down * eye]])
        frame = cv2.warpAffine(row.picture, move, (100, 60), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return find(row, frame.astype(np.float32).mean(2), seen, eye, False, np.zeros(2))[1]

    slit = np.zeros_like(shown)
    slit[27:29, 45:60] = 1
    assert slit.sum() < _ENOUGH[0] * eye**2 < _ENOUGH[1] * eye**2 < shown.sum()
    assert found(0.01, shown) > 0.9 and found(0.01, slit) == 0
    assert found(_FAR - 0.005, shown) > 0.9 and found(_FARTHEST, shown) < 0.3


def test_a_row_that_is_lost_goes_back_to_where_the_pose_puts_it():
    row, registration, blank = teeth_row(), Registration(), np.full((60, 100), 110, np.float32)
    registration.offsets[0] = (0.01, 0.03)
    for frame in range(1, 6):  # a slit
        registration.place(row, blank, np.zeros_like(blank), 130.0, 0)
        np.testing.assert_allclose(registration.offsets[0], np.array([0.01, 0.03]) * (1 - _BACK) ** frame)


def test_a_row_is_held_while_lips_are_closed_and_a_new_shot_forgets_it():
    row, grey, nothing = teeth_row(), np.full((60, 100), 50, np.float32), np.zeros((60, 100), np.float32)
    at, sure = find(row, grey, nothing, 130.0, False, np.array([1.0, 2.0]))
    assert sure == 0 and at.tolist() == [1.0, 2.0]
    registration = Registration()
    registration.follow(7)
    registration.offsets[0] = (0.01, 0.02)
    registration.follow(8)
    placed = registration.hold(row, 100.0, 0)
    np.testing.assert_allclose(placed.place, row.moved(np.array([1.0, 2.0])).place)
    registration.follow(20)
    assert not registration.offsets.any()


def test_a_row_that_frames_do_not_show_in_its_place_is_trusted_less_and_less():
    registration, overlap = Registration(), np.ones((20, 40), np.float32)
    nothing, trust = np.zeros_like(overlap), [registration.trust[1]]
    for _ in range(6):
        registration.compare(overlap, nothing, overlap, 130.0, 1)
        trust.append(registration.trust[1])
    assert all(a > b for a, b in pairwise(trust)) and trust[-1] < 0.05 and registration.trust[0] == 1
    registration.compare(nothing, overlap, overlap, 130.0, 1)  # nothing of the row in sight: nothing is learned
    assert registration.trust[1] == trust[-1]
    registration.compare(overlap, overlap, overlap, 130.0, 1)
    assert registration.trust[1] > 0.5


def test_teeth_that_hardly_look_like_teeth_are_compared_with_what_the_row_itself_looks_like():
    overlap, faint = np.ones((20, 40), np.float32), np.full((20, 40), 0.3, np.float32)
    trust = []
    for usual in (overlap, 1.5 * faint, 0 * faint):
        registration = Registration()
        for _ in range(6):
            registration.compare(overlap, faint, usual, 130.0, 1)
        trust.append(registration.trust[1])
    assert trust[0] < 0.3 < 0.9 < trust[1]
    assert trust[2] > 0.9
    registration.compare(overlap, 0.1 * faint, 0 * faint, 130.0, 1)  # a row that looks like nothing does not trust all
    assert registration.trust[1] < 0.6


def test_teeth_that_a_frame_does_not_show_keep_the_light_of_the_frames_before() -> None:
    grey, lit, teeth = np.full((20, 40), 90, np.float32), np.full((20, 40), 100, np.float32), np.ones((20, 40))
    for usual in (0.8, 1.0):
        assert _relight(grey, 0 * teeth, grey, lit, teeth, 130.0, usual)[1] == pytest.approx(usual)
        _, gain, told = _relight(grey, teeth, grey, lit, teeth, 130.0, usual)
        assert told > 0.9 and gain == pytest.approx(told * 0.9 + (1 - told) * usual, abs=1e-3)
    registration = Registration()
    registration.light[:], registration.rounded, registration.last = 0.7, 1.0, 4
    registration.follow(5)
    assert registration.light.tolist() == [0.7, 0.7] and registration.rounded == 1
    registration.follow(7)
    assert registration.light.tolist() == [1, 1] and registration.rounded == 0


def test_a_mouth_once_rounded_stays_so_a_while_as_it_closes_or_shows_teeth() -> None:
    for tall, toothed in ((0.3, 0.0), (0.5, 0.26)):
        assert _rounded(tall, toothed, 0.0) == 0 and _rounded(tall, toothed, 1.0) > 0.99
    for before in (0.0, 1.0):
        assert _rounded(0.45, 0.1, before) == 1
        assert _rounded(0.36 - STAYS[0] - 0.01, 0.0, before) == 0 and _rounded(0.5, 0.26 + STAYS[1], before) == 0
    assert 0 < _rounded(0.38, 0.0, 0.0) < 1


def test_the_dark_keeps_its_colour_while_teeth_touch() -> None:
    lips, registration = np.float32([180, 100, 90]), Registration()
    mouth = np.full((20, 30, 3), 220, np.float32)
    seen = np.ones((20, 30), np.float32)
    mouth[:, :8] = (150, 110, 100)  # lines between teeth

    def told() -> np.ndarray:
        return _cavity_colour(mouth, mouth.mean(2), seen, lips, registration)

    usual = told()
    np.testing.assert_allclose(usual, _usual_cavity(lips))  # nothing dark was ever seen
    assert registration.dark == 0 and registration.cavity is None
    mouth[:, :8] = (20, 10, 10)
    dark = told()
    assert registration.dark > 0.9
    np.testing.assert_allclose(dark, mouth[0, 0], atol=3)
    mouth[:, :8] = (150, 110, 100)
    np.testing.assert_allclose(told(), dark, atol=1e-3)
    assert registration.dark > 0.9
    registration.follow(9)
    np.testing.assert_allclose(told(), usual)


@pytest.mark.parametrize("roll", [0.0, 0.4])
def test_a_row_that_does_not_show_in_its_place_lies_deeper_under_its_lip(roll: float) -> None:
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    loop = mouth_of(60.0, 20.0) @ turn.T
    for trust in (0.0, 0.25, 1.0):
        np.testing.assert_allclose(
            _sunk(trust, loop, 130.0), turn @ [0, (1 - trust) * SINKS * 130], atol=1e-4
        )  # down in the face, not in the picture


def ellipse(across: float, down: float) -> np.ndarray:
    """(20, 2) inner lips about (40, 30)."""
    t = np.linspace(0, np.pi, 11)
    upper = np.float32([(40 - across * np.cos(t)), (30 - down * np.sin(t))]).T
    return np.concatenate([upper, (upper * [1, -1] + [0, 60])[-2:0:-1]]).astype(np.float32)


def test_places_between_lips_know_the_nearer_lip_and_come_along_with_it():
    loop = ellipse(30, 12)
    moved = np.zeros((20, 2), np.float32)
    moved[1:10, 1], moved[11:, 1] = -3, 5
    away, back_x, back_y = beside_lips(loop, moved, np.ones((60, 80), np.float32), 20.0)
    assert away[18, 40] == pytest.approx(0, abs=0.5) and away[22, 40] == pytest.approx(4, abs=0.5)
    assert away[59, 79] == 20
    assert back_y[18, 40] - 18 == pytest.approx(3, abs=0.05) and back_y[42, 40] - 42 == pytest.approx(-5, abs=0.05)
    np.testing.assert_allclose(back_x, np.broadcast_to(np.arange(80), (60, 80)), atol=1e-3)


def test_skin_between_lips_is_stretched_with_them():
    loop, (y, x) = ellipse(30, 20), np.mgrid[:60, :80].astype(np.float32)
    there = ((x - 40) / 29) ** 2 + ((y - 30) / 19) ** 2 < 1
    for matrix, shift in ((np.zeros((2, 2)), (3, -2)), (np.array([[0.2, 0.1], [-0.1, 0.3]]), (0, 1))):
        moved = ((loop - loop.mean(0)) @ matrix.T + shift).astype(np.float32)
        back_x, back_y = x.copy(), y.copy()
        between_lips(loop, moved, back_x, back_y, there.astype(np.float32))
        expected = (np.stack([x, y], 2) - loop.mean(0)) @ matrix.T + shift  # these coordinates reproduce affine maps
        np.testing.assert_allclose(np.stack([x - back_x, y - back_y], 2)[there], expected[there], atol=1e-3)
        np.testing.assert_array_equal(back_x[~there], x[~there])
    moved = np.zeros((20, 2), np.float32)
    moved[1:10, 1], moved[11:, 1] = -4, 6
    back_x, back_y = x.copy(), y.copy()
    between_lips(loop, moved, back_x, back_y, there.astype(np.float32))
    column = (y - back_y)[12:49, 40]
    assert (np.diff(column) > 0).all() and column[0] < -3.5 and column[-1] > 5.5  # no jump between the lips


# ---- painting


def test_a_rounded_mouth_whose_lips_reach_into_the_tracked_ones_shows_no_dark_ring():
    source = face(0.62)
    target = source.copy()
    target[INNER_LIPS[1:10], 1] -= 5
    target[INNER_LIPS[11:], 1] += 9
    meshes = [np.asarray(model().position @ points, np.float32) for points in (source, target)]
    loop, wide = (mesh[model().mouth_loop, :2] for mesh in meshes)
    frame = draw(source)
    # The real lips lie a fifth further in than the tracked ones; beyond them there is a tongue.
    cv2.fillPoly(frame, [np.round(loop).astype(np.int32)], LIP)
    real = loop.mean(0) + 0.7 * (loop - loop.mean(0))
    cv2.fillPoly(frame, [np.round(real).astype(np.int32)], (110, 45, 45))
    warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
    inside = look_inside(frame, loop, 90.0, 0.55, (None, None), Registration())
    assert inside.rounded == 1
    darkest = []
    for rounded in (1.0, 0.0):
        picture = sample(frame, warp)
        jaws = np.array([[0, 0], [0, 2]])
        fill_mouth(picture, frame, warp, replace(inside, rounded=rounded), wide, jaws)
        darkest.append(picture[..., 0].min())
    assert darkest[0] > 95 > darkest[1]
    # Teeth that fill a mouth stay rigid.
    cv2.fillPoly(frame, [np.round(real).astype(np.int32)], TOOTH)
    assert look_inside(frame, loop, 90.0, 0.55, (None, None), Registration()).rounded < 0.3
    flat = face(0.15)
    assert look_inside(draw(flat), flat[INNER_LIPS, :2], 90.0, 0.55, (None, None), Registration()).rounded == 0


def test_a_mouth_full_of_a_tongue_that_opens_a_little_stays_full():
    tongue, source = (190, 120, 120), face(0.2)
    frame = draw(source)
    loop = (model().position @ source)[model().mouth_loop, :2].astype(np.float32)
    cv2.fillPoly(frame, [np.round(loop).astype(np.int32)], tongue)
    upper, lower = loop[5], loop[15]
    x, y = np.round(upper + (lower - upper) * 0.35).astype(int).tolist()
    cv2.circle(frame, (x, y), 2, (150, 80, 80), -1)
    column, ways = np.s_[int(upper[1]) + 4 : int(lower[1]) - 3], []
    for further in (1.7, 12.0):  # pixels that either lip goes
        target = source.copy()
        target[INNER_LIPS[1:10], 1] -= further
        target[INNER_LIPS[11:], 1] += further
        meshes = [np.asarray(model().position @ points, np.float32) for points in (source, target)]
        warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
        inside = look_inside(frame, loop, 173.0, 0.55, (None, None), Registration())
        assert inside.dark == 0 and inside.rounded == 0 and inside.shows == 1
        picture = frame.copy()
        area = picture[warp.y0 : warp.y0 + warp.shape[0], warp.x0 : warp.x0 + warp.shape[1]]
        area[:] = sample(frame, warp)
        fill_mouth(area, frame, warp, inside, meshes[1][model().mouth_loop, :2], np.zeros((2, 2)))
        shown = picture[column, x, 0].astype(float)
        spots = (np.maximum(tongue[0] - v[column, x, 0].astype(float), 0) for v in (frame, picture))
        before, after = ((spot * np.arange(len(spot))).sum() / spot.sum() for spot in spots)
        ways.append((shown.min(), after - before))
    (full, way), (dark, _) = ways
    assert full > 130 and -1.0 < way < 0  # what is not at a lip goes only part of its way
    assert dark < 60  # wider open, a mouth shows what is behind


def test_lips_less_than_a_pixel_apart_show_no_dots_of_the_dark():
    def darker(apart: float, at: float) -> np.ndarray:
        """How much darker than without the inside the seam becomes, pixel by pixel along it."""
        source = face(0.0, 70.0, shift=(220, at))
        frame, target = draw(source), source.copy()
        cv2.polylines(frame, [np.round(source[INNER_LIPS, :2]).astype(np.int32)], True, LIP, 3)
        target[INNER_LIPS[1:10], 1] -= apart / 2
        target[INNER_LIPS[11:], 1] += apart / 2
        meshes = [np.asarray(model().position @ points, np.float32) for points in (source, target)]
        warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
        loops = [mesh[model().mouth_loop, :2] for mesh in meshes]
        picture = sample(frame, warp)
        fill_mouth(picture, frame, warp, look(frame, loops[0]), loops[1], np.zeros((2, 2)))
        x, y = (np.round(loops[1]) - [warp.x0, warp.y0]).astype(int)[3:8].T
        middle = np.s_[y.min() - 6 : y.max() + 7, x.min() : x.max(), 0]
        return LIP[0] - picture[middle].min(axis=0).astype(float)

    def look(frame: np.ndarray, loop: np.ndarray) -> Inside:
        return look_inside(frame, loop, 60.0, 0.55, (None, None), Registration())

    open_ones = darker(4.0, 230)
    assert open_ones.min() > 0.5 * LIP[0]  # the dark shows all along them
    # Wherever on the grid of pixels the seam lies.
    assert max(darker(0.5, 230 + k / 8).max() for k in range(8)) < 0.4 * open_ones.min()


def test_in_a_grey_picture_lips_are_no_teeth_and_gum_is_grey():
    grey, colours = (np.float32([150, 150, 150]), np.float32(SKIN))
    shades = np.float32([0.5, 0.7, 0.8, 1.05, 1.3])[None, :, None] * grey.mean()
    as_teeth = toothness(np.repeat(shades, 3, axis=2), grey)[0]
    assert as_teeth[:3].max() < 1e-6 and as_teeth[3:].min() > 0.99  # lips lie between half and four fifths of skin
    assert toothness(np.repeat(shades, 3, axis=2), colours)[0][1:].min() > 0.7  # pale beside red skin tells as well
    assert np.ptp(assembly._gum(grey)) < 1e-3 and assembly._gum(grey).mean() == pytest.approx(0.907 * 150, abs=0.5)
    np.testing.assert_allclose(assembly._gum(colours), assembly.GUM * colours, rtol=1e-6)


@pytest.mark.parametrize("soft", [0.55, 1.5])
def test_the_edge_of_a_painted_mouth_is_as_soft_as_the_frame(soft: float) -> None:
    source, target = face(0.2), face(0.2)
    target[INNER_LIPS[1:10], 1] -= 4
    target[INNER_LIPS[11:], 1] += 4
    meshes = [np.asarray(model().position @ points, np.float32) for points in (source, target)]
    loops = [mesh[model().mouth_loop, :2] for mesh in meshes]
    frame = draw(source)
    frame = cv2.GaussianBlur(frame, (0, 0), np.sqrt(soft**2 - 0.3)) if soft > 0.55 else frame
    warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
    picture = sample(frame, warp)
    inside = look_inside(frame, loops[0], 173.0, soft, (None, None), Registration())
    fill_mouth(picture, frame, warp, inside, loops[1], np.zeros((2, 2)))
    x = round(float(loops[1][:, 0].mean())) - warp.x0
    column = picture[: round(float(loops[1][[5, 15], 1].mean())) - warp.y0, x - 3 : x + 4, 0].astype(float).mean(1)
    low = column.min()
    step, steepest = np.percentile(column, 90) - low, np.abs(np.diff(column)).max()
    assert step > 60  # the dark beside lips
    # Of a straight edge blurred by σ the steepest part rises by 1 / (σ √2π) of the step a pixel.
    assert steepest < step / (np.hypot(soft, 0.3) * np.sqrt(2 * np.pi))


def opened(upper: float, lower: float, brightness: float = 1.0):
    """A mouth with teeth and the same with its lips moved: frame, what is inside, both landmarks, warp."""
    source, target = face(0.2), face(0.2)
    target[INNER_LIPS[1:10], 1] += upper
    target[INNER_LIPS[11:], 1] += lower
    frame = draw(source, 16, brightness)
    meshes = [np.asarray(model().position @ points) for points in (source, target)]
    warp = build_warp(*(m.astype(np.float32) for m in meshes), model().triangles, model().uv, frame.shape)
    pose = find_pose(source, model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(source))
    loop = meshes[0][model().mouth_loop, :2]
    inside = look_inside(frame, loop, 90.0, 0.55, rows, Registration())
    return frame, inside, meshes, warp


def teeth_of(picture: np.ndarray) -> np.ndarray:
    return toothness(picture, np.float32(SKIN)) > 0.6


@pytest.mark.parametrize("lift", [-6.0, -3.0])
def test_teeth_move_as_one_piece_while_the_lip_slides_over_them(lift):
    frame, inside, (source, target), warp = opened(lift, 4.0)
    area = np.s_[warp.y0 : warp.y0 + warp.shape[0], warp.x0 : warp.x0 + warp.shape[1]]
    picture = sample(frame, warp)
    fill_mouth(picture, frame, warp, inside, target[model().mouth_loop, :2], np.zeros((2, 2)))
    before, after = frame[area].astype(np.float32).mean(2), picture.astype(np.float32).mean(2)
    # The lower edge of the row and the lines between its teeth, which a frame shows before and after.
    loop = source[model().mouth_loop, :2] - [warp.x0, warp.y0]
    x0, x1 = (int(loop[:, 0].mean() + d) for d in (-22, 22))
    y0 = int(loop[3:8, 1].min()) + 6
    part = before[y0 : y0 + 14, x0:x1]
    shifts = []
    for left in (0, 14, 28):  # thirds of the row
        piece = part[:, left : left + 16]
        found = cv2.matchTemplate(after[y0 - 10 : y0 + 24, x0 + left - 4 : x0 + left + 20], piece, cv2.TM_CCOEFF_NORMED)
        dy, dx = np.unravel_index(found.argmax(), found.shape)
        shifts.append((dx - 4, dy - 10))
    assert len(set(shifts)) == 1  # all of it moves alike
    assert lift - 1 < shifts[0][1] <= 0 and shifts[0][0] == 0
    # What the lip bares above the own teeth is teeth, not the dark or the lip left behind.
    bared = picture[y0 - 7 : y0 + 4, x0 + 4 : x1 - 4].astype(float)
    assert np.median(bared.mean(2)) > 150


def test_teeth_down_to_the_lower_lip_are_the_upper_row_s_where_no_lower_one_is_known():
    """They would go along with that lip, as a light line, where what was remembered ends a little higher."""
    landmarks = face(0.1)
    shown = draw(landmarks, 60)
    pose = find_pose(landmarks, model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(landmarks))
    assert rows[0] is not None and rows[1] is None
    loop = np.asarray(model().position @ landmarks)[model().mouth_loop, :2]
    upper, lower = (own[..., 3].sum() for own in owns(look_inside(shown, loop, 173.0, 0.55, rows, Registration())))
    assert lower < 0.03 * upper
    x, y = np.round(loop[5]).astype(int)
    shown[y + 10 : y + 13, x - 60 : x + 60] = DARK  # a dark line parts it from what lies below
    upper, lower = (own[..., 3].sum() for own in owns(look_inside(shown, loop, 173.0, 0.55, rows, Registration())))
    assert lower > 0.06 * upper


@pytest.mark.parametrize("middle", [(0, 240), (440, 240), (220, 0), (220, 480), (900, 900)])
def test_mouths_at_and_beyond_the_border_of_the_frame_are_painted_as_far_as_they_are_in_it(middle):
    frame, inside, (_, target), warp = opened(-4.0, 6.0)
    away = np.array(middle) - inside.loop.mean(0)
    loop = target[model().mouth_loop, :2] + away
    rows = tuple(part.row and part.row.moved(away) for part in inside.parts)
    there = replace(look_inside(frame, inside.loop + away, 90.0, 0.55, rows, Registration()), rounded=0.0)
    whole = Warp(0, 0, warp.source, warp.uv, np.full(frame.shape[:2], -1, np.int32))
    picture = frame.copy()
    fill_mouth(picture, frame, whole, there, loop, np.zeros((2, 2)))
    changed = np.argwhere((picture != frame).any(2))
    assert len(changed) == 0 or (np.abs(changed[:, ::-1] - loop.mean(0)) < 80).all()
    assert len(changed) > 0 or middle == (900, 900)


def test_lips_that_were_closed_open_onto_remembered_teeth():
    source = face(0.0)
    frame, row = draw(source), remembered().solve(0.6)
    pose = find_pose(source, model().at_landmarks(model().mean))
    target = source.copy()
    target[INNER_LIPS[1:10], 1] -= 5
    target[INNER_LIPS[11:], 1] += 14
    meshes = [np.asarray(model().position @ points, np.float32) for points in (source, target)]
    warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
    pictures = []
    for rows in (row.placed(pose, pose.to_model(source)), (None, None)):
        inside = look_inside(frame, meshes[0][model().mouth_loop, :2], 90.0, 0.55, rows, Registration())
        picture = sample(frame, warp)
        fill_mouth(picture, frame, warp, inside, meshes[1][model().mouth_loop, :2], np.zeros((2, 2)))
        pictures.append(teeth_of(picture).sum())
    assert pictures[0] > 100 and pictures[1] == 0


@pytest.mark.parametrize("pushed", [(0.0,), (-0.08,), (0.0, 0.0, 0.2), (-0.1, -0.1, 0.2), (0.2,)])
def test_drawn_teeth_end_a_little_below_the_resting_lip_of_this_speaker(pushed):
    memory, shut = MouthMemory(model().at_landmarks(model().mean)), face(0.0)
    eye = np.linalg.norm(shut[33] - shut[263])
    for down, yaw in zip(pushed, (10.0, 5.0, 0.0), strict=False):  # the last faces the viewer most
        lips = shut.copy()
        lips[np.r_[INNER_LIPS, OUTER_LIPS], 1] += down * eye
        observe(memory, draw(lips), lips, yaw)
    pose = find_pose(shut, memory.mean)
    guess = memory.solve(0.6).guessed(pose, pose.to_model(shut))
    rows, columns = np.nonzero(guess.where(np.zeros(2), (480, 440)) > 0.5)
    # What is pushed further down than the lips of people who rest is no lip to hang teeth from.
    lips, lowest = shut[13, 1] + np.median(pushed) * eye, shut[INNER_LIPS, 1].mean() + LOWEST_REST * eye
    assert rows.max() - min(lips, lowest) == pytest.approx(EDGE * eye, abs=2)
    assert columns.mean() == pytest.approx(shut[13, 0], abs=1)


@pytest.mark.parametrize(("bares", "drawn"), [(None, True), ("upper", False), ("lower", False), ("nothing", False)])
def test_no_teeth_are_drawn_for_who_bares_them_or_opens_the_mouth_without(bares, drawn):
    memory, landmarks = MouthMemory(model().at_landmarks(model().mean)), face(0.0 if bares is None else 0.16)
    picture, loop = draw(landmarks, 12.0 if bares == "upper" else 0.0), landmarks[INNER_LIPS, :2]
    if bares == "lower":
        low, x = round(float(loop[13:18, 1].mean())), round(float(loop[:, 0].mean()))
        picture[low - 16 : low - 2, x - 24 : x + 25] = TOOTH
    observe(memory, picture, landmarks)
    rows = memory.solve(0.6)
    assert (rows is not None and rows.guess is not None) == drawn


def test_lips_open_onto_drawn_teeth_behind_everything_that_a_frame_shows():
    memory, shut = MouthMemory(model().at_landmarks(model().mean)), face(0.0)
    observe(memory, draw(shut), shut)
    rows = memory.solve(0.6)
    for opening in (0.0, 0.2):
        source = face(opening)
        frame, pose = draw(source), find_pose(source, memory.mean)
        guess = rows.guessed(pose, pose.to_model(source))
        target = source.copy()
        target[INNER_LIPS[1:10], 1] -= 3
        target[INNER_LIPS[11:], 1] += 8
        meshes = [np.asarray(model().position @ points, np.float32) for points in (source, target)]
        warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
        pictures = []
        for drawn in (None, guess):
            loop = meshes[0][model().mouth_loop, :2]
            inside = look_inside(frame, loop, 90.0, 0.55, (None, None), Registration(), drawn)
            picture = sample(frame, warp)
            fill_mouth(picture, frame, warp, inside, meshes[1][model().mouth_loop, :2], np.zeros((2, 2)))
            pictures.append(picture.astype(float))
        more = (pictures[1] - pictures[0]).mean(2)
        if opening == 0:
            assert teeth_of(pictures[0]).sum() == 0 and (more > 20).sum() > 150
            rows_of, _ = np.nonzero(more > 20)
            upper = meshes[1][model().mouth_loop[3:8], 1].mean() - warp.y0
            assert rows_of.max() < upper + 12  # under the upper lip, not in all of the mouth
        else:  # the dark that the frame shows stays dark
            assert (more > 20).sum() < 40


def test_a_wide_smile_and_a_mouth_opened_further_show_the_row_up_to_the_corners_others_what_was_seen():
    source = face(0.2)
    pose = find_pose(source, model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(source))
    bare = tuple(row and replace(row, arch=None) for row in rows)
    shown = {}
    for wider, lower in ((0.0, 0.3), (12.0, 0.3), (0.0, 5.0)):
        target = source.copy()
        lips = np.r_[INNER_LIPS, OUTER_LIPS]
        middle = source[INNER_LIPS, 0].mean()
        target[lips, 0] += wider * (source[lips, 0] - middle) / np.abs(source[INNER_LIPS, 0] - middle).max()
        target[INNER_LIPS[1:10], 1] -= lower
        target[INNER_LIPS[11:], 1] += lower
        meshes = [np.asarray(model().position @ points, np.float32) for points in (source, target)]
        frame = draw(source, 16, 1.0)
        warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
        for name, remember in (("arch", rows), ("seen", bare)):
            inside = look_inside(frame, meshes[0][model().mouth_loop, :2], 90.0, 0.55, remember, Registration())
            picture = sample(frame, warp)
            fill_mouth(picture, frame, warp, inside, meshes[1][model().mouth_loop, :2], np.zeros((2, 2)))
            shown[name, wider, lower] = picture.astype(int)
    np.testing.assert_array_equal(shown["arch", 0.0, 0.3], shown["seen", 0.0, 0.3])
    for case in ((12.0, 0.3), (0.0, 5.0)):
        brighter = (shown[("arch", *case)] - shown[("seen", *case)]).mean(2)
        assert brighter.max() > 20 and brighter.min() > -20


def test_crumbs_between_upper_teeth_and_the_lip_do_not_go_down_with_it():
    """What lies further below them does, and so does all of it where no upper row is known."""
    landmarks = face(0.2)
    frame = draw(landmarks, 16)
    loop = np.asarray(model().position @ landmarks)[model().mouth_loop, :2]
    pose = find_pose(landmarks, model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(landmarks))
    eye = 90.0
    shares = []
    for down in (0, 14):  # the row ends right above the lip, or well above it
        lip = loop.copy()
        lip[11:] -= np.float32([0, loop[15, 1] - loop[3:8, 1].min() - 20 - down])
        views = [
            look_inside(frame, lip, eye, 0.55, r, Registration()).parts[1].own[..., 3] for r in (rows, (None, None))
        ]
        shares.append(views[0].sum() / max(views[1].sum(), 1e-6))
    assert shares[0] < 0.5 * shares[1]


def test_own_teeth_pass_into_remembered_ones_towards_the_lip_they_are_under():
    """These have no highlights: where the one ended a line would go along the row."""
    frame, _, (source, _), _ = opened(-5.0, 0.0)
    pose = find_pose(face(0.2), model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(face(0.2)))
    loop = source[model().mouth_loop, :2]
    views = [look_inside(frame, loop, 173.0, 0.55, r, Registration()) for r in (rows, (None, None))]
    x = round(float(loop[:, 0].mean()) - views[0].corner[0]) + 4
    top = round(float(loop[3:8, 1].mean()) - views[0].corner[1])
    own, alone = (sum(part[..., 3] for part in owns(view))[top : top + 12, x] for view in views)
    assert alone[3] > 0.9 > 0.3 > own[3]
    assert np.diff(own).max() < 0.35 < 0.45 < np.diff(alone).max() and own[10] > 0.9


def test_teeth_that_a_narrow_mouth_shows_are_its_row_and_not_its_lips():
    landmarks = face(0.035)
    frame = draw(landmarks, 30)
    loop = np.asarray(model().position @ landmarks)[model().mouth_loop, :2]
    gap = gap_of(loop)
    assert 0.02 * 173 < gap < 0.04 * 173
    inside = look_inside(frame, loop, 173.0, 0.55, (None, None), Registration())
    middle = sum(own[..., 3] for own in owns(inside))[:, round(float(loop[:, 0].mean())) - inside.corner[0] + 4]
    assert middle.max() > 0.9 and middle.sum() > 0.4 * gap


def test_the_lips_light_on_teeth_is_not_left_between_shown_and_remembered_ones():
    frame, _, (source, target), warp = opened(-5.0, 0.0)
    pose = find_pose(face(0.2), model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(face(0.2)))
    loop = source[model().mouth_loop, :2]
    top = int(loop[3:8, 1].max()) + 1
    x0, x1 = (int(loop[:, 0].mean() + d) for d in (-20, 20))
    pink = frame.copy()
    teeth = teeth_of(frame)[top : top + 2, x0:x1]
    pink[top : top + 2, x0:x1][teeth] = (215, 150, 140)
    made = []
    for picture in (frame, pink):
        inside = look_inside(picture, loop, 173.0, 0.55, rows, Registration())
        out = sample(picture, warp)
        fill_mouth(out, picture, warp, inside, target[model().mouth_loop, :2], np.zeros((2, 2)))
        made.append(out.astype(float))
    row = np.s_[top - warp.y0 - 2 : top - warp.y0 + 3, x0 - warp.x0 : x1 - warp.x0]  # as far as teeth go along
    left = (redness(made[1]) - redness(made[0]))[row]
    assert redness(pink)[top, x0:x1][teeth[0]].min() > redness(frame)[top, x0:x1][teeth[0]].max() + 0.15
    assert np.percentile(left, 98) < 0.08


class Painter(torch.nn.Module):
    """Stands in for the network: teeth of a given width, or one white bar."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        lines = (torch.arange(WIDTH) % self.width < 2) if self.width else torch.zeros(WIDTH, dtype=bool)
        tooth = torch.tensor(TOOTH) / 255 * torch.where(lines[:, None], 0.6, 1.0)
        return images * (1 - mask) + tooth.T[None, :, None] * mask


def invented(width: int):
    still = remembered().still
    moved = np.zeros((468, 3), np.float32)
    moved[INNER_LIPS[1:10], 1], moved[INNER_LIPS[11:], 1] = 0.2 * OPENED, -0.8 * OPENED
    return still, moved, invent(Painter(width), still, model(), moved)


def test_invented_teeth_lie_between_the_opened_lips_only():
    still, moved, (narrow, landmarks) = invented(7)
    _, _, (wide, _) = invented(9)
    np.testing.assert_allclose(landmarks - still.landmarks, still.pose.direction_to_picture(moved), atol=1e-4)
    lips = np.zeros(still.picture.shape[:2], np.uint8)
    cv2.fillPoly(lips, [np.round(landmarks[INNER_LIPS, :2]).astype(np.int32)], 1)
    differs = (narrow != wide).any(2)
    assert differs[lips > 0].mean() > 0.3
    assert not differs[cv2.dilate(lips, np.ones((15, 15), np.uint8)) == 0].any()


def test_a_smooth_white_bar_is_not_taken_for_teeth_nor_one_with_bands_along_it_or_coloured_lines():
    assert invented(0)[2] is None
    crop, mask = np.full((HEIGHT, WIDTH, 3), SKIN, np.uint8), np.zeros((HEIGHT, WIDTH), np.float32)
    rect = np.s_[HEIGHT // 2 - 12 : HEIGHT // 2 + 12, WIDTH // 4 : 3 * WIDTH // 4]
    mask[rect], crop[rect] = 1, TOOTH
    upright, level = crop.copy(), crop.copy()
    upright[rect][:, ::7] = np.array(TOOTH) * 0.75
    level[rect][::7] = np.array(TOOTH) * 0.75
    tinted = upright.copy()
    tinted[rect][:, ::7, 1] -= 30
    assert [plausible(c, mask, np.float32(SKIN)) for c in (crop, level, upright, tinted)] == [False, False, True, False]


# ---- in the editor


def test_no_edit_leaves_a_mouth_alone(shared):
    file = sorted((shared / "data" / "portraits").glob("*.*"))[0]
    rgb = cv2.imread(str(file))[..., ::-1].copy()
    np.testing.assert_array_equal(Editor("happy", 0.0).edit_frame(rgb), rgb)


def test_a_mouth_never_seen_open_is_darkest_above_and_shows_a_tongue_below(monkeypatch):
    source, target = face(0.0), face(0.0)
    target[INNER_LIPS[11:], 1] += 16
    frame = draw(source, 16)
    meshes = [np.asarray(model().position @ points).astype(np.float32) for points in (source, target)]
    warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
    inside = look_inside(frame, meshes[0][model().mouth_loop, :2], 90.0, 0.55, (None, None), Registration())
    assert inside.shows == 0
    moved = meshes[1][model().mouth_loop, :2] - [warp.x0, warp.y0]
    columns = []
    for tongue in (cavity.TONGUE, 0.0):
        monkeypatch.setattr(cavity, "TONGUE", tongue)
        picture = sample(frame, warp)
        fill_mouth(picture, frame, warp, inside, meshes[1][model().mouth_loop, :2], np.zeros((2, 2)))
        rows = np.s_[round(moved[:, 1].min()) : round(moved[:, 1].max()) + 1]
        columns.append(picture[rows, round(moved[:, 0].mean())].astype(float).mean(1))
    lit, dark = columns
    hole = dark < 0.6 * inside.cavity.mean() / (CAVITY_SHARE + CAVITY_RED).mean()  # the lips are brighter
    assert hole.sum() > 6 and lit[hole].argmin() < hole.sum() / 2
    gain = lit[hole] / dark[hole]
    assert gain[0] == pytest.approx(1, abs=0.02) and gain.max() > 1.15


def test_a_tongue_is_a_mound_that_moves_with_the_lower_lip_and_lies_in_no_mouth_seen_open():
    source = face(0.0)
    inside = look_inside(draw(source, 0), source[INNER_LIPS, :2], 90.0, 0.55, (None, None), Registration())
    turn = np.linspace(np.pi, 3 * np.pi, 20, endpoint=False)
    lips = np.c_[100 + 40 * np.cos(turn), 60 + 15 * np.sin(turn)].astype(np.float32)

    def lit(loop: np.ndarray, rows=(None, None), **known) -> np.ndarray:
        return (
            cavity.cavity(replace(with_parts(inside, row=rows), **known), loop, (120, 200)).mean(2)
            / inside.cavity.mean()
        )

    shut = lit(lips)
    low, high = shut[70, 60:141], shut[50, 60:141]
    assert low[40:].max() > 2 > 1 > high.max()
    assert low[25:55].min() > 1.5 * max(low[0], low[-1])  # its sides lie in the dark
    columns = shut[50:74, 95:106].mean(1)
    assert (np.diff(columns) > -0.02).all() and columns[-1] > 2 * columns[0]
    bumps = low - cv2.GaussianBlur(low[None], (0, 0), 2)[0]
    assert 0.005 < bumps[20:60].std() < 0.1
    dropped = lips.copy()
    dropped[:, 1] += 7
    np.testing.assert_allclose(lit(dropped)[57:90], shut[50:83], atol=1e-3)
    np.testing.assert_allclose(lit(lips, dark=1.0, shows=1.0), 1, atol=1e-5)
    grey = np.full(3, inside.cavity.mean(), np.float32)  # of a black-and-white picture: it would be a grey plate
    assert 1.2 < lit(lips, cavity=grey)[70, 100] < 0.7 * shut[70, 100]
    rows = (None, teeth_row())  # behind a lower row it lies as long as no frame has shown the dark
    np.testing.assert_array_equal(lit(lips, rows=rows), shut)
    np.testing.assert_allclose(lit(lips, rows=rows, dark=1.0, shows=0.0), 1, atol=1e-5)


def below_upper_teeth(further: float):
    """A mouth whose lower lip touches the upper teeth, opened so far: a way to paint it, its lips, its inside."""
    source, target = face(0.07), face(0.07)
    middle = source[INNER_LIPS, 1].mean()
    target[:, 1] += further * np.clip((source[:, 1] - middle) / 5, 0, 1)  # with all of the chin
    frame = draw(source, 60)
    meshes = [np.asarray(model().position @ points).astype(np.float32) for points in (source, target)]
    warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
    pose = find_pose(source, model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(source))
    loops = [mesh[model().mouth_loop, :2] for mesh in meshes]
    inside = look_inside(frame, loops[0], 173.0, 0.55, rows, Registration())
    assert inside.dark == inside.rounded == 0 and inside.parts[0].row is not None and inside.parts[1].row is None

    def fill(inside: Inside) -> np.ndarray:
        picture = sample(frame, warp)
        fill_mouth(picture, frame, warp, inside, loops[1], np.array([[0, 0], [0, further]]))
        return picture.astype(float)

    return fill, loops[1] - np.float32([warp.x0, warp.y0]), inside


def test_a_mouth_that_showed_teeth_only_opens_onto_a_tongue_with_a_soft_lip_before_it() -> None:
    fill, loop, inside = below_upper_teeth(10.0)
    x, y = round(float(loop[:, 0].mean())), round(float(loop[15, 1]))
    unseen, seen = (fill(replace(inside, dark=dark))[y - 12 : y + 3, x - 6 : x + 7].mean((1, 2)) for dark in (0.0, 1.0))
    steps = [np.abs(np.diff(column[5:])).max() for column in (unseen, seen)]
    assert unseen[5:8].mean() > 1.5 * seen[5:8].mean()  # the tongue, before the lip
    assert steps[0] < 0.7 * steps[1]


@pytest.mark.parametrize(("further", "whole"), [(-6.5, False), (-2.0, True), (3.5, True), (7.0, False)])
def test_clenched_teeth_are_stretched_as_long_as_the_mouth_opens_no_further(further: float, whole: bool) -> None:
    fill, loop, inside = below_upper_teeth(further)
    x = round(float(loop[:, 0].mean()))
    column = np.s_[round(float(loop[5, 1])) + 2 : round(float(loop[15, 1])) - 1, x - 3 : x + 4]
    rigid, clenched = (fill(replace(inside, clenched=share)) for share in (0.0, 1.0))
    assert inside.clenched == 0 and np.array_equal(rigid, clenched) == (not whole)
    if further > 0 and whole:  # nothing dark opens beside the teeth
        assert clenched[column].min() > 100 > rigid[column].min()
        told = fill(replace(inside, clenched=1.0, dark=1.0))  # the whole shot tells, not the frames so far
        np.testing.assert_array_equal(told, clenched)
    gapes = fill(replace(with_parts(inside, row=(None, None)), clenched=1.0, dark=1.0))  # without teeth to hold
    np.testing.assert_array_equal(gapes, fill(replace(with_parts(inside, row=(None, None)), dark=1.0)))


def test_own_upper_teeth_pass_into_the_remembered_ones_towards_either_lip() -> None:
    _, _, inside = below_upper_teeth(10.0)
    own, loop = inside.parts[0].own[..., 3], inside.loop - inside.corner
    column = own[:, round(float(loop[:, 0].mean()))]
    upper, middle, lower = (round(float(v)) for v in (loop[5, 1], loop[[5, 15], 1].mean(), loop[15, 1]))
    assert inside.parts[0].lit > 0.35 and column[middle] > 0.3
    assert max(column[upper + 2], column[lower - 3]) < 0.5 * column[middle]


def test_what_hangs_below_the_remembered_row_is_told_column_by_column() -> None:
    teeth = np.zeros((40, 30), np.float32)
    teeth[8:20, 5:15], teeth[8:24, 15:25] = 1, 1
    below, reach = _beyond(teeth, 250.0), 2
    for columns, end in ((np.s_[5:15], 20), (np.s_[15:25], 24)):
        np.testing.assert_array_equal(below[: end + reach, columns], 0)
        np.testing.assert_array_equal(below[end + reach :, columns], 1)
    np.testing.assert_array_equal(below[:, :5], 0)  # without teeth above nothing hangs


def test_crumbs_that_hang_from_upper_teeth_are_not_theirs_where_no_frame_shows_the_dark() -> None:
    frame, loop = draw(face(0.2), 16), face(0.2)[INNER_LIPS, :2]
    pose = find_pose(face(0.2), model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(face(0.2)))
    x, top = round(float(loop[:, 0].mean())), round(float(loop[3:8, 1].min()))
    crumb = np.s_[top + 15 : top + 22, x - 3 : x + 4]
    frame[crumb] = TOOTH
    kept = []
    for told in ((2.0, 3.0), (0.0, 0.3)):  # as if the dark that the frame shows were none
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("talkedit.mouth.inside.TOLD", told)
            inside = look_inside(frame, loop, 173.0, 0.55, rows, Registration())
        kept.append(float(inside.parts[0].own[top + 20 - inside.corner[1], x - inside.corner[0], 3]))
    assert kept[0] < 0.1 < 0.3 < kept[1], kept


def test_crumbs_far_from_the_lip_stay_until_the_mouth_opens() -> None:
    fill, loop, inside = below_upper_teeth(10.0)
    upper, lower = inside.parts
    marked = np.ones_like(lower.own) * np.float32([255, 0, 255, 1])
    none, all_of_it = (
        replace(inside, parts=(upper, replace(lower, own=marked, shaded=share * np.ones_like(lower.shaded))))
        for share in (0, 1)
    )
    x, y = round(float(loop[:, 0].mean())), round(float(loop[15, 1]))
    here = np.s_[y - 10 : y - 6, x - 4 : x + 5]
    bare = replace(inside, parts=(upper, replace(lower, own=0 * marked)))
    stays, gone, dark = (fill(view)[here][..., 2].mean() for view in (none, all_of_it, bare))
    assert stays > 150 and gone == pytest.approx(dark, abs=5) and dark < 0.4 * stays
    told = fill(replace(all_of_it, dark=1.0))[here][..., 2].mean()  # frames have shown what comes along
    assert told == pytest.approx(stays, rel=0.05)


def test_light_behind_the_rows_is_torn_near_their_line_and_teeth_are_not() -> None:
    frame, loop, eye = draw(face(0.2), 16), face(0.2)[INNER_LIPS, :2], 173.0
    pose = find_pose(face(0.2), model().at_landmarks(model().mean))
    rows = remembered().solve(0.6).placed(pose, pose.to_model(face(0.2)))
    inside = look_inside(frame, loop, eye, 0.55, rows, Registration())
    x, top = np.round(np.float32([loop[:, 0].mean(), loop[3:8, 1].min()]) - inside.corner).astype(int)
    for part in inside.parts:
        torn = part.torn[:, x - 5 : x + 6].mean(1)  # five teeth and lines between them
        below = torn[top + 19 : round(top + TORN * eye + 40)]
        assert torn[top + 4 : top + 12].max() < 0.3 and below.max() > 0.5
        assert (np.diff(below[below.argmax() :]) <= 1e-6).all() and below[-1] == 0  # ever less, and nothing far off


@pytest.mark.parametrize(("further", "gone"), [(0.5, False), (10.0, True)])
def test_what_lies_behind_the_rows_turns_dark_as_a_mouth_opens_further(further: float, gone: bool) -> None:
    fill, loop, inside = below_upper_teeth(further)
    upper, lower = (replace(part, row=None) for part in inside.parts)
    marked, none = np.ones_like(lower.own) * np.float32([255, 0, 255, 1]), np.zeros_like(lower.torn)
    x, y = round(float(loop[:, 0].mean())), round(float(loop[15, 1]))
    here = np.s_[y - 7 : y - 4, x - 4 : x + 5]
    for which in (0, 1):  # either part goes its way where no row is known
        bare = [replace(part, own=0 * marked, beyond=0 * marked, torn=none, shaded=none) for part in (upper, lower)]
        views = []
        for own, torn in ((marked, none), (marked, none + 1), (0 * marked, none)):
            parts = list(bare)
            parts[which] = replace(bare[which], own=own, torn=torn)
            views.append(fill(replace(inside, dark=1.0, parts=tuple(parts)))[here][..., 2].mean())
        whole, torn, dark = views
        assert whole > dark + 40
        assert torn == pytest.approx(dark if gone else whole, abs=3)


def test_the_dark_between_grey_lips_is_grey_and_between_red_ones_redder() -> None:
    frame, loop = draw(face(0.0)), face(0.0)[INNER_LIPS, :2]
    grey = np.repeat(frame.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    red, plain = (look_inside(f, loop, 90.0, 0.55, (None, None), Registration()).cavity for f in (frame, grey))
    assert np.ptp(plain) < 1e-3 and 0 < plain[0] < 60
    assert red[0] / red[2] > 1.2 * frame[..., 0].mean() / frame[..., 2].mean()


def hollow(inside: Inside) -> Inside:
    """Nothing but dark is left of what the frame shows."""
    return with_parts(
        inside, **{name: [0 * getattr(part, name) for part in inside.parts] for name in ("own", "beyond")}
    )


def test_dark_that_shows_is_as_light_as_it_looks_and_what_parts_it_has_its_colour() -> None:
    frame, inside, (_, target), warp = opened(-3.0, 8.0)
    assert inside.dark > 0.5
    loop, pictures = target[model().mouth_loop, :2], []
    for dark in (inside.dark, 1.0, 0.0):
        view = replace(with_parts(hollow(inside), row=(None, None)), dark=dark)
        picture = sample(frame, warp)
        fill_mouth(picture, frame, warp, view, loop, np.array([[0, -3.0], [0, 8.0]]))
        pictures.append(picture.astype(float))
    middle = np.round(loop.mean(0) - [warp.x0, warp.y0]).astype(int)
    here = np.s_[middle[1] - 2 : middle[1] + 3, middle[0] - 3 : middle[0] + 4]
    own, lit, shaded = (p[here].mean((0, 1)) for p in pictures)
    np.testing.assert_allclose(lit, inside.cavity, atol=1.5)
    assert shaded.mean() < own.mean() <= lit.mean()


def test_teeth_in_the_rim_of_a_lip_stay_behind_before_the_dark_only() -> None:
    lips, mouth = np.full((30, 40, 3), 200, np.float32), np.full((30, 40, 3), 30, np.float32)
    pale = np.zeros((30, 40), np.float32)
    pale[:, :20] = 1
    behind = _left_behind(pale, lips, mouth, 1.0)
    assert behind[:, :19].min() > 0.99 and behind[:, 24:].max() < 0.01  # lips go along
    mouth[:15] = 190  # a row lies there as well
    behind = _left_behind(pale, lips, mouth, 1.0)
    assert behind[:11].max() < 0.01 and behind[19:, :19].min() > 0.99


def test_no_light_line_goes_along_a_lip_that_comes_down_over_its_teeth() -> None:
    source, target = face(0.2), face(0.2)
    target[INNER_LIPS[1:10], 1] += 7  # the upper lip comes down over its row
    frame = draw(source, 16)
    meshes = [np.asarray(model().position @ v).astype(np.float32) for v in (source, target)]
    warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
    loop = meshes[0][model().mouth_loop, :2]
    inside = look_inside(frame, loop, 90.0, 0.55, (None, None), Registration())
    inside = hollow(inside)
    moved, light = meshes[1][model().mouth_loop, :2], []
    for view in (inside, replace(inside, pale=0 * inside.pale)):
        picture = sample(frame, warp)
        fill_mouth(picture, frame, warp, view, moved, np.zeros((2, 2)))
        at = polygon(moved - np.float32([warp.x0, warp.y0]), picture.shape[:2]) > 0.5
        light.append(int(teeth_of(picture)[at].sum()))
    assert light[0] < 0.5 * light[1] and light[1] > 60


def test_lower_teeth_alone_show_where_the_frame_shows_them() -> None:
    source, target = face(0.0), face(0.0)
    target[INNER_LIPS[11:], 1] += 16
    pose = find_pose(source, model().at_landmarks(model().mean))
    frame, (row, *_) = draw(source, 16), remembered().solve(0.6).placed(pose, pose.to_model(source))
    meshes = [np.asarray(model().position @ v).astype(np.float32) for v in (source, target)]
    warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
    loop, moved = (mesh[model().mouth_loop, :2] for mesh in meshes)
    inside = look_inside(frame, loop, 90.0, 0.55, (row, row), Registration())
    shown = {}
    for rows in ((row, row), (None, row)):
        for lit in (0.0, 1.0):
            picture = sample(frame, warp)
            fill_mouth(picture, frame, warp, with_parts(inside, row=rows, lit=(0.0, lit)), moved, np.zeros((2, 2)))
            at = polygon(moved - np.float32([warp.x0, warp.y0]), picture.shape[:2]) > 0.5
            shown[rows[0] is None, lit] = int(teeth_of(picture)[at].sum())
    assert shown[True, 0.0] == 0 and shown[True, 1.0] > 60
    assert shown[False, 0.0] > 60  # behind upper ones


def test_teeth_between_lips_hardly_apart_lie_in_their_shadow_unless_the_frame_shows_their_light() -> None:
    source, light = face(0.0), {}
    pose = find_pose(source, model().at_landmarks(model().mean))
    frame, rows = draw(source, 16), remembered().solve(0.6).placed(pose, pose.to_model(source))
    for opened_by in (4, 16):
        target = face(0.0)
        target[INNER_LIPS[11:], 1] += opened_by
        meshes = [np.asarray(model().position @ v).astype(np.float32) for v in (source, target)]
        warp = build_warp(*meshes, model().triangles, model().uv, frame.shape)
        loop, moved = (mesh[model().mouth_loop, :2] for mesh in meshes)
        inside = look_inside(frame, loop, 90.0, 0.55, rows, Registration())
        assert [part.lit for part in inside.parts] == [0.0, 0.0]
        for lit in (0.0, 1.0):
            picture = sample(frame, warp)
            view = with_parts(inside, lit=(lit, lit))
            fill_mouth(picture, frame, warp, view, moved, np.zeros((2, 2)))
            at = teeth_of(picture) & (polygon(moved - np.float32([warp.x0, warp.y0]), picture.shape[:2]) > 0.5)
            light[opened_by, lit] = float(np.percentile(picture[at].mean(1), 90))
    assert light[4, 0.0] < 0.96 * light[4, 1.0]  # most of it is dark already, whatever the frame shows
    assert light[4, 0.0] < 0.75 * light[16, 0.0]
    assert light[16, 0.0] == pytest.approx(light[16, 1.0], rel=0.02)
    shows = opened(-3.0, 8.0)[1]
    assert shows.parts[0].lit > 0.4  # its own teeth tell


def test_two_views_of_a_mouth_are_mixed_by_their_shares() -> None:
    frame, inside, (_, target), warp = opened(-3.0, 4.0)
    loop, jaws = target[model().mouth_loop, :2], np.zeros((2, 2))
    bright = replace(with_parts(inside, row=(None, None)), cavity=np.float32([90, 60, 50]))
    base, pictures = sample(frame, warp), []
    for views in ([(inside, 1.0)], [(bright, 1.0)], [(inside, 0.25), (bright, 0.75)]):
        pictures.append(base.copy())
        fill_mixed(pictures[-1], frame, warp, views, loop, jaws)
    one, other, both = (p.astype(float) for p in pictures)
    assert np.abs(one - other).max() > 20
    np.testing.assert_allclose(both, 0.25 * one + 0.75 * other, atol=0.51)


def test_bright_teeth_of_a_turned_smile_are_the_upper_ones_whatever_shadow_their_lip_throws() -> None:
    y = np.broadcast_to(np.linspace(0, 1, 80)[:, None], (80, 100))
    known = np.ones((80, 100), np.float32)
    between = np.ascontiguousarray(y, np.float32)

    def mouth(*dark: tuple[float, float]) -> np.ndarray:
        level = np.full((80, 100), 200.0)
        for low, high in dark:
            level[(y >= low) & (y <= high)] = 20
        return np.repeat(level[..., None], 3, 2).astype(np.uint8)

    shadowed = mouth((0, 0.2))
    assert split(shadowed, known, between) < 0.3
    assert split(shadowed, known, between, smiles=True) > 0.85
    assert split(mouth(), known, between, smiles=True) > 0.85
    # A line that lies deeper is one between the rows, and what is dark down to it hides the upper ones.
    for picture in (mouth((0.5, 0.65)), mouth((0, 0.2), (0.5, 0.65))):
        assert split(picture, known, between, smiles=True) == pytest.approx(0.58, abs=0.1)
    assert split(mouth((0, 0.6)), known, between, smiles=True) < 0.5
