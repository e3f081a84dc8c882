"""The network's layout and files, the losses by hand and by finite differences, training, and the shipped weights."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from talkedit import resources
from talkedit.editor import Editor
from talkedit.errors import InputError
from talkedit.facemodel.camera import CAMERA, CropTransform, align_crop, five_points, project, screen_points_numpy
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.tensors import FaceTensors
from talkedit.options import EditOptions
from talkedit.reconstruct.coefficients import LAYOUT, Coefficients
from talkedit.reconstruct.losses import (
    LANDMARK_WEIGHTS,
    LossWeights,
    SelfSupervision,
    gamma_loss,
    landmark_loss,
    perceptual_loss,
    photometric_loss,
    reflectance_loss,
    regularisation_loss,
    skin_mask,
)
from talkedit.reconstruct.network import (
    HEADS,
    SMALL_SIZE,
    NetworkReconstructor,
    camera_at,
    crop_at,
    load_deep3d,
    load_reconstructor,
    load_small,
    resnet50_network,
    save_small,
    small_network,
    to_tensor,
)
from talkedit.render import render
from talkedit.track.topology import IBUG68
from talkedit.train import reconstruction as training
from talkedit.train.crops import Crops
from talkedit.types import Track

WEIGHTS = resources.folders("checkpoints")[-1] / "reconstruction.safetensors"


@pytest.fixture(scope="module")
def model():
    return load_face_model("open")


# ---- Deep3DFaceRecon's layout


def published_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``net_recon`` in the public epoch_20.pth, written out apart from the product's network."""

    def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{p}": (channels,) for p in parts} | {f"{name}.num_batches_tracked": ()}

    out: dict[str, tuple[int, ...]] = {"backbone.conv1.weight": (64, 3, 7, 7)} | norm("backbone.bn1", 64)
    inputs = 64
    for layer, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            at = f"backbone.layer{layer}.{block}"
            out[f"{at}.conv1.weight"] = (width, inputs, 1, 1)
            out[f"{at}.conv2.weight"] = (width, width, 3, 3)
            out[f"{at}.conv3.weight"] = (4 * width, width, 1, 1)
            out |= norm(f"{at}.bn1", width) | norm(f"{at}.bn2", width) | norm(f"{at}.bn3", 4 * width)
            if block == 0:
                out[f"{at}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                out |= norm(f"{at}.downsample.1", 4 * width)
            inputs = 4 * width
    for head, count in enumerate((80, 64, 80, 3, 27, 2, 1)):
        out |= {f"final_layers.{head}.weight": (count, 2048, 1, 1), f"final_layers.{head}.bias": (count,)}
    return out


@pytest.fixture(scope="module")
def public_checkpoint(tmp_path_factory) -> Path:
    """A random checkpoint as the public one is: a dict with net_recon, optimiser and scheduler states."""
    draw = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in published_layout().items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            tensors[name] = torch.rand(shape, generator=draw) + 0.5
        else:
            tensors[name] = torch.randn(shape, generator=draw) * (0.02 if len(shape) == 4 else 0.1)
    path = tmp_path_factory.mktemp("public") / "epoch_20.pth"
    torch.save(
        {"net_recon": tensors, "opt_00": {"state": {}, "param_groups": []}, "sched_00": {"last_epoch": 20}}, path
    )
    return path


def test_names_and_shapes_are_those_of_the_public_checkpoint():
    ours = {name: tuple(t.shape) for name, t in resnet50_network().state_dict().items()}
    assert ours == published_layout()


def test_the_public_layout_loads_and_answers_257_numbers(public_checkpoint):
    network = load_deep3d(public_checkpoint)
    stored = torch.load(public_checkpoint, weights_only=True)["net_recon"]
    with torch.inference_mode():
        image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        answer = network(image)
        features = network.backbone(image).flatten(1)
    assert answer.shape == (1, 257) and features.shape == (1, 2048)
    # The heads lie in the order of the layout.
    for head, where in zip(range(7), (0, 80, 144, 224, 227, 254, 256), strict=True):
        w, b = stored[f"final_layers.{head}.weight"].flatten(1), stored[f"final_layers.{head}.bias"]
        torch.testing.assert_close(answer[0, where : where + len(b)], features[0] @ w.T + b, rtol=1e-4, atol=1e-5)


def test_the_stride_lies_in_the_3x3_convolution(public_checkpoint):
    """One block against the formula: ResNet 'v1.5', as the public weights were trained."""
    block = load_deep3d(public_checkpoint).backbone.layer2[0]
    x = torch.rand(1, 256, 8, 8)
    f = torch.nn.functional

    def norm(y, n):
        return f.batch_norm(y, n.running_mean, n.running_var, n.weight, n.bias, eps=1e-5)

    with torch.inference_mode():
        y = f.relu(norm(f.conv2d(x, block.conv1.weight), block.bn1))
        y = f.relu(norm(f.conv2d(y, block.conv2.weight, stride=2, padding=1), block.bn2))
        y = norm(f.conv2d(y, block.conv3.weight), block.bn3)
        y = f.relu(y + norm(f.conv2d(x, block.downsample[0].weight, stride=2), block.downsample[1]))
        torch.testing.assert_close(block(x), y)


def test_wrong_checkpoints_are_refused(tmp_path, public_checkpoint):
    other = tmp_path / "other.pth"
    torch.save({"generator": {}}, other)
    with pytest.raises(InputError, match="net_recon"):
        load_deep3d(other)
    stored = torch.load(public_checkpoint, weights_only=True)
    stored["net_recon"]["final_layers.0.weight"] = torch.zeros(79, 2048, 1, 1)
    torch.save(stored, other)
    with pytest.raises(InputError, match=r"final_layers\.0\.weight"):
        load_deep3d(other)
    other.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="read safely"):
        load_deep3d(other)


