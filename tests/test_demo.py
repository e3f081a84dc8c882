"""The virtual speaker: the same seed draws the same person, and the tracker takes that person for one."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from talkedit.demo import contact_sheet, run
from talkedit.demo.film import write_film
from talkedit.demo.speaker import FPS, Script, Speaker, make_script, pictures
from talkedit.demo.speech import SAMPLE_RATE, VOWELS, babble, mouth_track, voice
from talkedit.errors import InputError
from talkedit.track import make_tracker
from talkedit.types import Frame, Track
from talkedit.video.probe import probe
from talkedit.video.reader import read_frames


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker(seed=0, size=256, oversample=1)


@pytest.fixture(scope="module")
def script() -> Script:
    return make_script(seed=0)


@pytest.fixture(scope="module")
def drawn(speaker: Speaker, script: Script) -> list[np.ndarray]:
    return list(pictures(speaker, script))


@pytest.fixture(scope="module")
def tracks(drawn: list[np.ndarray]) -> list[Track | None]:
    tracker = make_tracker()
    return [tracker(Frame(index, rgb, index)) for index, rgb in enumerate(drawn)]


def test_same_seed_same_pixels(script: Script, drawn: list[np.ndarray]) -> None:
    again = Speaker(seed=0, size=256, oversample=1)
    for frame in (0, 17):
        np.testing.assert_array_equal(again.picture(script, frame), drawn[frame])


def test_another_seed_is_another_person(speaker: Speaker, script: Script, drawn: list[np.ndarray]) -> None:
    other = Speaker(seed=1, size=256, oversample=1)
    difference = np.abs(other.picture(script, 0).astype(int) - drawn[0])
    assert difference.mean() > 5
    shape = speaker.face_vertices(script, 0) - other.face_vertices(script, 0)
    assert np.linalg.norm(shape, axis=1).mean() > 0.01  # decimetres: a millimetre
    assert make_script(1).syllables != script.syllables


def test_picture_has_range_without_clipping(drawn: list[np.ndarray]) -> None:
    picture = drawn[0]
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    assert np.ptp(picture) > 180
    assert (picture == 255).all(-1).mean() < 0.002


def test_tracker_sees_a_face_in_every_frame(tracks: list[Track | None]) -> None:
    assert all(track is not None and track.confidence > 0.3 and track.faces == 1 for track in tracks)


def test_tracker_follows_the_mouth(speaker: Speaker, script: Script, tracks: list[Track | None]) -> None:
    driven = [speaker.lip_opening(script, frame) for frame in range(script.frames)]
    seen = [track.mouth_open for track in tracks if track is not None]
    assert np.corrcoef(driven, seen)[0, 1] > 0.9


def test_tracker_sees_the_blinks(script: Script, tracks: list[Track | None]) -> None:
    opening = np.array([np.mean(track.eye_open) for track in tracks if track is not None])
    shut, awake = script.motion.blink > 0.95, script.motion.blink == 0
    assert shut.any()
    assert opening[shut].mean() < 0.6 * np.median(opening[awake])


def test_head_moves_a_little(script: Script) -> None:
    degrees = np.degrees(np.ptp(script.motion.angles, axis=0))
    assert 1 < degrees.max() < 15
    assert np.degrees(np.abs(np.diff(script.motion.angles, axis=0))).max() < 2  # no jumps between frames


def test_lips_meet_on_closures(speaker: Speaker, script: Script) -> None:
    openings = np.array([speaker.lip_opening(script, frame) for frame in range(script.frames)])
    closed = [round((s.start + 0.03) * FPS) for s in script.syllables if s.consonant in "mb"]
    assert closed and all(openings[max(f - 1, 0) : f + 2].min() < 0.035 for f in closed)
    assert openings.max() > 0.12


def test_syllables_keep_a_natural_pace() -> None:
    syllables = babble(6.0, np.random.default_rng(4))
    lengths = np.array([s.length for s in syllables])
    assert ((lengths > 0.15) & (lengths < 0.32)).all()
    assert all(a.consonant != b.consonant for a, b in pairwise(syllables))
    assert {s.vowel for s in syllables} <= set(VOWELS)
    track = mouth_track(syllables, 150, FPS)
    assert all(((x >= 0) & (x <= 1.15)).all() for x in (track.opening, track.rounding, track.spreading))


def test_voice_sounds_where_the_mouth_opens(script: Script) -> None:
    seconds = script.frames / FPS
    sound = voice(script.syllables, seconds, np.random.default_rng(0), 180.0)
    assert len(sound) == round(seconds * SAMPLE_RATE) and 0.05 < np.abs(sound).max() < 0.2  # quiet
    loud = np.sqrt((sound.reshape(script.frames, -1) ** 2).mean(1))
    assert np.corrcoef(loud, script.mouth.opening)[0, 1] > 0.5
    np.testing.assert_array_equal(sound, voice(script.syllables, seconds, np.random.default_rng(0), 180.0))


def test_film_has_pictures_and_sound(tmp_path, drawn: list[np.ndarray]) -> None:
    path = tmp_path / "speaker.mp4"
    sound = 0.1 * np.sin(np.arange(SAMPLE_RATE // 2) * 0.05).astype(np.float32)
    done: list[int] = []
    write_film(path, iter(drawn[:12]), FPS, sound, done.append)
    info = probe(path)
    assert (info.width, info.height, info.frames, info.audio_codecs) == (256, 256, 12, ("aac",))
    assert done == list(range(1, 13))
    first = next(iter(read_frames(path)))
    assert np.abs(first.rgb.astype(int) - drawn[0]).mean() < 4


def test_contact_sheet_is_one_row(tmp_path, drawn: list[np.ndarray]) -> None:
    clips = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for clip in clips:
        write_film(clip, iter(drawn[:5]), FPS, np.zeros(SAMPLE_RATE // 5, np.float32))
    contact_sheet(clips, ["source", "happy"], tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 512 and 256 < sheet.shape[0] < 300


def test_negative_seed_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="seed"):
        run(tmp_path / "out", seed=-1)
    assert not (tmp_path / "out").exists()
