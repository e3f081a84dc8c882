"""The second tracker: dense landmarks from 68 points, and the package face-alignment, which a stand-in plays here."""

from __future__ import annotations

import sys
import urllib.error
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from talkedit.cli import main
from talkedit.demo import make_clip
from talkedit.demo.speaker import Speaker, make_script
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.pipeline import edit_video
from talkedit.reconstruct.pose import Pose
from talkedit.track import alignment, make_tracker
from talkedit.track.dense import NOISE, DenseFitter
from talkedit.track.facemesh import FaceMesh
from talkedit.track.measures import eye_distance, eye_opening, mouth_opening, yaw_degrees
from talkedit.track.topology import IBUG68, LANDMARKS, LEFT_EYE
from talkedit.types import Frame
from talkedit.video.reader import read_frames

CLIPS = ("talking/ed_obama_450_20s.mp4", "expressive/lp_d6.mp4", "mead/W011_front_surprised_level3_001.mp4")


@cache
def fitter() -> DenseFitter:
    return DenseFitter(load_face_model("open"))


def in_picture(points: np.ndarray, yaw: float, pitch: float, roll: float, scale: float) -> np.ndarray:
    """(468, 3) model points as a tracker gives them."""
    turn = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_matrix()
    return Pose(turn, scale, np.array([300.0, -200.0, 0])).to_picture(points)