def test_a_pickle_with_code_is_not_run(tmp_path):
    witness = tmp_path / "was_run"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (witness,))

    for name, write in (("zip.pth", lambda p: torch.save({"net_recon": Trap()}, p)),
                        ("raw.pth", lambda p: p.write_bytes(pickle.dumps({"net_recon": Trap()})))):  # fmt: skip
        write(tmp_path / name)
        with pytest.raises(InputError):
            load_deep3d(tmp_path / name)
    assert not witness.exists()


# ---- the small network and its crops


def test_small_network_starts_at_the_mean_face_and_survives_its_file(tmp_path):
    network = small_network(8)
    assert [head.out_channels for head in network.final_layers] == list(HEADS)
    image = torch.rand(2, 3, SMALL_SIZE, SMALL_SIZE)
    assert (network(image) == 0).all()
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    network.eval()
    save_small(tmp_path / "n.safetensors", network, {"note": "x"})
    again = load_small(tmp_path / "n.safetensors")
    with torch.inference_mode():
        a, b = network(image), again(image)
    assert not again.training
    torch.testing.assert_close(a, b, rtol=0.05, atol=0.02 * float(a.std()))  # float16 in the file


def test_damaged_small_files_are_refused(tmp_path):
    path = tmp_path / "n.safetensors"
    path.write_bytes(b"\x08" + b"\0" * 20)
    with pytest.raises(InputError):
        load_small(path)
    save_small(path, small_network(8), {})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError):
        load_small(path)
    with pytest.raises(InputError):
        load_small(tmp_path / "absent.safetensors")


def test_a_crop_of_another_size_shows_the_same_view():
    crop = CropTransform(0.7, (-31.2, 14.9))
    points = np.random.default_rng(0).uniform(0, 400, (20, 2))
    large = crop.frame_to_crop(points)
    # A pixel is an area with its centre at a whole number: 224 pixels span -0.5 to 223.5.
    np.testing.assert_allclose(crop_at(crop, 112).frame_to_crop(points), (large + 0.5) / 2 - 0.5)
    space = torch.tensor([[0.3, -0.2, 9.0], [-0.4, 0.6, 10.4]])
    a, b = project(space, CAMERA), project(space, camera_at(112))
    torch.testing.assert_close(b[:, :2], (a[:, :2] + 0.5) / 2 - 0.5)
    assert crop_at(crop, 224) == crop and camera_at(224) == CAMERA


