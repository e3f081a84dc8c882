"""Data preparation: layouts, splits, filters, resuming, processes."""

import csv
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import make_clip

from talkedit.data import extract
from talkedit.data.collection import list_samples
from talkedit.data.extract import Extractor, UnfitError
from talkedit.data.folders import find_ffhq, find_folder
from talkedit.data.item import Item, LeftOut, Settings, make_units
from talkedit.data.manifest import read_arrays, read_manifest
from talkedit.data.mead import VIEWS, find_mead
from talkedit.data.mouth_crop import MOUTH68, crop_mouth, mouth_transform
from talkedit.data.open_recipe import find_open, held_out_people
from talkedit.data.people import MEAD_PEOPLE, read_people
from talkedit.data.prepare import main, prepare, summary
from talkedit.data.quality import Portrait, portrait_fault, take_fault
from talkedit.data.records import PreparedFolder
from talkedit.data.source import read_item_picture, source_hash
from talkedit.data.worker import prepare_unit
from talkedit.demo import make_clip as make_speaker
from talkedit.demo.film import write_film
from talkedit.errors import InputError, NoFaceError
from talkedit.facemodel.load import load_template
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.topology import LANDMARKS
from talkedit.video.reader import read_frames

SMALL = ("--min-frames", "6", "--min-face-width", "40", "--texture-size", "64", "--mouth-size", "32", "--every", "2",
         "--texture-every", "2", "--quiet")  # fmt: skip
SETTINGS = Settings("mead", 2, 2, 64, 32, min_frames=6, min_face_width=40)


@pytest.fixture(scope="session")
def speaker(tmp_path_factory) -> list[np.ndarray]:
    """(192, 192, 3) frames of the demo's speaker."""
    path = tmp_path_factory.mktemp("speaker") / "speaker.mp4"
    make_speaker(path, seed=3, seconds=0.32, size=192)
    return [f.rgb for f in read_frames(path)]


