"""The Basel Face Model: its files, the front model built from them, and the pipeline at full mesh size."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import basel
import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from talkedit.cli import main
from talkedit.editor import ClipEditor
from talkedit.emotions import EMOTIONS, Timeline
from talkedit.errors import InputError
from talkedit.facemodel import bfm
from talkedit.facemodel.camera import CropTransform, screen_points_numpy
from talkedit.facemodel.convert import convert_bfm
from talkedit.facemodel.lighting import vertex_normals
from talkedit.facemodel.load import load_face_model, load_template
from talkedit.facemodel.model import FaceModel
from talkedit.options import EditOptions
from talkedit.reconstruct.clip import reconstruct_clip
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.report import StageClock
from talkedit.track import topology as topo
from talkedit.types import Frame
from talkedit.video.reader import read_frames


@pytest.fixture(scope="module")
def parts(shared: Path) -> Path:
    return basel.parts_of(shared)


@dataclass(frozen=True)
class Converted:
    """The stand-in, the folder of its files (also a ``TALKEDIT_HOME/bfm``), and the model made of them."""

    made: basel.StandIn
    home: Path
    model: FaceModel


@pytest.fixture(scope="module")
def converted(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    home = tmp_path_factory.mktemp("home")
    (home / "bfm").mkdir()
    made = basel.stand_in(parts, load_template())
    basel.write_files(home / "bfm", parts, made)
    model, written = convert_bfm(home / "bfm", home / "bfm")
    assert [path.name for path in written] == ["bfm_face.safetensors", "BFM_model_front.mat"]
    return Converted(made, home, model)


def test_front_model_has_the_published_keys_shapes_and_units(converted: Converted, parts: Path) -> None:
    front = loadmat(converted.home / "bfm" / bfm.FRONT_MODEL)
    shapes = {name: front[name].shape for name in front if not name.startswith("__")}
    assert shapes == {
        "meanshape": (1, 107127), "meantex": (1, 107127), "idBase": (107127, 80), "exBase": (107127, 64),
        "texBase": (107127, 80), "tri": (70789, 3), "point_buf": (35709, 8), "tri_mask2": (54681, 3),
        "keypoints": (1, 68), "frontmask2_idx": (27660, 1), "skinmask": (1, 35709),
    }  # fmt: skip
    assert front["idBase"].dtype == front["texBase"].dtype == np.float32
    info = loadmat(parts / "facemodel_info.mat")
    for name in ("tri", "point_buf", "keypoints", "skinmask"):  # the indices stay 1-based
        np.testing.assert_array_equal(front[name], info[name])
    made = converted.made
    np.testing.assert_allclose(front["meanshape"].reshape(-1, 3), made.mean, atol=1e-5)
    np.testing.assert_allclose(front["meantex"].reshape(-1, 3), made.colour * 255, atol=1e-3)
    np.testing.assert_allclose(front["exBase"].reshape(-1, 3, 64), made.expression, atol=1e-6)


def test_converted_model_is_the_published_one_on_the_shared_template(converted: Converted) -> None:
    m, made, count = converted.model, converted.made, bfm.VERTICES
    assert m.meta["vertices"] == str(count) and m.meta["template"]
    np.testing.assert_allclose(m.mean[:count], made.mean - made.mean.mean(0), atol=1e-5)
    np.testing.assert_allclose(m.id_basis[:count], made.identity, atol=1e-6)
    np.testing.assert_allclose(m.tex_basis[:count], made.colours, atol=1e-6)
    assert m.triangles[: bfm.TRIANGLES].max() == count - 1 and m.triangles.max() == len(m.mean) - 1
    rng = np.random.default_rng(0)
    alpha, beta = rng.normal(size=80).astype(np.float32), rng.normal(size=64).astype(np.float32)
    expected = made.mean - made.mean.mean(0) + made.identity @ alpha + made.expression @ beta
    np.testing.assert_allclose(m.vertices(alpha, beta)[:count], expected, atol=1e-5)
    assert m.uv.min() >= 0 and m.uv.max() <= 1


def test_landmarks_are_found_on_the_basel_mesh(converted: Converted) -> None:
    m, made = converted.model, converted.made
    truth = made.landmarks - made.mean.mean(0)
    eye = np.linalg.norm(m.mean[m.keypoints[36]] - m.mean[m.keypoints[45]])
    error = 100 * np.linalg.norm(m.at_landmarks(m.mean) - truth, axis=1) / eye
    assert error.mean() < 0.15 and error.max() < 2  # per cent of the outer-eye distance
    inner = np.arange(17, 68)
    away = np.linalg.norm(m.at_landmarks(m.mean)[topo.IBUG68[inner]] - m.mean[m.keypoints[inner]], axis=1)
    assert 100 * away.max() / eye < 0.1
    # A tracked face's landmarks come back from its mesh, on the mean and on any other face.
    marks = m.at_landmarks(m.vertices(np.random.default_rng(1).normal(size=80)))
    back = m.at_landmarks(m.position @ marks)
    assert 100 * np.linalg.norm(back - marks, axis=1).max() / eye < 3
    assert np.abs(m.position @ m.at_landmarks(m.mean) - m.mean)[: bfm.VERTICES].mean() < 0.01


def test_a_ready_front_model_gives_the_same(converted: Converted) -> None:
    front = bfm.read_arrays(converted.home / "bfm" / bfm.FRONT_MODEL)
    arrays, count = bfm.mesh_of(front), bfm.VERTICES
    for name in ("mean", "id_basis", "exp_basis", "tex_mean", "tex_basis"):
        np.testing.assert_array_equal(arrays[name], getattr(converted.model, name)[:count])


def test_check_and_convert_from_the_command_line(converted: Converted, tmp_path, monkeypatch, capsys) -> None:
    source = converted.home / "bfm"
    home = tmp_path / "bfm"
    home.mkdir()
    for path in source.glob("*.mat"):
        if path.name not in (bfm.FRONT_MODEL, "facemodel_info.mat"):
            (home / path.name).symlink_to(path)
    (home / bfm.EXPRESSIONS).write_bytes((source / bfm.EXPRESSIONS).read_bytes()[:-4])
    monkeypatch.setenv("TALKEDIT_HOME", str(tmp_path))
    main(["models", "check"])
    shown = capsys.readouterr().out
    assert f"present  {bfm.SCANNED_MODEL}" in shown and f"wrong    {bfm.EXPRESSIONS}" in shown
    assert "missing  facemodel_info.mat  (optional, licensed: part of the Deep3DFaceRecon_pytorch" in shown
    assert main(["models", "convert", "bfm", str(home)]) == 2
    assert "facemodel_info.mat is missing" in capsys.readouterr().err
    (home / "facemodel_info.mat").symlink_to(source / "facemodel_info.mat")
    (home / bfm.DEVIATIONS).symlink_to(source / bfm.DEVIATIONS)
    assert main(["models", "convert", "bfm", str(home)]) == 2
    assert "does not hold at least 64 expression components" in capsys.readouterr().err
    assert main(["models", "convert", "bfm", str(tmp_path / "none")]) == 2
    assert not list(home.glob("*.safetensors"))


class Trap:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "executed"))


def test_files_are_read_as_plain_numbers_only(tmp_path: Path) -> None:
    path, mark = tmp_path / "similarity_Lm3D_all.mat", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Trap(mark)))
    assert "cannot be read as a MATLAB file" in bfm.check_file(path)
    savemat(path, {"lm": np.array([[b"a", {"x": 1}]], object)})
    assert "holds cell, not numbers" in bfm.check_file(path)
    savemat(path, {"lm": {"x": np.zeros((68, 3))}})
    assert "holds struct, not numbers" in bfm.check_file(path)
    savemat(path, {"other": np.zeros((68, 3))})
    assert "has no array 'lm'" in bfm.check_file(path)
    savemat(path, {"lm": np.zeros((67, 3))})
    assert bfm.check_file(path) == "'lm' in similarity_Lm3D_all.mat is 67 x 3, not 68 x 3"
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n"
    path.write_bytes(head.ljust(1024, b"\0"))
    assert "v7.3" in bfm.check_file(path)
    with pytest.raises(InputError, match=r"v7\.3"):
        bfm.read_arrays(path)
    savemat(path, {"lm": np.zeros((68, 3))})
    assert bfm.check_file(path) == "" and not mark.exists()


def test_damaged_files_are_refused_in_a_sentence(parts: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("similarity_Lm3D_all.mat", "BFM_front_idx.mat"):
        good = np.frombuffer((parts / name).read_bytes(), np.uint8)
        for turn in range(40):
            bad = good.copy()
            bad[rng.integers(0, min(len(bad), 400), 3)] = rng.integers(0, 256, 3)
            (tmp_path / name).write_bytes(bad.tobytes()[: len(bad) if turn % 3 else int(rng.integers(1, len(bad)))])
            try:
                arrays = bfm.read_arrays(tmp_path / name)
            except InputError as error:
                assert name in str(error)
            else:
                assert all(array.dtype.kind in "iuf" for array in arrays.values())
    path = tmp_path / bfm.DEVIATIONS
    for text in ("", "1 2 3", "one two"):
        path.write_text(text)
        assert bfm.DEVIATIONS in bfm.check_file(path)


def test_normals_are_those_of_the_published_vertex_lists(converted: Converted, parts: Path) -> None:
    """Deep3DFaceRecon sums unit normals through ``point_buf``, whose padding is a face without a normal."""
    info = loadmat(parts / "facemodel_info.mat")
    triangles, buffer = info["tri"].astype(int) - 1, info["point_buf"].astype(int) - 1
    mean = converted.made.mean.astype(np.float64)
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    faces = np.cross(a - b, b - c)
    faces /= np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), 1e-12)
    expected = np.concatenate([faces, np.zeros((1, 3))])[buffer].sum(1)
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    found = vertex_normals(torch.from_numpy(mean), torch.from_numpy(triangles), "uniform").numpy()
    listed = np.bincount(triangles.ravel(), minlength=len(mean)) <= buffer.shape[1]
    assert listed.mean() > 0.99
    np.testing.assert_allclose(found[listed], expected[listed], atol=1e-5)


def edited(face_model: str, frames: list[Frame], timeline: Timeline) -> list[np.ndarray]:
    # The GAN knows the open model alone: both models make the same moves with the linear editor.
    clip = ClipEditor(EditOptions(face_model=face_model, geometry="linear"), StageClock())
    for frame in frames:
        clip.observe(frame)
    clip.solve()
    return [clip.edit(frame, timeline) for frame in frames]


def test_pipeline_runs_at_full_mesh_size_and_looks_as_with_the_open_model(
    converted: Converted, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mediapipe")
    monkeypatch.setenv("TALKEDIT_HOME", str(converted.home))
    assert len(load_face_model("bfm").mean) > bfm.VERTICES
    frames = []
    for frame in read_frames(next((shared / "data/talking").glob("vr5*"))):
        frames.append(frame)
        if len(frames) == 3:
            break
    still = edited("bfm", frames, Timeline.constant(EMOTIONS[0], 0.0))
    assert all(np.array_equal(a, f.rgb) for a, f in zip(still, frames, strict=True))
    for emotion in ("happy", "surprised"):
        timeline = Timeline.constant(emotion, 1.0)
        ours, theirs = (np.stack(edited(name, frames, timeline)).astype(float) for name in ("bfm", "open"))
        source = np.stack([f.rgb for f in frames]).astype(float)
        difference, change = ((ours - theirs) ** 2).mean(), ((theirs - source) ** 2).mean()
        assert difference < 0.01 * change and 10 * np.log10(255**2 / difference) > 47


def test_a_picture_is_reconstructed_in_basel_coefficients(
    converted: Converted, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mediapipe")
    monkeypatch.setenv("TALKEDIT_HOME", str(converted.home))
    picture = sorted((shared / "data/london").glob("*_neutral.jpg"))[0]
    found = reconstruct_clip(picture, face_model="bfm")
    vector, landmarks, crop = (found[name][0] for name in ("coefficients", "landmarks", "crop"))
    assert np.isfinite(vector).all() and np.abs(vector[LAYOUT["angle"]]).max() < 0.25  # a frontal studio picture
    m = converted.model
    points = m.at_landmarks(m.vertices(vector[LAYOUT["identity"]], vector[LAYOUT["expression"]]))
    transform = CropTransform(float(crop[0]), (float(crop[1]), float(crop[2])))
    screen = screen_points_numpy(points, vector[LAYOUT["angle"]], vector[LAYOUT["translation"]], crop=transform)
    eye = np.linalg.norm(landmarks[33, :2] - landmarks[263, :2])
    assert np.linalg.norm(screen[:, :2] - landmarks[:468, :2], axis=1).mean() < 0.03 * eye