def test_the_answer_follows_a_face_that_moves_by_parts_of_a_pixel(model):
    """One sub-pixel warp: where the frame's pixels lie does not matter, only where the face is."""
    torch.manual_seed(0)
    network = small_network(8)
    for head in network.final_layers:
        torch.nn.init.normal_(head.weight, std=0.3)
    read = NetworkReconstructor(network)
    y, x = np.mgrid[0:300, 0:320].astype(np.float64)
    landmarks = np.zeros((478, 3), np.float32)
    base = screen_points_numpy(model.mean[:468], np.zeros(3), np.zeros(3))[:, :2] + [40, 30]

    def picture(dx: float) -> np.ndarray:
        waves = [np.sin((x - dx) / a + y / b) for a, b in ((11, 17), (14, -13), (-19, 12))]
        return np.round(127 + 100 * np.stack(waves, -1)).astype(np.uint8)

    def answer(dx: float, face_dx: float) -> np.ndarray:
        landmarks[:468, :2] = base + np.array([face_dx, 0])
        return read(picture(dx), landmarks).vector()

    still = answer(0, 0)
    slipped = np.abs(answer(2, 0) - still).mean()  # what two pixels do when the crop does not follow
    for dx in (0.25, 0.5, 5.0):
        assert np.abs(answer(dx, dx) - still).mean() < 0.15 * slipped


def test_reconstructors_by_face_model(monkeypatch, tmp_path, public_checkpoint):
    with pytest.raises(InputError, match="not for 'ict'"):
        load_reconstructor("ict")
    with pytest.raises(InputError, match=r"'epoch_20\.pth' is missing.*Deep3DFaceRecon"):
        load_reconstructor("bfm")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/epoch_20.pth").write_bytes(public_checkpoint.read_bytes())
    monkeypatch.setenv("TALKEDIT_HOME", str(tmp_path))
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:468, :2] = screen_points_numpy(load_face_model("open").mean[:468], np.zeros(3), np.zeros(3))[:, :2]
    found = load_reconstructor("bfm")(np.full((224, 224, 3), 90, np.uint8), landmarks)
    assert found.vector().shape == (257,) and np.isfinite(found.vector()).all()
    with pytest.raises(InputError, match="reconstruction"):
        EditOptions(reconstruction="guess")


# ---- losses, by hand


def test_photometric_loss_by_hand():
    a, b = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    a[0, 0, 0] = torch.tensor([0.3, 0.4, 0.0])  # distance 0.5
    a[0, 0, 1] = torch.tensor([0.0, 0.0, 0.2])
    a[0, 0, 2] = 1.0  # masked
    mask = torch.tensor([[[1.0, 0.5, 0.0]]])
    assert photometric_loss(a, b, mask, 0.0).item() == pytest.approx((0.5 + 0.5 * 0.2) / 1.5, rel=1e-6)
    assert photometric_loss(a, b, mask * 0).item() == 0
    same = torch.zeros(1, 1, 3, 3, requires_grad=True)
    photometric_loss(same, b, mask).backward()
    assert torch.isfinite(same.grad).all()


def test_landmark_loss_by_hand():
    assert [i for i, w in enumerate(LANDMARK_WEIGHTS) if w != 1] == [28, 29, 30, *range(60, 68)]
    a, b = torch.zeros(2, 68, 2), torch.zeros(2, 68, 2)
    a[0, 0] = torch.tensor([3.0, 4.0])  # 25 square pixels, weight 1
    a[1, 66] = torch.tensor([1.0, 0.0])  # 1 square pixel, weight 20
    assert landmark_loss(a, b).item() == pytest.approx(45 / (2 * 68))
    assert landmark_loss(a, b, torch.ones(68)).item() == pytest.approx(26 / (2 * 68))


def test_perceptual_loss_by_hand():
    a = torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    b = torch.tensor([[5.0, 0.0], [0.0, 3.0], [2.0, 0.0]])
    assert perceptual_loss(a, b).item() == pytest.approx((0 + 1 + 1 - 0.5**0.5) / 3, abs=1e-6)


