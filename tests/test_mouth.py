"""Teeth: aligned crops, completion and its training, what a shot's memory keeps, and how remembered rows are shown."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from talkedit import resources
from talkedit.editor import Editor
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.mouth.alignment import HEIGHT, WIDTH, align, cut, from_crop, hidden, to_crop
from talkedit.mouth.completion import Completion, complete, load_completion, save_completion
from talkedit.mouth.invention import OPENED, invent
from talkedit.mouth.memory import KEPT, SPACING, MouthMemory
from talkedit.mouth.rows import Row, depth, split, toothness
from talkedit.reconstruct.pose import find_pose
from talkedit.track.topology import INNER_LIPS
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
        row[:, x % 9 == 0] = 0  # lines between them
        picture[(row & inside) > 0] = TOOTH
    return (cv2.GaussianBlur(picture, (0, 0), 0.7) * brightness).astype(np.uint8)


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


def test_the_rows_part_at_the_dark_line_and_near_where_the_upper_one_should_end():
    area = np.full((40, 30, 3), 200, np.uint8)
    area[22:25] = 20
    loop = np.zeros((20, 2), np.float32)
    loop[3:8], loop[13:18] = (15, 0), (15, 39)
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
    a, b = memory.solve(), learn().solve()
    np.testing.assert_array_equal(a.upper.picture, b.upper.picture)
    np.testing.assert_array_equal(a.upper.place, b.upper.place)
    assert not memory.upper and memory.still is None


@pytest.mark.parametrize("case", ["shut", "no teeth", "turned away"])
def test_what_shows_no_teeth_is_not_remembered(case):
    memory = MouthMemory(model().at_landmarks(model().mean))
    landmarks = face(0.0 if case == "shut" else 0.2)
    observe(memory, draw(landmarks, 16 * (case == "turned away")), landmarks, 50.0 * (case == "turned away"))
    assert memory.lacks_teeth() and memory.solve() is None


def test_a_row_lies_where_it_was_seen_and_moves_with_the_head():
    rows = remembered().solve()
    y, x = np.mgrid[:480, :440].astype(np.float32)
    for shift, scale in (((220, 230), 200.0), ((240, 215), 170.0)):
        landmarks = face(0.2, scale, shift)
        pose = find_pose(landmarks, model().at_landmarks(model().mean))
        upper, _ = rows.placed(pose, pose.to_model(landmarks))
        _, teeth = upper.sample(x, y)
        inside = np.zeros(teeth.shape, np.uint8)
        cv2.fillPoly(inside, [np.round(landmarks[INNER_LIPS, :2]).astype(np.int32)], 1)
        drawn = toothness(draw(landmarks, 16 * scale / 200), np.float32(SKIN)) > 0.5
        drawn = cv2.morphologyEx((drawn & (inside > 0)).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5))) > 0
        seen = (teeth > 0.5) & (cv2.erode(inside, np.ones((5, 5))) > 0)
        assert (seen & drawn).sum() > 0.65 * drawn.sum() and (seen & drawn).sum() > 0.85 * seen.sum()


def test_a_row_is_moved_onto_what_the_frame_shows():
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (60, 80)).astype(np.float32), (0, 0), 2)
    picture = np.repeat(texture.astype(np.uint8)[..., None], 3, 2)
    row = Row(picture, np.ones((60, 80), np.float32), np.float32(SKIN), np.float32([[1, 0, 1.2], [0, 1, -0.8]]))
    y, x = np.mgrid[10:50, 10:70].astype(np.float32)
    area = cv2.remap(picture, x, y, cv2.INTER_LINEAR).astype(np.float32).mean(2)
    found = row.registered(area, np.ones_like(area), x, y, 130.0)
    np.testing.assert_allclose(found.place[:, 2], 0, atol=0.15)
    assert row.registered(area, np.zeros_like(area), x, y, 130.0) is row


class Painter(torch.nn.Module):
    """Stands in for the network: teeth of a given width, or one white bar."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        lines = (torch.arange(WIDTH) % self.width < 2) if self.width else torch.zeros(WIDTH, dtype=bool)
        tooth = torch.where(lines[:, None], torch.tensor(DARK) * 4.0, torch.tensor(TOOTH, dtype=torch.float32)) / 255
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


def test_a_smooth_white_bar_is_not_taken_for_teeth():
    assert invented(0)[2] is None


# ---- in the editor


def test_no_edit_leaves_a_mouth_alone(shared):
    file = sorted((shared / "data" / "portraits").glob("*.*"))[0]
    rgb = cv2.imread(str(file))[..., ::-1].copy()
    np.testing.assert_array_equal(Editor("happy", 0.0).edit_frame(rgb), rgb)
