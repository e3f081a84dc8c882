"""The network that sees what stands before a face, what it is trained on, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from talkedit import demo, resources
from talkedit.demo.occluders import Occluder
from talkedit.editor import ClipEditor
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.track.cover_network import CoverNetwork, cover, load_cover, normalised, save_cover
from talkedit.track.measures import bounding_box
from talkedit.track.texels import Texels
from talkedit.train.crops import Crops
from talkedit.train.occluders import Config, Maker, Run
from talkedit.train.things import Scene, seen_through
from talkedit.types import Frame
from talkedit.video.reader import read_frames

SIDE = 112


def scene(seed: int) -> Scene:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    face = np.float32([[20, 15], [92, 100]])
    return Scene(120 + 40 * np.sin(x / 9) * np.cos(y / 11), face, 255 - x - y / 2, np.random.default_rng(seed))


def crops(count: int = 6) -> Crops:
    """Mean faces before noise."""
    model, rng = load_face_model("open"), np.random.default_rng(0)
    points = model.at_landmarks(model.mean)[:, :2] * np.float32([1, -1])
    points = (points - points.min(0)) * 150 / np.ptp(points[:, 1]) + np.float32([50, 40])
    images = rng.integers(60, 200, (count, SIDE, SIDE, 3), dtype=np.uint8)
    images = np.stack([cv2.GaussianBlur(i, (0, 0), 3) for i in images])
    names = np.array(["a", "b"] * (count // 2))
    sources = np.array(["faces_open"] * (count - 2) + ["london"] * 2)
    landmarks = np.repeat(points[None].astype(np.float32), count, 0)
    return Crops(images, np.zeros((count, 257), np.float32), landmarks, names, sources, np.ones(count, bool))


def test_things_hide_what_they_say_and_are_drawn_alike_again() -> None:
    shares = []
    for seed in range(40):
        picture, hides = scene(seed).draw()
        again, _ = scene(seed).draw()
        np.testing.assert_array_equal(picture, again)
        assert picture.shape == hides.shape == (SIDE, SIDE)
        assert hides.min() >= 0 and hides.max() <= 1 + 1e-5 and np.isfinite(picture).all()
        assert picture.min() > -1 and picture.max() < 256
        shares.append(float((hides > 0.5).mean()))
        bare = scene(seed)._grey
        # Beside a thing there is the face, at most darker by its shadow.
        assert (picture - bare)[hides < 1e-6].max(initial=0) < 1e-3
    assert 0.02 < np.median(shares) < 0.4 and np.std(shares) > 0.03


def test_shadows_hide_nothing_of_the_face() -> None:
    for seed in range(10):
        ratio = scene(seed).shade() / scene(seed)._grey
        assert ratio.min() > np.exp(-1.61) and ratio.max() < np.exp(0.41)


def test_a_camera_keeps_the_picture() -> None:
    grey = scene(0)._grey
    for seed in range(10):
        seen = seen_through(grey, np.random.default_rng(seed))
        assert seen.min() >= 0 and seen.max() <= 255
        assert np.corrcoef(seen.ravel(), grey.ravel())[0, 1] > 0.85


def test_exposure_does_not_matter() -> None:
    luminance = np.random.default_rng(0).uniform(20, 120, (3, 500)).astype(np.float32)
    np.testing.assert_allclose(np.median(normalised(luminance), axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(normalised(luminance + 40), normalised(luminance), atol=1e-5)


def test_examples_say_what_is_hidden_and_what_is_not_known() -> None:
    data = crops()
    data.images[0, :, :40] = 0  # beyond the picture
    texels, config = Texels(load_face_model("open")), Config(bare=0.0, second=0.0, shaded=0.0)
    maker = Maker(data, texels, config)
    hidden = []
    for seed in range(12):
        luminance, hides, known = maker.example(0, np.random.default_rng(seed)).T
        assert luminance.min() >= 0 and luminance.max() <= 255 and hides.min() >= 0 and hides.max() <= 1
        assert (known[hides > 0.9] > 0.5).all()
        assert 0.05 < (known < 0.5).mean() < 0.6 or (hides > 0.5).mean() > 0.3
        hidden.append(hides.mean())
    assert max(hidden) > 0.1
    bare = Maker(data, texels, replace(config, bare=1.0)).example(1, np.random.default_rng(0))
    assert bare[:, 1].max() == 0 and bare[:, 2].min() == 1


def test_frames_seen_at_once_are_seen_as_one_by_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inside = CoverNetwork().eval(), Texels(load_face_model("open")).inside
    luminance = np.random.default_rng(0).uniform(0, 255, (19, int(inside.sum()))).astype(np.float32)
    together = cover(network, luminance, inside)
    assert together.shape == luminance.shape and together.min() >= 0 and together.max() <= 1
    np.testing.assert_allclose(together[[0, 18]], cover(network, luminance[[0, 18]], inside), atol=1e-5)
    save_cover(tmp_path / "n.safetensors", network, {"a": "b"})
    again = cover(load_cover(tmp_path / "n.safetensors"), luminance, inside)
    np.testing.assert_allclose(again, together, atol=5e-3)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="not an occluder network"):
        load_cover(tmp_path / "n.safetensors")
    with pytest.raises(InputError, match="not an occluder network"):
        load_cover(resources.find("checkpoints", "teeth.safetensors"))


def test_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    config = Config(steps=16, batch=6, save_every=8, bare=0.0)
    whole = list(Run(config, crops(), tmp_path / "whole").train())
    assert whole[-1]["loss"] < whole[0]["loss"]
    first = Run(config, crops(), tmp_path / "parts")
    next(first.train())
    second = Run(config, crops(), tmp_path / "parts")
    assert second.step == 8
    list(second.train())
    run = Run(config, crops(), tmp_path / "whole")
    for name, value in run.average.state_dict().items():
        torch.testing.assert_close(second.average.state_dict()[name], value)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    path = tmp_path_factory.mktemp("speaker") / "speaker.mp4"
    demo.make_clip(path, seconds=0.8, size=320)
    return list(read_frames(path))


def hidden(frames: list[Frame]) -> list[np.ndarray | None]:
    clip = ClipEditor(EditOptions(), StageClock())
    clip.learn(frames)
    return [clip._occluders.at(f.index) for f in frames]


def test_a_bare_speaker_is_not_held_back(speaker: list[Frame]) -> None:
    assert all(mask is None for mask in hidden(speaker))


@pytest.mark.parametrize(("kind", "stills"), [("microphone", False), ("paper", True)])
def test_the_shipped_network_sees_what_stands_before_a_speaker(speaker: list[Frame], kind: str, stills: bool) -> None:
    """A microphone that stands all the while, and a sheet of paper in a single picture."""
    clip = ClipEditor(EditOptions(), StageClock())
    face = bounding_box(clip._tracker(speaker[0]).landmarks)
    thing = Occluder(kind, face, -20, 40, seed=3)
    frames = [replace(f, rgb=thing.draw(f.rgb, f.index)[0]) for f in speaker]
    found = hidden(frames[:1] if stills else frames)
    assert all(mask is not None and mask.sum() > 60 for mask in found)
    # Both hide more of the lower half of the face than of the upper.
    assert all(mask[:32].sum() < 0.5 * mask.sum() for mask in found)