def test_regularisation_by_hand():
    rows = torch.zeros(2, 257)
    rows[0, 0], rows[0, 80], rows[1, 144] = 2.0, 3.0, 10.0
    rows[:, 224:] = 99  # pose and light are not held back
    assert regularisation_loss(rows).item() == pytest.approx((4 + 0.8 * 9 + 1.7e-2 * 100) / 2)
    gamma = torch.zeros(1, 27)
    gamma[0, [0, 9, 18]] = torch.tensor([0.3, 0.0, 0.0])  # mean 0.1: 0.04 + 0.01 + 0.01 over 27 numbers
    assert gamma_loss(gamma).item() == pytest.approx(0.06 / 27)
    assert gamma_loss(torch.ones(3, 27)).item() == 0


def test_reflectance_by_hand():
    albedo = torch.tensor([[[0.2, 0.5, 0.5], [0.4, 0.5, 0.5], [9.0, 9.0, 9.0]]])
    assert reflectance_loss(albedo, torch.tensor([1.0, 1.0, 0.0])).item() == pytest.approx(2 * 0.1**2 / 2)


def test_published_weights():
    names = ("perceptual", "photometric", "regularisation", "identity", "expression", "texture", "gamma", "landmark",
             "reflectance")  # fmt: skip
    published = (0.2, 1.92, 3e-4, 1, 0.8, 1.7e-2, 10, 1.6e-3, 5)
    assert tuple(asdict(LossWeights())[name] for name in names) == published


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("tone", [(0.8, 0.62, 0.52), (0.25, 0.16, 0.12)])
def test_skin_mask_finds_what_is_not_skin_whatever_the_skin(tone, grey):
    rng = np.random.default_rng(0)
    light = np.linspace(0.8, 1.1, 64)[None, :, None]
    picture = np.broadcast_to(np.array(tone), (64, 64, 3)) * light * rng.normal(1, 0.03, (64, 64, 1))
    picture[20:28, 10:54] *= 0.25  # dark frames of glasses
    if not grey:
        picture[44:50, 20:44] = np.array(tone)[[2, 1, 0]]  # something of quite another colour
    if grey:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
    face = torch.zeros(1, 64, 64, dtype=torch.bool)
    face[0, 4:60, 4:60] = True
    mask = skin_mask(torch.from_numpy(picture[None].astype(np.float32)), face)[0]
    assert (mask[~face[0]] == 0).all() and mask.max() <= 1
    assert mask[20:28, 10:54].max() < 0.1
    assert mask[32:42, 8:56].mean() > 0.7
    if not grey:
        assert mask[44:50, 20:44].max() < 0.1


def test_skin_mask_without_a_face_is_empty():
    assert (skin_mask(torch.rand(1, 5, 5, 3), torch.zeros(1, 5, 5, dtype=torch.bool)) == 0).all()


# ---- losses through the renderer


def known_row(seed: int = 0) -> torch.Tensor:
    """(1, 257) of a plausible face."""
    rng = np.random.default_rng(seed)
    row = rng.normal(size=257) * 0.5
    row[LAYOUT["angle"]] = (0.05, 0.12, -0.04)
    row[LAYOUT["gamma"]] = np.tile(rng.normal(size=9) * 0.05, 3)
    row[LAYOUT["translation"]] = (0.02, -0.03, 0.1)
    return torch.from_numpy(row)[None]