def film(path: Path, pictures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_film(path, pictures, 25, np.zeros(4800, np.float32))


@pytest.fixture(scope="session")
def mead(tmp_path_factory, speaker) -> Path:
    """Six takes in MEAD's folders, and three that are no good."""
    root = tmp_path_factory.mktemp("mead")
    mirrored = [np.ascontiguousarray(p[:, ::-1]) for p in speaker]
    darker = [(p * 0.8).astype(np.uint8) for p in speaker]
    film(root / "M003/video/front/neutral/level_1/001.mp4", speaker)
    film(root / "M003/video/front/happy/level_3/001.mp4", mirrored)
    film(root / "M003/video/left_30/happy/level_3/001.mp4", darker)
    film(root / "W009/video/front/neutral/level_1/001.mp4", darker)
    film(root / "W009/video/front/sad/level_2/002.mp4", mirrored)
    film(root / "M035/video/front/neutral/level_1/001.mp4", speaker)
    film(root / "M003/video/front/angry/level_1/003.mp4", speaker[:3])
    make_clip(root / "M003/video/front/neutral/level_1/002.mp4", audio=())
    whole = (root / "M003/video/front/neutral/level_1/001.mp4").read_bytes()
    (root / "W009/video/front/neutral/level_1/003.mp4").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.fixture(scope="session")
def prepared(mead, tmp_path_factory) -> Path:
    """The takes, prepared by one process without interruption."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    assert main(["mead", str(mead), "-o", str(out), "--processes", "1", *SMALL]) == 0
    return out


def contents(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def table(path: Path) -> list[dict]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


# ---- what a folder holds


def test_people_of_mead():
    people = read_people(MEAD_PEOPLE)
    assert sum(p == "seen" for p in people.values()) == 39 and sum(p == "unseen" for p in people.values()) == 8
    # Named in the paper.
    assert all(people[p] == "unseen" for p in ("M035", "M037", "M039", "W037", "W040"))
    assert all(people[p] == "seen" for p in ("M003", "M009", "M022", "W016", "W018", "W036"))


def test_mead_layout_and_split(tmp_path):
    root = touch(
        tmp_path,
        "M003/video/front/happy/level_3/001.mp4",
        "W021/video/2/left_60/sad/level_1/030.mp4",  # as some of the archives unpack
        "M035/video/front/neutral/level_1/002.mp4",
        "M035/video/top/fear/level_2/002.mp4",
        "M099/video/front/happy/level_3/001.mp4",
        "M003/video/front/happy/level_3/001.png",
        "M003/video/front/glee/level_3/001.mp4",
        "readme.mp4",
    )
    found = find_mead(root, read_people(MEAD_PEOPLE))
    assert [(i.person, i.view, i.emotion, i.level, i.split) for i in found.items] == [
        ("M003", "front", "happy", 3, "train"),
        ("M035", "front", "neutral", 1, "test_people"),
        ("M035", "top", "fear", 2, "test_people"),
        ("W021", "left_60", "sad", 1, "test_views"),
    ]
    assert [x.reason for x in found.left_out] == ["not in the layout of MEAD"] * 2 + ["person not in the list"] + [
        "not in the layout of MEAD"
    ]
    front = find_mead(root, read_people(MEAD_PEOPLE), ("front",))
    assert [i.view for i in front.items] == ["front", "front"]
    assert len(VIEWS) == 7


def test_mead_refuses(tmp_path):
    with pytest.raises(InputError, match="lies as in MEAD"):
        find_mead(touch(tmp_path, "a/b.mp4"), {})
    with pytest.raises(InputError, match="no view 'back'"):
        find_mead(tmp_path, {}, ("back",))
    with pytest.raises(InputError, match="not a folder"):
        find_mead(tmp_path / "none", {})
    (tmp_path / "people.csv").write_text("person,part\nM003,sen\n")
    with pytest.raises(InputError, match=r"line 2 .*either seen or unseen"):
        read_people(tmp_path / "people.csv")
    (tmp_path / "people.csv").write_text("who,part\nM003,seen\n")
    with pytest.raises(InputError, match="no column 'person'"):
        read_people(tmp_path / "people.csv")


def test_labels_from_folders(tmp_path):
    root = touch(tmp_path, "anna/Happiness/a.mp4", "anna/neutral/x/b.jpg", "sad/c.png", "loose.jpg", "sad/notes.txt")
    found = find_folder(root)
    assert [(i.key, i.person, i.emotion, i.clip) for i in found.items] == [
        ("anna/Happiness/a.mp4", "anna", "happy", True),
        ("anna/neutral/x/b.jpg", "anna", "neutral", False),
        ("sad/c.png", "sad/c.png", "sad", False),
    ]
    assert found.left_out == [LeftOut("loose.jpg", "filtered", "no label")]
    seen = find_folder(root, people={"anna": "unseen"})
    assert {i.split for i in seen.items} == {"test_people"} and len(seen.left_out) == 2
    with pytest.raises(InputError, match="named for an emotion"):
        find_folder(touch(tmp_path / "other", "x/a.jpg"))


def test_labels_from_a_table(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("path,person,emotion,level,split\nb.jpg,anna,joy,3,\na/c.mp4,,,,test_people\nd.txt,e,sad,,\n")
    found = find_folder(tmp_path, labels)
    assert found.items == [
        Item("a/c.mp4", True, "a/c.mp4", "", 0, split="test_people"),
        Item("b.jpg", False, "anna", "happy", 3),
    ]
    assert [x.key for x in found.left_out] == ["d.txt"]
    for line, words in (
        ("../a.jpg,x,sad", "a path below"),
        ("a.jpg,x,sadd", "did you mean sad"),
        ("a.jpg,x,sad,4", "the level '4'"),
        ("a.jpg,x,sad,1,valid", "the split 'valid'"),
        ("a.jpg,x,sad\na.jpg,x,sad", "stands twice"),
    ):
        labels.write_text(f"path,person,emotion,level,split\n{line}\n")
        with pytest.raises(InputError, match=words):
            find_folder(tmp_path, labels)


def test_ffhq_layout(tmp_path):
    root = touch(tmp_path, "images1024x1024/00000/00007.png", "00001.png", "LICENSE.png")
    found = find_ffhq(root)
    assert [(i.person, i.emotion) for i in found.items] == [("ffhq_00001", ""), ("ffhq_00007", "")]
    with pytest.raises(InputError, match="name as in FFHQ"):
        find_ffhq(touch(tmp_path / "other", "a.png"))


def test_a_name_that_is_no_text_is_listed(tmp_path):
    (tmp_path / "sad").mkdir()
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "sad") + b"/\xff.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("the file system takes text only")
    found = find_folder(tmp_path)
    assert found.items == [] and found.left_out[0].reason == "name is not UTF-8"


# ---- filters


def test_takes_are_filtered_by_documented_limits():
    s = Settings("mead")
    assert take_fault(100, [80.0] * 100, 0, s) is None
    assert take_fault(24, [80.0] * 24, 0, s)[0] == "too short"
    assert take_fault(100, [80.0] * 80, 20, s) is None
    assert take_fault(100, [80.0] * 79, 0, s) == ("no face", "in 21 % of the frames")
    assert take_fault(100, [80.0] * 100, 21, s)[0] == "several faces"
    assert take_fault(100, [63.0] * 100, 0, s) == ("too small", "63 pixels wide")
    assert take_fault(100, [], 0, s)[0] == "no face"


def test_portraits_are_dropped_by_documented_limits():
    good = Portrait(29, -24, 1.0, 0.004, 0.05, 0.4, 0.05)
    assert portrait_fault(good) is None
    for change, reason in (
        ({"yaw": -31.0}, "large pose"),
        ({"pitch": 26.0}, "large pose"),
        ({"skin_residual": 0.09}, "occlusion"),
        ({"shape_residual": 0.009}, "occlusion"),
        ({"confidence": 0.5}, "occlusion"),
        ({"asymmetry": 0.6}, "harsh light"),
        ({"clipped": 0.2}, "harsh light"),
        ({"asymmetry": float("nan")}, "harsh light"),
    ):
        assert portrait_fault(replace(good, **change))[0] == reason


def test_occlusion_and_harsh_light_are_seen(speaker):
    extractor = Extractor(replace(SETTINGS, recipe="ffhq"))
    face = speaker[0]
    box = extractor.picture(face).arrays["landmarks"][0][:LANDMARKS, :2]
    low, high = box.min(0).astype(int), box.max(0).astype(int)
    middle = (low + high) // 2

    covered = face.copy()  # a blue sheet, as bright as the skin, over the left cheek and half of the mouth
    sheet = covered[middle[1] + 4 : high[1], low[0] : middle[0]]
    sheet[:] = np.float32([0.5, 0.8, 2.4]) * (sheet @ LUMINANCE).mean()
    with pytest.raises(UnfitError) as unfit:
        extractor.picture(covered)
    assert unfit.value.reason == "occlusion" and "skin residual" in unfit.value.detail

    lit = face * np.interp(np.arange(192), [low[0], high[0]], [1, 0.35])[None, :, None]
    with pytest.raises(UnfitError) as unfit:
        extractor.picture(lit.astype(np.uint8))
    assert unfit.value.reason == "harsh light" and "asymmetry" in unfit.value.detail

    blown = np.clip(face.astype(np.float32) * 4, 0, 255).astype(np.uint8)
    with pytest.raises(UnfitError) as unfit:
        extractor.picture(blown)
    assert unfit.value.reason == "harsh light" and "clipped" in unfit.value.detail


def test_pictures_with_several_faces_or_none(speaker):
    two = np.concatenate([speaker[0], speaker[0][:, ::-1]], axis=1)
    with pytest.raises(UnfitError) as unfit:
        Extractor(SETTINGS).picture(two)
    assert unfit.value.reason == "several faces"
    with pytest.raises(UnfitError) as unfit:
        Extractor(SETTINGS).picture(np.full_like(two, 90))
    assert unfit.value.reason == "no face"


# ---- what comes out


def test_manifest_of_the_takes(prepared):
    rows = read_manifest(prepared)
    assert [(r.person, r.view, r.emotion, r.level, r.split) for r in rows] == [
        ("M003", "front", "happy", 3, "train"),
        ("M003", "front", "neutral", 1, "train"),
        ("M003", "left_30", "happy", 3, "test_views"),
        ("M035", "front", "neutral", 1, "test_people"),
        ("W009", "front", "neutral", 1, "train"),
        ("W009", "front", "sad", 2, "train"),
    ]
    assert [r.person for r in read_manifest(prepared, split="train", emotions=["neutral"])] == ["M003", "W009"]
    assert len(read_manifest(prepared, people=["M035"])) == 1


def test_bad_takes_are_listed_not_fatal(prepared):
    rest = {x["key"]: (x["state"], x["reason"]) for x in table(prepared / "left_out.csv")}
    assert rest == {
        "M003/video/front/angry/level_1/003.mp4": ("filtered", "too short"),
        "M003/video/front/neutral/level_1/002.mp4": ("filtered", "no face"),
        "W009/video/front/neutral/level_1/003.mp4": ("broken", "unreadable"),
    }


def test_arrays_of_a_take(prepared, mead):
    row = read_manifest(prepared)[1]
    source = mead / row.key
    assert row.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    frames = [f.rgb for f in read_frames(source)]
    a = read_arrays(prepared, row)
    assert a.frame.tolist() == [0, 2, 4, 6] and np.allclose(a.time, a.frame / 25) and not a.shot.any()
    assert a.coefficients.shape == (4, 257) and np.ptp(a.coefficients[:, LAYOUT["identity"]], axis=0).max() == 0
    assert np.ptp(a.coefficients[:, LAYOUT["expression"]], axis=0).max() > 0
    assert a.landmarks.shape == (4, 478, 3) and a.crop.shape == (4, 3)
    assert a.texture.shape == (2, 64, 64, 3) and a.visible.shape == (2, 64, 64) and a.texture_row.tolist() == [0, 2]
    assert 0.3 < a.visible.mean() < 0.9
    assert abs(row.face_width - np.ptp(a.landmarks[0, :, 0])) < 6 and abs(row.yaw) < 15
    # The nose tip's texel shows the nose tip's pixel.
    model = load_template()
    u, v = (model.uv[model.landmark_vertices[4]] * 64 - 0.5).round().astype(int)
    x, y = a.landmarks[2, 4, :2].round().astype(int)
    assert a.visible[1, v, u]
    near = frames[4][y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).astype(float)
    assert np.abs(a.texture[1, v, u] - near).max(1).min() < 12
    # The lips' corners always lie about the same place of the mouth crop.
    assert a.mouth.shape == (4, 32, 32, 3)
    corners = [t[:, :2] @ k[[61, 291], :2].T + t[:, 2:] for t, k in zip(a.mouth_transform, a.landmarks, strict=True)]
    assert np.abs(np.array(corners) - [[7.5, 23.5], [15.5, 15.5]]).max() < 3


def test_mouth_crop_is_a_similarity_and_samples_the_frame(speaker):
    landmarks = np.zeros((478, 3), np.float32)
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = mouth_transform(_mean_landmarks(), 64)
    landmarks[:LANDMARKS, :2] = _mean_landmarks()[:, :2] @ turn.T
    turned = mouth_transform(landmarks, 64)
    assert np.allclose(turned[:, :2], upright[:, :2] @ turn.T, atol=1e-3)
    assert np.allclose(turned[:, :2] @ landmarks[MOUTH68, :2].T, upright[:, :2] @ _mean_landmarks()[MOUTH68, :2].T,
                       atol=0.02)  # fmt: skip
    opened = _mean_landmarks()
    opened[MOUTH68[[17, 18, 19]], 1] += 25  # an open mouth shows teeth of the same size
    assert np.allclose(mouth_transform(opened, 64)[:, :2], upright[:, :2], atol=0.02)
    ramp = np.tile(np.arange(192, dtype=np.uint8)[None, :, None], (192, 1, 3))
    crop = crop_mouth(ramp, np.float32([[0.5, 0, -20], [0, 0.5, -20]]), 32)
    assert np.abs(crop[16, :, 0] - (np.arange(32) + 20) / 0.5).max() <= 1


def _mean_landmarks() -> np.ndarray:
    model = load_template()
    return (model.at_landmarks(model.mean) * [60, -60, -60] + [96, 96, 0]).astype(np.float32)


def test_a_batch_of_pictures(speaker, tmp_path):
    root, out = tmp_path / "faces", tmp_path / "out"
    for name, picture in (("a", speaker[0]), ("b", np.full((64, 64, 3), 90, np.uint8)), ("c", speaker[4])):
        (root / "anna/happy").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"anna/happy/{name}.png"), picture[:, :, ::-1])
    (root / "anna/happy/d.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert main(["folder", str(root), "-o", str(out), "--processes", "1", *SMALL]) == 0
    rows = read_manifest(out)
    assert [(r.key[-5:], r.first, r.first_texture, r.emotion) for r in rows] == [
        ("a.png", 0, 0, "happy"), ("c.png", 1, 1, "happy")]  # fmt: skip
    assert [x["reason"] for x in table(out / "left_out.csv")] == ["no face", "unreadable"]
    first, second = (read_arrays(out, r) for r in rows)
    assert first.texture_row.tolist() == second.texture_row.tolist() == [0]
    alone = Extractor(replace(SETTINGS, recipe="folder")).picture(speaker[4]).arrays
    assert np.array_equal(second.landmarks, alone["landmarks"]) and np.array_equal(second.texture, alone["texture"])
    assert not np.array_equal(first.landmarks, second.landmarks)


def test_reader_refuses_damage(prepared, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_text((prepared / "manifest.csv").read_text().replace(",0,4,", ",0,x,"))
    with pytest.raises(InputError, match="damaged"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="missing or damaged"):
        read_arrays(tmp_path, read_manifest(prepared)[0])


def test_identity_is_fitted_once_a_shot(prepared, mead, monkeypatch):
    made = extract.make_tracker

    def cutting(name):
        tracker = made(name)

        def track(frame):
            found = tracker(frame)
            return replace(found, cut=frame.index == 4)

        return track

    monkeypatch.setattr(extract, "make_tracker", cutting)
    row = read_manifest(prepared)[1]
    a = Extractor(SETTINGS).clip(mead / row.key).arrays
    identity = a["coefficients"][:, LAYOUT["identity"]]
    assert a["shot"].tolist() == [0, 0, 1, 1]
    assert np.array_equal(identity[0], identity[1]) and np.array_equal(identity[2], identity[3])
    assert not np.array_equal(identity[1], identity[2])


def test_long_clips_are_thinned(prepared, mead, monkeypatch):
    monkeypatch.setattr(extract, "MOST_KEPT", 2)
    a = Extractor(SETTINGS).clip(mead / read_manifest(prepared)[1].key).arrays
    assert a["frame"].tolist() == [0, 4] and a["texture_row"].tolist() == [0]


def test_members_of_a_zip(tmp_path, speaker):
    _, png = cv2.imencode(".png", speaker[0][:, :, ::-1])
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("inside/a.png", png.tobytes())
        archive.writestr("inside/b.png", b"no picture")
    item = Item("faces/a.png", False, "anna", archive="faces.zip")
    assert np.array_equal(read_item_picture(tmp_path, item), speaker[0])
    assert source_hash(tmp_path, item) == hashlib.sha256(png.tobytes()).hexdigest()
    with pytest.raises(InputError, match="cannot be decoded"):
        read_item_picture(tmp_path, replace(item, key="faces/b.png"))
    with pytest.raises(InputError, match=r"holds no 'c\.png'"):
        read_item_picture(tmp_path, replace(item, key="faces/c.png"))
    with pytest.raises(InputError, match="cannot be read"):
        read_item_picture(tmp_path, replace(item, archive="other.zip"))


# ---- stopping and going on


def start(environment, mead: Path, out: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "talkedit",
        "prepare",
        "mead",
        str(mead),
        "-o",
        str(out),
        "--processes",
        "1",
        *SMALL,
    ]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_records(process: subprocess.Popen, out: Path, count: int) -> None:
    end = time.monotonic() + 120
    while len(list(out.glob("records/**/*.json"))) < count:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def test_killed_and_interrupted_runs_end_like_an_uninterrupted_one(environment, mead, prepared, tmp_path):
    out = tmp_path / "out"
    process = start(environment, mead, out)
    wait_for_records(process, out, 1)
    process.kill()
    process.wait()
    assert not (out / "manifest.csv").exists()
    (out / "items").mkdir(exist_ok=True)
    (out / "items/.half.0123.part.safetensors").write_bytes(b"what a kill may leave")

    before = {p: p.stat().st_mtime_ns for p in out.glob("records/**/*.json")}
    process = start(environment, mead, out)
    wait_for_records(process, out, len(before) + 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130 and "again to go on" in process.stderr.read()
    assert not (out / "manifest.csv").exists()

    # Another number of processes gives the same bytes too.
    assert main(["mead", str(mead), "-o", str(out), "--processes", "2", *SMALL]) == 0
    assert contents(out) == contents(prepared)
    assert all(p.stat().st_mtime_ns == when for p, when in before.items())


def test_a_process_that_dies_takes_no_other_item_along(mead, prepared, tmp_path):
    out, stop = tmp_path / "out", threading.Event()

    def kill_one() -> None:
        while not stop.is_set():
            children = multiprocessing.active_children()
            if children and list(out.glob("records/**/*.json")):
                children[0].kill()
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    arguments = ["mead", str(mead), "-o", str(out), "--processes", "1", *SMALL]
    assert main(arguments) == 0
    stop.set()
    killer.join()
    lost = [x["key"] for x in table(out / "left_out.csv") if x["reason"] == "crash"]
    kept = {r.key for r in read_manifest(out)}
    assert len(lost) <= 1 and kept | set(lost) >= {r.key for r in read_manifest(prepared)}
    # The next run gives it another chance.
    assert main(arguments) == 0
    assert contents(out) == contents(prepared)


def test_an_item_that_crashed_is_listed_and_not_touched(tmp_path):
    class Refuses:
        def clip(self, path):
            raise AssertionError("touched")

    folder = PreparedFolder(tmp_path / "out", SETTINGS)
    unit = make_units([Item("a.mp4", True, "anna")], tmp_path)[0].without("a.mp4")
    prepare_unit(unit, tmp_path, folder, Refuses())
    assert [x.reason for x in folder.result(unit).left_out] == ["crash"]
    assert folder.result(unit, retry=True) is None


def test_strange_errors_are_listed(tmp_path):
    class Fails:
        def clip(self, path):
            raise ZeroDivisionError("by zero")

    (tmp_path / "a.mp4").write_bytes(b"x")
    folder = PreparedFolder(tmp_path / "out", SETTINGS)
    unit = make_units([Item("a.mp4", True, "anna")], tmp_path)[0]
    prepare_unit(unit, tmp_path, folder, Fails())
    assert folder.result(unit).left_out == [
        LeftOut("a.mp4", "broken", "unexpected error", "ZeroDivisionError: by zero")
    ]


def test_changed_sources_and_labels_are_done_again(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    folder = PreparedFolder(tmp_path / "out", SETTINGS)
    item = Item("a.mp4", True, "anna", "happy")
    unit = make_units([item], tmp_path)[0]
    assert folder.result(unit) is None
    prepare_unit(unit, tmp_path, folder, Extractor(SETTINGS))
    assert folder.result(unit).left_out[0].reason == "unreadable"
    assert folder.result(make_units([replace(item, emotion="sad")], tmp_path)[0]) is None
    (tmp_path / "a.mp4").write_bytes(b"xy")
    assert folder.result(make_units([item], tmp_path)[0]) is None


def test_other_settings_and_other_folders_are_refused(prepared, mead, tmp_path):
    with pytest.raises(InputError, match="begun with texture size 64, not 128"):
        main(["mead", str(mead), "-o", str(prepared), *SMALL, "--texture-size", "128"])
    with pytest.raises(InputError, match="holds other files"):
        PreparedFolder(touch(tmp_path, "a.txt"), SETTINGS)
    with pytest.raises(InputError, match="own folder"):
        prepare(find_folder(touch(tmp_path / "d", "sad/a.jpg")), tmp_path / "d", tmp_path / "d/out", SETTINGS)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--processes", "0"), "processes must be at least 1"),
        (("--texture-size", "8"), "from 16 to 2048"),
        (("--min-face-share", "2"), "at most 1"),
        (("--tracker", "none"), "unknown tracker"),
        (("--every", "x"), "invalid int"),
    ],
)
def test_bad_options(option, words, tmp_path):
    with pytest.raises(InputError, match=words):
        main(["folder", str(tmp_path), "-o", str(tmp_path / "out"), *option])


def test_nothing_kept_is_an_error(tmp_path):
    (tmp_path / "in/sad").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in/sad/a.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(NoFaceError, match="nothing could be kept"):
        main(["folder", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--processes", "1", "--quiet"])


# ---- real data


def test_people_held_out_of_the_open_data(shared):
    samples = list_samples(shared / "data")
    held_out = held_out_people(samples)
    assert "W011" in held_out and sum(p.startswith("london_") for p in held_out) == 15
    faces = [s for s in samples if s.source == "faces_open"]
    assert 0.07 < sum(s.person in held_out for s in faces) / len(faces) < 0.13
    found = find_open(shared / "data")
    by_person = {}
    for item in found.items:
        assert by_person.setdefault(item.person, item.split) == item.split
    assert not any(key.startswith(("talking/", "robustness/")) for key in (i.key for i in found.items))


def test_real_files(shared, tmp_path):
    wanted = ("mead/M030_front_happy_level3_001.mp4", "london/003_smiling.jpg", "faces_open/00000.jpg")
    found = find_open(shared / "data")
    found = replace(found, items=[i for i in found.items if i.key in wanted])
    shown = []
    settings = Settings("open", every=12, texture_size=64)
    reasons = prepare(found, shared / "data", tmp_path / "out", settings, progress=lambda *x: shown.append(x))
    assert reasons == {"kept": 3} and summary(reasons) == "kept 3 of 3"
    # The clip is one unit, both pictures are another.
    assert shown == [("prepare", 0, 3), ("prepare", 1, 3), ("prepare", 3, 3)]
    rows = {r.key: r for r in read_manifest(tmp_path / "out")}
    clip = rows[wanted[0]]
    assert (clip.person, clip.emotion, clip.level) == ("M030", "happy", 3) and clip.face_width > 100
    data = json.loads((tmp_path / "out/records" / f"{wanted[0]}.json").read_text())
    assert data["rows"][0]["sha256"] == clip.sha256
    smile = read_arrays(tmp_path / "out", rows[wanted[1]])
    red = smile.mouth[0, :, :, 0].astype(int) - smile.mouth[0, :, :, 1]
    assert red[36:60, 30:66].mean() > 1.2 * red[:12].mean()  # lips in the middle, skin above