def share(dense: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(468,) distance in the picture, as a share of the outer-eye distance."""
    return np.linalg.norm(dense[:LANDMARKS, :2] - true[:LANDMARKS, :2], axis=1) / eye_distance(true)


# -- 68 points to 478 -----------------------------------------------------------------------------------------------


@given(st.floats(-50, 50), st.floats(-25, 25), st.floats(-80, 80), st.floats(40, 900))  # at 90 no face has a yaw
@settings(max_examples=25, deadline=None)
def test_the_mean_face_is_found_in_any_pose(yaw: float, pitch: float, roll: float, scale: float) -> None:
    true = in_picture(load_face_model("open").mean[:LANDMARKS], yaw, pitch, roll, scale)
    dense = fitter()(true[IBUG68, :2])
    assert dense.shape == (478, 3) and dense.dtype == np.float32
    assert share(dense, true).max() < 1e-3
    assert yaw_degrees(dense) == pytest.approx(yaw_degrees(true), abs=0.1)


@given(st.integers(0, 10_000), st.floats(-30, 30))
@settings(max_examples=25, deadline=None)
def test_faces_of_the_model_are_found(seed: int, yaw: float) -> None:
    rng, model = np.random.default_rng(seed), load_face_model("open")
    shape = model.vertices(rng.normal(0, 0.7, 80), rng.normal(0, 0.7, 64))[:LANDMARKS]
    true = in_picture(shape, yaw, 0, 0, 300)
    dense = fitter()(true[IBUG68])
    assert share(dense, true).mean() < 0.02
    assert share(dense, true)[IBUG68[17:]].max() < 2.5 * NOISE


def test_irises_lie_at_the_eyes_centres() -> None:
    dense = fitter()(in_picture(load_face_model("open").mean[:LANDMARKS], 10, 0, 0, 200)[IBUG68])
    np.testing.assert_allclose(dense[473:], np.tile(dense[LEFT_EYE].mean(0), (5, 1)), atol=1e-3)


def test_points_of_no_face_are_refused() -> None:
    face = in_picture(load_face_model("open").mean[:LANDMARKS], 0, 0, 0, 200)[IBUG68, :2]
    rng = np.random.default_rng(0)
    line = np.tile(np.arange(68.0)[:, None], (1, 2))
    lost = face.copy()
    lost[40] = np.nan
    for points in (np.zeros((68, 2)), line, lost, rng.uniform(0, 300, (68, 2)), face[rng.permutation(68)]):
        assert fitter()(points) is None
    assert fitter()(face) is not None


def check_against_facemesh(meshes: list[np.ndarray]) -> None:
    """68 of FaceMesh's own points must bring back the others: within 1 % of the eye distance on average."""
    dense = [fitter()(mesh[IBUG68, :2]) for mesh in meshes]
    errors = np.stack([share(d, m) for d, m in zip(dense, meshes, strict=True)])
    assert errors.mean() < 0.01 and errors.mean(1).max() < 0.015
    for measure, limit in ((mouth_opening, 0.015), (yaw_degrees, 8), (lambda m: np.mean(eye_opening(m)), 0.05)):
        assert max(abs(measure(d) - measure(m)) for d, m in zip(dense, meshes, strict=True)) < limit


@pytest.mark.parametrize("clip", CLIPS)
def test_dense_landmarks_of_real_clips(shared: Path, clip: str) -> None:
    track = make_tracker()
    found = [track(frame) for frame in islice(read_frames(shared / "data" / clip), 0, 60, 4)]
    meshes = [one.landmarks for one in found if one is not None]
    assert len(meshes) > 8
    check_against_facemesh(meshes)


def test_dense_landmarks_of_the_demo_speaker() -> None:
    pytest.importorskip("mediapipe")
    speaker, script, mesh = Speaker(seed=0, size=256, oversample=1), make_script(0), FaceMesh(still=True)
    check_against_facemesh([mesh(speaker.picture(script, index))[0] for index in (10, 30, 50)])


# -- the package ----------------------------------------------------------------------------------------------------


class _Network:
    """Stands in for face_alignment.FaceAlignment: 68 of FaceMesh's points for every box."""

    made: dict

    def __init__(self, kind: int, **arguments) -> None:
        type(self).made = {"kind": kind, **arguments}
        self._mesh = FaceMesh(still=True)

    def get_landmarks_from_image(self, rgb: np.ndarray, detected_faces: list[list[float]]) -> list[np.ndarray]:
        found = []
        for box in detected_faces:
            middle = np.mean(np.reshape(box, (2, 2)), axis=0)
            near = [m for m in self._mesh(rgb) if np.linalg.norm(m[:, :2].mean(0) - middle) < (box[2] - box[0]) / 2]
            found += [m[IBUG68, :2] for m in near]
        return found


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the package face_alignment."""
    pytest.importorskip("mediapipe")
    module, api = ModuleType("face_alignment"), ModuleType("face_alignment.api")
    module.__version__, module.FaceAlignment = "1.5.0", _Network
    module.LandmarksType = type("LandmarksType", (), {"TWO_D": 1, "TWO_HALF_D": 2, "THREE_D": 3})
    api.models_urls = {"3DFAN-4": "https://example.org/fan/3DFAN4-0123456789.pth.tar"}
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    monkeypatch.setitem(sys.modules, "face_alignment.api", api)
    return module


def test_edit_with_the_second_tracker(package: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    make_clip(source, seconds=0.3, size=256)
    report = edit_video(source, tmp_path / "out.mp4", emotion="happy", tracker="face-alignment")
    assert report.edited_frames == report.frames > 5 and not report.skipped
    assert package.FaceAlignment.made == {"kind": 2, "device": "cpu", "face_detector": "folder", "compile": False}
    before, after = (next(iter(read_frames(path))).rgb.astype(int) for path in (source, tmp_path / "out.mp4"))
    assert np.abs(after - before)[60:200, 60:200].mean() > 2


def test_both_trackers_agree(package: ModuleType) -> None:
    speaker, script = Speaker(seed=0, size=256, oversample=1), make_script(0)
    one, other = make_tracker(), make_tracker("face-alignment")
    for index in range(3):
        frame = Frame(index, speaker.picture(script, 20 + index), index)
        a, b = one(frame), other(frame)
        assert share(b.landmarks, a.landmarks).mean() < 0.02 and b.faces == a.faces and b.cut == a.cut
        assert b.yaw == pytest.approx(a.yaw, abs=5) and b.confidence == pytest.approx(a.confidence, abs=0.05)


def test_a_face_that_fills_the_picture_is_seen(package: ModuleType) -> None:
    picture = Speaker(seed=0, size=512, oversample=1).picture(make_script(0), 20)
    mesh = FaceMesh(still=True)(picture)[0]
    x0, y0, x1, y1 = (int(v) for v in (*mesh[:, :2].min(0), *mesh[:, :2].max(0)))
    near = np.ascontiguousarray(picture[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4])
    found = make_tracker("face-alignment")(Frame(0, near))
    assert found is not None
    assert share(found.landmarks + np.float32([x0 - 4, y0 - 4, 0]), mesh).mean() < 0.03


def test_pictures_without_a_face_do_not_reach_the_network(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Network, "get_landmarks_from_image", lambda *_, **__: pytest.fail("nothing to look at"))
    assert make_tracker("face-alignment")(Frame(0, np.full((240, 320, 3), 90, np.uint8))) is None


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    make_clip(tmp_path / "in.mp4", seconds=0.1, size=64)
    files = [str(tmp_path / "in.mp4"), "-o", str(tmp_path / "out.mp4")]
    assert main(["edit", *files, "--emotion", "sad", "--tracker", "face-alignment"]) == 2
    assert capsys.readouterr().err == (
        "talkedit: --tracker face-alignment needs the package face-alignment, which is not installed; "
        "run: pip install scikit-image tqdm && pip install --no-deps 'face-alignment>=1.5'\n"
    )
    assert not (tmp_path / "out.mp4").exists()


def test_versions_that_load_programs_are_refused(package: ModuleType) -> None:
    package.__version__ = "1.4.1"
    with pytest.raises(InputError, match="or later, not"):
        make_tracker("face-alignment")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (urllib.error.URLError("no route"), r"could not be downloaded \(no route\); get https://example.org"),
        (PermissionError(13, "Permission denied"), "could not be downloaded"),
        (RuntimeError("missing keys"), "does not hold the weights"),
        (EOFError(), "does not hold the weights"),
    ],
)
def test_trouble_with_the_weights(package: ModuleType, monkeypatch, tmp_path: Path, trouble, words: str) -> None:
    def fail(*_, **__):
        raise trouble

    monkeypatch.setattr(package, "FaceAlignment", fail)
    monkeypatch.setattr(alignment.torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=words) as caught:
        make_tracker("face-alignment")
    assert "3DFAN4-0123456789.pth.tar" in str(caught.value) and str(tmp_path / "checkpoints") in str(caught.value)