def crop_of(model, row: torch.Tensor, size: int = SMALL_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, size, size, 3) picture in 0..1 and (1, 468, 2) landmarks in 224-crop pixels of (1, 257) coefficients."""
    part = {name: row[:, where].float() for name, where in LAYOUT.items()}
    face = FaceTensors(model)
    vertices = face.vertices(part["identity"], part["expression"])
    seen = render(vertices, torch.from_numpy(model.triangles.astype(np.int64)), face.albedo(part["texture"]),
                  part["angle"], part["translation"], part["gamma"], camera=camera_at(size))  # fmt: skip
    points = screen_points_numpy(vertices[0, :468].numpy(), part["angle"][0].numpy(), part["translation"][0].numpy())
    return seen.image.clamp(0, 1), torch.from_numpy(points[None, :, :2])


def test_tensors_are_the_face_model(model):
    row = known_row()[0].numpy().astype(np.float32)
    face = FaceTensors(model)
    vertices = face.vertices(*(torch.from_numpy(row[None, LAYOUT[n]]) for n in ("identity", "expression")))
    expected = model.vertices(row[LAYOUT["identity"]], row[LAYOUT["expression"]])
    np.testing.assert_allclose(vertices[0].numpy(), expected, atol=1e-5)
    albedo = face.albedo(torch.from_numpy(row[None, LAYOUT["texture"]]))
    np.testing.assert_allclose(albedo[0].numpy(), model.texture(row[LAYOUT["texture"]]), atol=1e-5)
    assert (model.skirt[face.triangles.numpy()] > 0.99).all() and not model.eyeball[face.triangles.numpy()].any()


def test_the_right_coefficients_leave_no_photometric_and_landmark_loss(model):
    row = known_row().float()
    picture, points = crop_of(model, row)
    losses = SelfSupervision(FaceTensors(model), SMALL_SIZE)
    landmarks = points[:, torch.from_numpy(model.keypoints.astype(np.int64))]
    right = losses(row, picture, landmarks)
    assert set(right) == {"photometric", "landmark", "regularisation", "gamma", "reflectance"}
    assert right["photometric"] < 0.01 and right["landmark"] < 1e-5
    wrong = row.clone()
    wrong[:, LAYOUT["expression"]] = 0
    off = losses(wrong, picture, landmarks)
    assert off["landmark"] > 100 * right["landmark"] and off["photometric"] > right["photometric"]


@pytest.mark.parametrize("part", list(LAYOUT))
def test_gradients_of_all_losses_are_finite_differences(model, part):
    """Through camera, rasterizer, interpolation and light, with a linear identity network for the perceptual term."""
    truth, row = known_row(), known_row(1)
    picture, points = crop_of(model, truth, 32)
    picture = torch.where(picture.sum(-1, keepdim=True) > 0, picture, 0.3).double()
    mixing = torch.randn(6, 3 * 32 * 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    losses = SelfSupervision(FaceTensors(model, torch.float64), 32, identity=lambda x: x.flatten(1) @ mixing.T)
    landmarks = points[:, torch.from_numpy(model.keypoints.astype(np.int64))].double()
    direction = torch.zeros_like(row)
    draw = torch.Generator().manual_seed(3)
    direction[:, LAYOUT[part]] = torch.randn(row[:, LAYOUT[part]].shape, dtype=torch.float64, generator=draw)
    step = 1e-7  # no pixel changes its triangle
    for name in ("photometric", "landmark", "perceptual", "regularisation", "gamma", "reflectance"):
        at = row.clone().requires_grad_()
        value = losses(at, picture, landmarks)[name]
        (gradient,) = torch.autograd.grad(value, at)
        with torch.no_grad():
            ahead, behind = (losses(row + s * step * direction, picture, landmarks)[name] for s in (1, -1))
        expected = float(ahead - behind) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=2e-3, abs=2e-6), name


def test_the_losses_lead_to_the_light(model):
    row = known_row().float()
    picture, points = crop_of(model, row)
    losses = SelfSupervision(FaceTensors(model), SMALL_SIZE)
    start = row.clone()
    start[:, LAYOUT["gamma"]] = 0
    guess = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([guess], 0.02)
    landmarks = points[:, torch.from_numpy(model.keypoints.astype(np.int64))]
    for _ in range(40):
        optimiser.zero_grad()
        losses(guess, picture, landmarks)["photometric"].backward()
        guess.grad[:, : LAYOUT["gamma"].start] = 0
        guess.grad[:, LAYOUT["gamma"].stop :] = 0
        optimiser.step()
    before, after = (losses(r, picture, landmarks)["photometric"] for r in (start, guess))
    assert after < 0.4 * before


# ---- training


@pytest.fixture(scope="module")
def crops(model) -> Crops:
    """Ten crops of known faces."""
    rows = [known_row(seed).float() for seed in range(10)]
    pairs = [crop_of(model, row) for row in rows]
    return Crops(
        np.stack([np.uint8(picture[0].numpy() * 255) for picture, _ in pairs]),
        torch.cat(rows).numpy(),
        torch.cat([points for _, points in pairs]).numpy().astype(np.float32),
        np.array([f"p{i}" for i in range(10)]),
        np.array(["mead"] * 10),
        np.ones(10, bool),
    )


def test_a_mirrored_face_has_mirrored_coefficients(model, crops):
    mirror = training.Mirror(model)
    rows = torch.from_numpy(crops.coefficients)
    turned = mirror.coefficients(rows)
    teacher = training.Teacher(model, crops.coefficients)
    want = mirror.landmarks(teacher.points(rows))
    assert (teacher.points(turned) - want).norm(dim=-1).mean() < 0.1  # pixels of 224
    picture, _ = crop_of(model, turned[:1])
    flipped = torch.from_numpy(crops.images[:1, :, ::-1].copy()) / 255
    both = (picture.sum(-1) > 0) & (flipped.sum(-1) > 0)
    straight = torch.from_numpy(crops.images[:1].copy()) / 255
    assert both.float().mean() > 0.2
    # The albedo basis is not symmetric: near is as near as it can be, and far nearer than not turning.
    assert (picture - flipped)[both].abs().mean() < 0.03 < (picture - straight)[both].abs().mean() * 2
    again = mirror.coefficients(turned)
    pose = slice(LAYOUT["angle"].start, 257)
    torch.testing.assert_close(again[:, pose], rows[:, pose], atol=1e-4, rtol=0)


def test_brighter_pictures_have_more_light(model, crops):
    class Still:
        def random(self, n):
            return np.ones(n)  # never mirrored

        def uniform(self, low, high, n):
            return np.full(n, 0.8)

    batch = training.draw_batch(crops, np.arange(2), training.Mirror(model), Still())
    torch.testing.assert_close(batch.images, to_tensor(crops.images[:2]) * 0.8)
    picture, _ = crop_of(model, batch.coefficients[:1])
    np.testing.assert_allclose(picture[0].numpy() * 255, crops.images[0] * 0.8, atol=1.5)


def test_teacher_is_silent_for_the_right_answer_and_counts_pixels(model, crops):
    teacher = training.Teacher(model, crops.coefficients)
    rows = torch.from_numpy(crops.coefficients)
    batch = training.Batch(to_tensor(crops.images), rows, torch.from_numpy(crops.landmarks))
    right = teacher(rows, batch)
    assert all(float(v) < 2e-3 for v in right.values())
    moved = rows.clone()
    moved[:, 254] += 3 * training.PIXEL  # three pixels to the right at the depth of the origin
    assert float(teacher(moved, batch)["picture"]) == pytest.approx(3, rel=0.05)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(model, crops, tmp_path):
    config = training.Config(width=8, batch=4, epochs=2, tune_steps=2, tune_batch=2, save_every=2)
    whole = training.Run(config, model, crops, tmp_path / "a")
    lines = list(whole.train())
    assert [line["step"] for line in lines] == [2, 4, 6] and whole.total == 6
    assert "photometric" in lines[-1] and "photometric" not in lines[0]
    broken = training.Run(config, model, crops, tmp_path / "b").train()
    next(broken)
    broken.close()
    second = training.Run(config, model, crops, tmp_path / "b")
    assert second.step == 2
    list(second.train())
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name
    log = [json.loads(line) for line in (tmp_path / "b/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6]
    with pytest.raises(InputError, match="other settings"):
        training.Run(replace(config, seed=1), model, crops, tmp_path / "b")
    (tmp_path / "b/snapshot.pt").write_bytes(b"broken")
    with pytest.raises(InputError, match="read safely"):
        training.Run(config, model, crops, tmp_path / "b")


def test_training_learns(model, crops, tmp_path):
    config = training.Config(width=8, batch=5, epochs=12, rate=5e-3, tune_steps=0, save_every=6)
    lines = list(training.Run(config, model, crops, tmp_path).train())
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


def test_configuration_files(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"epochs": 3, "rate": 1}')
    assert training.Config.read(path) == training.Config(epochs=3, rate=1)
    for text, match in (('{"epoch": 3}', "no setting 'epoch'"), ('{"epochs": "3"}', "must be a int"), ("[1", "read")):
        path.write_text(text)
        with pytest.raises(InputError, match=match):
            training.Config.read(path)
    with pytest.raises(InputError, match="multiple of 8"):
        training.Config(width=12)
    with pytest.raises(InputError, match="read"):
        training.Config.read(tmp_path / "absent.json")


def test_finished_weights_are_listed(crops, tmp_path):
    manifest = tmp_path / "manifest.json"
    output = tmp_path / "out/reconstruction.safetensors"
    training.finish(small_network(8), training.Config(width=8), crops, output, manifest)
    entry = json.loads(manifest.read_text())["files"][output.name]
    assert entry["bytes"] == output.stat().st_size and "non-commercial" in entry["licence"]
    assert "without the people left out" in entry["trained_on"]
    load_small(output)


# ---- the shipped weights


def test_shipped_network_is_small():
    assert WEIGHTS.stat().st_size < 16e6


@pytest.mark.parametrize("name", ["neutral", "smiling"])
def test_shipped_network_on_a_face_it_never_saw(model, shared, name):
    """Landmarks of the answer against the tracked ones, per cent of the outer-eye distance."""
    from talkedit.track.facemesh import FaceMesh
    from talkedit.video.reader import read_frames

    path = sorted((shared / "data/london").glob(f"*_{name}.jpg"))[0]  # the first person of the set is left out
    frame = next(iter(read_frames(path)))
    landmarks = FaceMesh(still=True, max_faces=1)(frame.rgb)[0]
    found = load_reconstructor("open")(frame.rgb, landmarks)
    vertices = model.at_landmarks(model.vertices(found.identity, found.expression))
    points = screen_points_numpy(vertices, found.angle, found.translation)[:, :2]
    crop = align_crop(five_points(landmarks[IBUG68]))
    tracked = crop.frame_to_crop(landmarks[:468, :2])
    error = np.linalg.norm(points - tracked, axis=1).mean() / np.linalg.norm(tracked[33] - tracked[263])
    mean = screen_points_numpy(model.mean[:468], found.angle, found.translation)[:, :2]
    without = np.linalg.norm(mean - tracked, axis=1).mean() / np.linalg.norm(tracked[33] - tracked[263])
    assert error < 0.05 and error < without


@pytest.mark.parametrize("intensity", [0.0, 1.0])
def test_edits_with_the_network_keep_the_picture_and_look_like_those_with_the_fit(shared, intensity):
    """The tracking residual stays: only what the emotion adds depends on the coefficients."""
    from talkedit.video.reader import read_frames

    picture = next(iter(read_frames(sorted((shared / "data/london").glob("*_neutral.jpg"))[0]))).rgb
    picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    fit, network = (
        Editor("happy", intensity, EditOptions(reconstruction=way)).edit_frame(picture) for way in ("fit", "network")
    )
    if intensity == 0:
        np.testing.assert_array_equal(network, picture)
        return
    changed = np.abs(fit.astype(int) - picture).mean()
    assert changed > 0.5
    assert np.abs(network.astype(int) - fit).mean() < 0.35 * changed


def test_a_clip_by_the_network_has_one_identity(clip, monkeypatch, model):
    """The reader of clips, with a network that answers by itself and a tracker that always finds the same face."""
    from talkedit.reconstruct import clip as clips

    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:468] = screen_points_numpy(model.mean[:468], np.zeros(3), np.zeros(3))
    answer = iter(np.arange(257, dtype=np.float32) + frame for frame in range(9))

    def read(frame: np.ndarray, points: np.ndarray) -> Coefficients:
        row = next(answer)
        return Coefficients(**{name: row[where] for name, where in LAYOUT.items()}, crop=CropTransform(1.0, (0.0, 0.0)))

    track = Track(landmarks, 1.0, 0.0, 0.0, (0.3, 0.3), 1, False)
    monkeypatch.setattr(clips, "make_tracker", lambda *a, **k: lambda frame: track)
    monkeypatch.setattr(clips, "load_reconstructor", lambda face_model: read)
    out = clips.reconstruct_clip(clip(frames=3, size=(224, 224)), reconstruction="network")
    assert out["coefficients"].shape == (3, 257)
    np.testing.assert_allclose(out["coefficients"][:, 0], 1.0)  # the mean of 0, 1 and 2
    np.testing.assert_allclose(out["coefficients"][:, 80], [80, 81, 82])
