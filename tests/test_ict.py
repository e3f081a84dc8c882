"""ICT-FaceKit: the public release's layout, the face model made of it, its teeth, gums and eyes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from talkedit.cli import main
from talkedit.errors import InputError
from talkedit.facemodel import ict
from talkedit.facemodel.align import similarity
from talkedit.facemodel.camera import REFERENCE_5_POINTS
from talkedit.facemodel.convert import convert_ict
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel

IDENTITIES = 6
EXPRESSIONS = ("browDown_L", "eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthSmile_L", "mouthSmile_R")


def write_obj(path: Path, vertices: np.ndarray, triangles: np.ndarray | None = None) -> None:
    """As the release writes them: vertices, texture places, polygons with both indices."""
    lines = [b"# ICT-FaceKit", *(b"v %.6f %.6f %.6f" % tuple(v) for v in vertices), b"vt 0.5 0.5"]
    if triangles is not None:
        lines += [b"f %d/1 %d/1 %d/1" % tuple(t) for t in (triangles + 1)]
    path.write_bytes(b"\n".join(lines) + b"\n")


@dataclass(frozen=True)
class Converted:
    """Arrays of the data file, the folder written from it, and the model made of that."""

    data: dict[str, np.ndarray]
    folder: Path
    home: Path
    model: FaceModel


@pytest.fixture(scope="module")
def converted(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    path = shared / "data/face_models/ict_facekit.npz"
    if not path.is_file():
        pytest.skip("no ict_facekit.npz")
    data = dict(np.load(path))
    folder, home = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("home")
    inner = folder / "FaceXModel"
    inner.mkdir()
    neutral, names = data["neutral"].astype(np.float64), list(data["expression_names"])
    write_obj(inner / ict.NEUTRAL, neutral, data["triangles"])
    for i in range(IDENTITIES):
        write_obj(inner / f"identity{i:03d}.obj", neutral + data["identity"][i])
    for name in EXPRESSIONS:
        write_obj(inner / f"{name}.obj", neutral + data["expression"][names.index(name)])
    (inner / ict.KEYPOINTS).write_text(str(data["vertex_indices_json"]))
    (home / "bfm").mkdir()
    model, _ = convert_ict(folder, home / "bfm")
    return Converted(data, folder, home, model)


def test_release_is_read_as_published(converted: Converted) -> None:
    data = converted.data
    for folder in (converted.folder, converted.folder / "FaceXModel"):
        release = ict.read_release(folder)
        np.testing.assert_allclose(release.neutral, data["neutral"], atol=1e-5)
        np.testing.assert_array_equal(release.triangles, data["triangles"])
        np.testing.assert_allclose(release.identity, data["identity"][:IDENTITIES], atol=2e-5)
        assert release.names == EXPRESSIONS
        where = list(data["expression_names"]).index("jawOpen")
        np.testing.assert_allclose(release.expression[3], data["expression"][where], atol=2e-5)
        expected = json.loads(str(data["vertex_indices_json"]))["idx_to_landmark_verts"]
        assert release.keypoints.tolist() == expected


def test_polygons_become_fans(tmp_path: Path) -> None:
    path = tmp_path / ict.NEUTRAL
    path.write_bytes(b"v 0 0 0\nf 1/1/1 2/2/2 3/3/3 4/4/4\nf 5 6 7\n")
    assert ict._triangles(path).tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6]]
    path.write_bytes(b"f 1 2 0\n")
    with pytest.raises(InputError, match="do not fit"):
        ict._triangles(path)


def test_model_is_the_face_in_model_units(converted: Converted) -> None:
    m = converted.model
    count = int(m.meta["vertices"])
    assert count == ict.FACE + 2 * 43  # two eye holes of 42 vertices, each closed with a ring and a centre
    neutral = converted.data["neutral"][: ict.FACE].astype(np.float64)
    scale, rotation, translation = similarity(neutral, m.mean[: ict.FACE])
    np.testing.assert_allclose(scale * neutral @ rotation + translation, m.mean[: ict.FACE], atol=1e-5)
    assert 0.08 < scale < 0.12  # centimetres to decimetres
    eyes = m.mean[m.keypoints[[36, 39, 42, 45]]].reshape(2, 2, 3).mean(1)
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(
        np.linalg.norm(np.subtract(*np.array(REFERENCE_5_POINTS)[:2])), rel=0.05
    )
    beta = np.zeros(64, np.float32)
    beta[EXPRESSIONS.index("jawOpen")] = 3  # full weight
    moved = m.vertices(expression=beta) - m.mean
    names = list(converted.data["expression_names"])
    offsets = converted.data["expression"][names.index("jawOpen")][: ict.FACE]
    np.testing.assert_allclose(moved[: ict.FACE], scale * offsets @ rotation, atol=1e-4)
    gap = m.at_landmarks(m.vertices(expression=beta))[[13, 14], 1]
    assert gap[0] - gap[1] > 0.1  # the landmarks know that the mouth is open


def test_keypoints_and_landmarks_agree(converted: Converted) -> None:
    figures = json.loads(converted.model.meta["figures"])
    assert figures["used_max"] < 0.1 and figures["left_out_mean"] < 5


def test_teeth_gums_and_eyes_are_rigid(converted: Converted) -> None:
    m = converted.model
    assert {name: part.bone for name, part in m.parts.items()} == {
        "upper_teeth": "skull", "lower_teeth": "jaw", "upper_gums": "skull", "lower_gums": "jaw",
        "left_eye": "skull", "right_eye": "skull",
    }  # fmt: skip
    beta = np.zeros(64, np.float32)
    beta[EXPRESSIONS.index("jawOpen")] = 3
    alpha = np.random.default_rng(0).normal(size=80).astype(np.float32)
    lips = m.at_landmarks(m.mean)
    for name, part in m.parts.items():
        assert part.triangles.min() == 0 and part.triangles.max() == len(part.mean) - 1
        rest, opened = part.vertices(alpha), part.vertices(alpha, beta)
        scale, _, _ = similarity(rest, opened)
        assert scale == pytest.approx(1, abs=1e-4)
        before, after = (np.linalg.norm(np.diff(p[part.triangles], axis=1), axis=2) for p in (rest, opened))
        np.testing.assert_allclose(after, before, atol=1e-4)
        drop = (rest - opened)[:, 1].mean()
        assert drop > 0.05 if part.bone == "jaw" else abs(drop) < 1e-3, name
    front = m.parts["upper_teeth"].mean[:, 2].max()
    assert abs(m.parts["upper_teeth"].mean[:, 0].mean()) < 0.02 and front < lips[[13, 14], 2].mean()
    left, right = (m.parts[f"{side}_eye"].mean.mean(0) for side in ("left", "right"))
    assert left[0] > 0.2 and right[0] < -0.2  # the person's left is at the picture's right


def test_saved_file_holds_everything(converted: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKEDIT_HOME", str(converted.home))
    again = load_face_model("ict")
    assert json.loads(again.meta["expressions"]) == list(EXPRESSIONS)
    np.testing.assert_array_equal(again.parts["lower_teeth"].exp_basis, converted.model.parts["lower_teeth"].exp_basis)
    assert again.parts["lower_gums"].bone == "jaw"


def test_models_of_another_template_are_refused(converted: Converted, tmp_path: Path) -> None:
    from talkedit.facemodel.model import save_model

    m = converted.model
    meta, path = dict(m.meta), tmp_path / "old.safetensors"
    m.meta["template"] = "0123456789abcdef"
    try:
        save_model(path, m)
    finally:
        m.meta.clear()
        m.meta.update(meta)
    with pytest.raises(InputError, match="another version of the open face model"):
        load_face_model(str(path))


def test_incomplete_releases_are_refused(converted: Converted, tmp_path: Path, capsys) -> None:
    assert main(["models", "convert", "ict", str(tmp_path), "-o", str(tmp_path)]) == 2
    assert "is not the ICT-FaceKit release" in capsys.readouterr().err
    inner = converted.folder / "FaceXModel"
    for name in (ict.NEUTRAL, "identity000.obj", "jawOpen.obj"):
        (tmp_path / name).symlink_to(inner / name)
    with pytest.raises(InputError, match="68 landmarks"):
        ict.read_release(tmp_path)
    (tmp_path / ict.KEYPOINTS).write_text('{"idx_to_landmark_verts": [1, 2]}')
    with pytest.raises(InputError, match="68 landmarks"):
        ict.read_release(tmp_path)
    (tmp_path / "short.obj").write_text("v 0 0 0\n")
    with pytest.raises(InputError, match=r"short\.obj has 1 vertices"):
        ict.read_release(tmp_path)
    (tmp_path / "short.obj").write_text("v 0 0 zero\n")
    with pytest.raises(InputError, match=r"short\.obj cannot be read"):
        ict.read_release(tmp_path)


def test_names_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKEDIT_HOME", str(tmp_path))
    with pytest.raises(InputError, match="talkedit models convert ict DIR"):
        load_face_model("ict")
    with pytest.raises(InputError, match="open, bfm, ict"):
        load_face_model("flame")
