"""One clip's edit: what the first pass learns about the speaker, and how each frame is made in the second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np

from talkedit import resources
from talkedit.checkpoint import load_gan, load_linear
from talkedit.composite.contour import join_contours, smooth_contours
from talkedit.composite.eyes import widen_eyes
from talkedit.composite.occlusion import Hidden, Together
from talkedit.composite.shade import multiply_ratio
from talkedit.composite.softness import CRISP, keep_softness, source_blur
from talkedit.composite.warp import build_warp, sample
from talkedit.device import choose_device
from talkedit.emotions import CONTROLS, EMOTIONS, Timeline
from talkedit.errors import InputError, NoFaceError
from talkedit.facemodel.load import load_face_model, load_template
from talkedit.geometry.au import ActionUnits
from talkedit.geometry.editor import GeometryEditor
from talkedit.geometry.eyeballs import Eyeballs
from talkedit.geometry.folds import Unfold
from talkedit.geometry.gan import TARGETS, neutral_code
from talkedit.geometry.glasses import GlassesHold
from talkedit.geometry.holds import Holds
from talkedit.geometry.openings import Openings, smoothstep
from talkedit.geometry.own import SlowFace, acted
from talkedit.geometry.silhouette import Silhouette
from talkedit.geometry.transfer import shape_in_frame, transfer
from talkedit.mouth.completion import Completion, load_completion
from talkedit.mouth.corner_lines import without_lines
from talkedit.mouth.grid import Rows, jaws
from talkedit.mouth.inside import look_inside
from talkedit.mouth.interior import Insides, fill_mixed
from talkedit.mouth.invention import OPENED, invent
from talkedit.mouth.lip_edge import beyond, mended
from talkedit.mouth.memory import MouthMemory
from talkedit.mouth.registration import Registration
from talkedit.mouth.smile_folds import without_folds
from talkedit.options import EditOptions
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.network import load_reconstructor
from talkedit.reconstruct.pose import find_pose
from talkedit.report import StageClock
from talkedit.smooth import half_width, smooth_at
from talkedit.texture.editor import PersonClassifier, contrast_gain, detail_of
from talkedit.texture.forehead import Skin
from talkedit.texture.furrows import Furrows
from talkedit.texture.gan import Look, SpeakerTexture, load_texture_gan
from talkedit.texture.glasses import glasses_score
from talkedit.texture.refine import MeanTexture
from talkedit.texture.tone import Tone, skin_colours, tone_of
from talkedit.texture.uv_map import LUMINANCE, UvTemplate
from talkedit.track import make_tracker
from talkedit.track.cover_network import load_cover
from talkedit.track.hands import HandWatch
from talkedit.track.lip_line import above_line, seated, settled
from talkedit.track.measures import eye_distance, mouth_opening, mouth_width, yaw_degrees
from talkedit.track.occluders import OccluderWatch
from talkedit.track.order import above_brows, below_lip
from talkedit.track.steady import steady
from talkedit.track.store import TrackStore
from talkedit.types import Frame, Track

# How much of its editor's full strength an emotion moves the face by at intensity 1: what lips, lids and brows are held
# to takes some of it away.
FULL = 1.02
# The edit fades out between these head turns (degrees): beyond, the mesh hides half of what it must move.
YAW_FADE = (46.0, 58.0)
# Remembered teeth fade out between these: the tracker's depth is flat, and they would lie beside the real ones.
TEETH_FADE = (22.0, 30.0)
# Every so many frames one is unwrapped for the person classifier.
LOOK_EVERY = 12
# Of the frames looked at closely, every so many are encoded for the texture GAN: a network's pass each.
CODE_EVERY = 3
# How far an emotion may open lips that rest closed. Only in pauses: while words are spoken, closed is closed.
PARTS_LIPS = {"surprised": 0.6, "fear": 0.3}
# Clenched teeth that lips so far apart, over the eye distance, show stay clenched but for surprise.
DROPS_JAW, SHOWN = "surprised", (0.02, 0.04)
# So do rows that are seen to touch in a frame whose lips are so wide, over the eye distance, but only so far: such lips
# speak as well, and narrower ones do nothing else.
GRINS, GRIN = (0.64, 0.72), 0.6
PAUSE_SECONDS = 0.8
STEADY_HALF = 2
# Frames before and after its own over which what hides the face already, or still, holds back the edit.
HIDDEN_HALF = 3
# Scores of bare faces, and of faces that surely wear glasses.
GLASSES = (0.10, 0.20)
# So many frames of a shot at most are kept to find the speaker's neutral look among.
LOOKS = 64
# Frames with closed lips that say where these meet.
LIP_LINES = 60


@dataclass
class Speaker:
    """What is learned of the speaker of one shot.

    Attributes:
        fitter: sums for the identity, solved at the end of the first pass.
        lids: (right, left) lid gaps of the frames so far, model units.
        lip_lines: of frames with closed lips, see `talkedit.track.lip_line.above_line`.
        features, contrast, foreheads, blurs, rims, colours: of the frames that were looked at closely.
        textures: of some of them, by their numbers.
        identities: identity coefficients that the network read off those frames, where it is used.
        looks: (468, 3) landmarks in the model's frame, of every ``look_every``-th frame.
        frames: how many frames were learned from.
        looked: numbers of the frames that were looked at closely.
        reference: (right, left) lid gap of open eyes.
        people: (N,) weights of the training people.
        neutral: (144,) the speaker's own neutral code: identity, and the most neutral expressions of the shot.
        acted: the shot's mean face split as a single picture is, so that a smile kept up all along is an expression.
        view: the speaker's mean texture, where the GAN's code is refined.
        texture: the speaker's editor of the texture GAN, where it is used.
        texture_gain: how strongly wrinkles show in this shot.
        tone: of the skin.
        skin: of the forehead, where furrows are drawn.
        shading: the controls of the frame before, and the change of texture they ask for.
        blur: how soft this shot is, pixels.
        glasses: 0..1, the speaker wears glasses.
        mouths: of this shot, those that show most teeth, until it is over.
        clenched: 0..1, its frames show teeth or closed lips and never the dark behind.
        teeth: the speaker's rows of teeth, where they were seen.
        registration: of these rows, over the frames of the second pass.
        aside: the same of mouths that are turned away, where there are no such rows.
    """

    fitter: Fitter
    people: np.ndarray
    mouths: MouthMemory | None
    lids: list[tuple[float, float]] = field(default_factory=list)
    lip_lines: list[float] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    foreheads: list[np.ndarray] = field(default_factory=list)
    blurs: list[float] = field(default_factory=list)
    rims: list[float] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    identities: list[np.ndarray] = field(default_factory=list)
    textures: dict[int, Look] = field(default_factory=dict)
    looked: list[int] = field(default_factory=list)
    looks: list[np.ndarray] = field(default_factory=list)
    look_every: int = 1
    neutral: np.ndarray | None = None
    acted: Fitter | None = None
    frames: int = 0
    reference: tuple[float, float] = (0.1, 0.1)
    view: MeanTexture | None = None
    texture: SpeakerTexture | None = None
    texture_gain: float = 1.0
    tone: Tone = field(default_factory=lambda: tone_of([]))
    skin: Skin | None = None
    shading: tuple[np.ndarray, np.ndarray] | None = None
    blur: float = CRISP
    glasses: float = 0.0
    clenched: float = 0.0
    teeth: Rows | None = None
    registration: Registration = field(default_factory=Registration)
    aside: Registration = field(default_factory=Registration)

    def drop(self, hidden: Callable[[int], bool]) -> None:
        """Forgets the looks at frames that show something before the face, unless all of them do."""
        clear = [not hidden(i) for i in self.looked]
        if any(clear):
            for name in ("features", "contrast", "foreheads", "blurs", "rims", "colours", "identities"):
                found = getattr(self, name)
                setattr(self, name, [one for one, keep in zip(found, clear, strict=False) if keep])
        self.textures = {i: look for i, look in self.textures.items() if not hidden(i)} or self.textures

    def solve(self, classify: PersonClassifier | None) -> None:
        """Turns the sums into identity, reference, people and gain, and lets the samples go."""
        self.fitter.solve()
        if self.identities:
            self.fitter.identity = np.mean(self.identities, axis=0)
        if self.lids:
            right, left = np.percentile(np.array(self.lids), 70, axis=0)
            self.reference = (float(right), float(left))
        if self.features and classify is not None:
            self.people = np.mean([classify(f) for f in self.features], axis=0)
        if self.contrast:
            self.texture_gain = float(np.mean(self.contrast))
        if self.blurs:
            self.blur = float(np.median(self.blurs))
        self.tone = tone_of(self.colours)
        if self.rims:
            self.glasses = float(smoothstep(np.median(self.rims), *GLASSES))
        expressions = np.stack([self.fitter.expression(points) for points in self.looks])
        self.neutral = neutral_code(self.fitter.identity, expressions)
        self.acted = self.fitter.fresh()
        self.acted.observe(np.mean(self.looks, axis=0))
        self.acted.solve()
        for name in ("lids", "features", "contrast", "foreheads", "blurs", "rims", "colours", "looks"):
            setattr(self, name, [])


@dataclass(frozen=True)
class Plan:
    """What is to become of one frame.

    Attributes:
        known: what does not depend on the emotion (see `ClipEditor._frame`).
        target: (V, 3) edited mesh, pixels; None where the shape stays.
        inside: of the mouth, where it is painted, in one or two views with their shares.
        ratio: (T, T) float32 change of log luminance; None where the texture stays.
    """

    known: dict
    target: np.ndarray | None
    inside: Insides | None
    ratio: np.ndarray | None


class ClipEditor:
    """See the module's name: ``observe`` every frame, ``solve`` once, then ``edit`` frames in order.

    Args:
        options: what the user chose.
        clock: where the seconds of each stage are added up.

    Raises:
        InputError: an option names something that is not there.
    """

    def __init__(self, options: EditOptions, clock: StageClock) -> None:
        self.options, self.clock = options, clock
        if options.threads:
            cv2.setNumThreads(options.threads)
        self.model = load_face_model(options.face_model)
        self.editors = load_linear(resources.find("checkpoints", "linear_editor.safetensors"))
        self._mean = shape = self.model.at_landmarks(self.model.mean)
        if options.face_model != "open":
            template = load_template()
            shape = shape_in_frame(template, self.model)
            self.editors = replace(self.editors, geometry=transfer(self.editors.geometry, template, self.model))
        self._gan = None
        if options.face_model == "open":
            self._gan = load_gan(resources.find("checkpoints", "geometry_gan.safetensors"))
        elif options.geometry == "gan":
            raise InputError("--geometry gan moves the open face model only; leave --face-model or --geometry out")
        self._texture = None
        if options.texture == "tgan":
            self._texture = load_texture_gan(resources.find("checkpoints", "texture_gan.safetensors"))
        self._device = choose_device(options.device)
        self._expressions = self.model.at_landmarks(self.model.exp_basis)
        self._tracker = make_tracker(options.tracker, face=options.face, device=self._device)
        self._hands, self._together = HandWatch(), Together(self.model)
        cover = load_cover(resources.find("checkpoints", "occluders.safetensors"))
        self._occluders = OccluderWatch(self.model, cover)
        self._fitter = Fitter(self.model)
        network = options.reconstruction == "network"
        self._read = load_reconstructor(options.face_model, self._device) if network else None
        self._completion: Completion | None = None
        self._openings = Openings(shape)
        self._units = ActionUnits(shape, self._openings, self.editors.geometry.speech)
        self._holds = Holds(shape, self._openings.distances)
        self._hold_glasses = GlassesHold(shape)
        self._eyeballs, self._unfold = Eyeballs(self.model), Unfold(self.model)
        self._silhouette = Silhouette(self.model)
        self._template = UvTemplate(self.model)
        self._furrows = Furrows(self.model) if options.furrows and self._texture is not None else None
        self._store = TrackStore()
        self._speakers: dict[int, Speaker] = {}
        self._loop = self.model.mouth_loop
        self._last_frame: tuple[int, dict] | None = None
        self.edited_frames = 0
        self._last_edited = -1
        self._last_time: float | None = None
        self._interval: list[float] = []
        self._most_faces = 0
        self.skipped: list[tuple[int, str]] = []
        self.notes: list[str] = []

    # -- first pass --------------------------------------------------------------------------------------------------

    def learn(self, frames: Iterable[Frame]) -> None:
        """The whole first pass: observes every frame and solves."""
        for frame in frames:
            self.observe(frame)
        self.solve()

    def observe(self, frame: Frame) -> None:
        """Tracks one frame and adds it to what is known of the speaker."""
        self.take(frame, self.track(frame))

    def track(self, frame: Frame) -> Track | None:
        """Where the face is in a frame; may run ahead of `take` in another thread."""
        with self.clock("track"):
            return self._tracker(frame)

    def take(self, frame: Frame, track: Track | None) -> None:
        """Adds a tracked frame to what is known of the speaker."""
        if track is not None:
            with self.clock("track"):
                self._hands.see(frame, track.landmarks)
        if self._last_time is not None and frame.time > self._last_time and len(self._interval) < 500:
            self._interval.append(frame.time - self._last_time)
        self._last_time = frame.time
        fade = 0.0
        if track is not None:
            self._most_faces = max(self._most_faces, track.faces)
            yaw = 1 - smoothstep(abs(track.yaw), *YAW_FADE)
            fade = float(yaw * smoothstep(track.confidence, 0.3, 0.6))
        self._store.append(track, frame.time, fade, cut=track.cut if track is not None else False)
        if track is None:
            self.skipped.append((frame.index, "no face"))
            return
        if fade <= 0:
            self.skipped.append(
                (frame.index, "head turned too far" if abs(track.yaw) > YAW_FADE[0] else "face unclear")
            )
            return
        with self.clock("reconstruct"):
            self._learn(frame, track, fade)

    def _learn(self, frame: Frame, track: Track, fade: float) -> None:
        shot = self._store.shot(frame.index)
        if shot not in self._speakers:
            equal = np.full(len(self.editors.people), 1 / len(self.editors.people), np.float32)
            hidden = self._occluders.solve(self._store.landmarks)
            for earlier in self._speakers.values():
                self._find_teeth(earlier, hidden)
            wanted = self.options.teeth and self.options.only != "texture"
            mouths = MouthMemory(self._mean) if wanted else None
            self._speakers[shot] = Speaker(self._fitter.fresh(), equal, mouths)
        speaker = self._speakers[shot]
        self._occluders.see(frame.index, frame.rgb, track.landmarks)
        pose = find_pose(track.landmarks, self._mean)
        points = pose.to_model(track.landmarks[:468])
        if len(speaker.lip_lines) < LIP_LINES and (above := above_line(frame.rgb, track.landmarks)) is not None:
            speaker.lip_lines.append(above)
        if speaker.mouths is not None:
            speaker.mouths.observe(frame.rgb, track.landmarks, pose, track.yaw)
        # Frontal frames with a nearly closed mouth say most about the neutral face.
        speaker.fitter.observe(points, fade / (1 + 8 * track.mouth_open))
        if speaker.frames % speaker.look_every == 0:
            speaker.looks.append(points)
            if len(speaker.looks) > LOOKS:
                speaker.looks, speaker.look_every = speaker.looks[::2], 2 * speaker.look_every
        speaker.lids.append(self._openings.lid_reference(points))
        if len(speaker.lids) > 4000:  # bounded: every other one is enough from here
            speaker.lids = speaker.lids[::2]
        if speaker.frames % LOOK_EVERY == 0 and len(speaker.features) < 200:
            speaker.looked.append(frame.index)
            if self._read is not None:
                speaker.identities.append(self._read(frame.rgb, track.landmarks).identity)
            mesh = self.model.position @ track.landmarks[:468]
            luminance = self._template.unwrap(frame.rgb.astype(np.float32) @ LUMINANCE, mesh)
            visible = self._template.visible(mesh)
            detail = detail_of(luminance, visible)
            speaker.features.append(self.editors.classifier.features(detail))
            if self._texture is not None:
                texture = self._template.unwrap(frame.rgb, mesh)
                if self._furrows is not None:
                    speaker.foreheads.append(self._furrows.forehead.look(texture, detail, visible))
                if len(speaker.looked) % CODE_EVERY == 1:
                    speaker.textures[frame.index] = self._texture.look(texture, visible)
                    if self.options.refine:
                        speaker.view = speaker.view or MeanTexture()
                        speaker.view.add(texture, visible)
            speaker.rims.append(glasses_score(luminance))
            speaker.colours.append(skin_colours(frame.rgb, track.landmarks))
            speaker.contrast.append(contrast_gain(detail, visible))
            speaker.blurs.append(source_blur(frame.rgb, track.landmarks))
        speaker.frames += 1

    def solve(self) -> None:
        """Ends the first pass: identity of the clip, the people it resembles, the open-eye reference.

        Raises:
            NoFaceError: no frame shows a face that can be edited.
        """
        close = getattr(self._tracker, "close", None)
        if close is not None:
            close()
        self._hands.close()
        if not self._speakers:
            if getattr(self._tracker, "too_small", 0):
                raise NoFaceError("the face is too small to edit (it must be at least 40 pixels wide)")
            if self._store.faces:
                raise NoFaceError("no frame shows the face clearly enough to edit (turned away or cut off)")
            raise NoFaceError("no face was found in the input")
        with self.clock("reconstruct"):
            classify = self.editors.classifier if self.options.classifier else None
            hidden = self._occluders.solve(self._store.landmarks)
            for speaker in self._speakers.values():
                self._find_teeth(speaker, hidden)
                speaker.drop(lambda index: self._occluders.at(index) is not None)
                if self._furrows is not None:
                    speaker.skin = self._furrows.forehead.solve(speaker.foreheads)
                speaker.solve(classify)
                if self._texture is not None:
                    speaker.texture = self._texture.of(list(speaker.textures.values()), self.options.classifier)
                    speaker.textures = {}
                    if speaker.view is not None:
                        found = speaker.view.refined(self._texture.synthesis, speaker.texture.code, self.options.refine)
                        speaker.texture.code, speaker.view = found, None
        if self._most_faces > 1:
            self.notes.append(
                f"up to {self._most_faces} faces in a frame; one was edited (choose another with --face N)"
            )
        fps = 1 / float(np.median(self._interval)) if self._interval else 25.0
        self._half = half_width(fps) if self.options.smooth else 0
        self._fade_half = half_width(fps, 4)
        self._pause_half = max(1, round(PAUSE_SECONDS * fps))
        self._slow = SlowFace(self._store, self._mean, fps)
        self._parts = np.array([PARTS_LIPS.get(e, 0.0) for e in EMOTIONS], np.float32)

    def _find_teeth(self, speaker: Speaker, hidden: set[int]) -> None:
        """Ends the memory of a shot, but for its hidden frames: the speaker's rows of teeth, or invented ones."""
        mouths, speaker.mouths = speaker.mouths, None
        if mouths is None:
            return
        mouths.forget(hidden)
        speaker.clenched = float(not mouths.gaped)
        if mouths.lacks_teeth() and mouths.still is not None:
            if self._completion is None:
                self._completion = load_completion(resources.find("checkpoints", "teeth.safetensors"))
            eye = np.linalg.norm(self._mean[33] - self._mean[263])
            made = invent(
                self._completion, mouths.still, self.model, self.editors.geometry.speech * np.float32(OPENED * eye)
            )
            if made is not None:
                mouths.observe(*made, mouths.still.pose, 0.0)
        speaker.teeth = mouths.solve(float(np.median(speaker.blurs)) if speaker.blurs else CRISP)

    def metrics(self) -> dict:
        """What the report says about the speaker of the longest shot."""
        if not self._speakers:
            return {}
        longest = max(self._speakers.values(), key=lambda speaker: speaker.frames)
        people = zip(self.editors.people, longest.people, strict=True)
        return {
            "shots": len(self._speakers),
            "people": {name: round(float(weight), 3) for name, weight in people},
            "glasses": round(longest.glasses, 2),
            "identity_norm": round(float(np.linalg.norm(longest.fitter.identity)), 2),
        }

    # -- second pass -------------------------------------------------------------------------------------------------

    def edit(self, frame: Frame, timeline: Timeline) -> np.ndarray:
        """(H, W, 3) uint8 edited picture; ``frame.rgb`` itself where nothing is edited."""
        return self.paint(frame, self.plan(frame, timeline))

    def plan(self, frame: Frame, timeline: Timeline) -> Plan | None:
        """What is to become of a frame, None where nothing is edited; frames in order."""
        index = frame.index
        if not self._store.has(index):
            return None
        controls = self._controls(index, timeline)
        if np.abs(controls).max() < 1e-4:
            return None
        known = self._frame(frame)
        self.edited_frames += index != self._last_edited
        self._last_edited = index
        target, inside, ratio = None, None, None
        if self.options.only != "texture":
            with self.clock("edit"):
                target = self._target(known, controls)
            inside = known["inside"]
        if self.options.only != "geometry":
            with self.clock("texture"):
                ratio = self._shading(known["speaker"], controls)
        return Plan(known, target, inside, ratio)

    def paint(self, frame: Frame, plan: Plan | None) -> np.ndarray:
        """(H, W, 3) uint8 frame edited as planned; several threads may paint frames at once."""
        if plan is None:
            return frame.rgb
        known, geometry, model = plan.known, plan.target is not None, self.model
        mesh, speaker = known["mesh"], known["speaker"]
        target = plan.target if geometry else mesh
        shown = frame.rgb if known["hidden"] is None else known["hidden"].behind
        with self.clock("render"):
            warp = build_warp(mesh, target, model.triangles, model.uv, frame.rgb.shape, self._device, self._loop)
            if warp is None:
                return frame.rgb
            if geometry:
                join_contours(warp)
                lips = mesh[self._loop, :2], target[self._loop, :2], known["eye"]
                shown = without_folds(without_lines(shown, *lips), known["landmarks"], *lips)
                picture = sample(shown, warp)
                smooth_contours(picture, shown, warp, mesh, target, model.triangles)
                bare = 1 - speaker.glasses
                eyes = known["landmarks"], model.at_landmarks(target)
                widen_eyes(picture, shown, warp, *eyes, bare, speaker.blur)
            else:
                picture = self._rect(shown, warp).copy()
        if plan.ratio is not None:
            with self.clock("texture"):
                multiply_ratio(picture, warp, plan.ratio, speaker.tone, speaker.blur)
        if plan.inside is not None:
            with self.clock("mouth"):
                moved = jaws((target - mesh)[model.landmark_vertices, :2])
                fill_mixed(picture, shown, warp, plan.inside, target[self._loop, :2], moved)
        with self.clock("composite"):
            if geometry:
                keep_softness(picture, warp, speaker.blur)
            if known["hidden"] is not None:
                known["hidden"].restore(picture, self._rect(frame.rgb, warp), warp.x0, warp.y0)
            out = frame.rgb.copy()
            self._rect(out, warp)[:] = picture
        return out

    def _shading(self, speaker: Speaker, controls: np.ndarray) -> np.ndarray:
        """(T, T) float32 change of log luminance on the UV template; made once while the controls stay the same."""
        if speaker.shading is None or not np.array_equal(speaker.shading[0], controls):
            code = controls[: len(EMOTIONS)]
            if speaker.texture is None:
                ratio = self.editors.texture.log_ratio(code, speaker.people)
            else:
                ratio = speaker.texture.log_ratio(code)
            if self._furrows is not None:
                lines = self._furrows.log_ratio(controls, speaker.skin)
                ratio = cv2.resize(ratio, lines.shape, interpolation=cv2.INTER_LINEAR) + lines
            speaker.shading = controls.copy(), ratio * np.float32(speaker.texture_gain)
        return speaker.shading[1]

    def _inside(self, frame: Frame, known: dict) -> Insides:
        """What the frame shows between the lips, and what its speaker has behind them.

        In a turned head nobody knows where remembered teeth are; what the frame shows must do.
        """
        speaker = known["speaker"]
        turned = float(smoothstep(abs(known["yaw"]), *TEETH_FADE))
        speaker.registration.follow(frame.index)
        where = frame.rgb, known["mesh"][self._loop, :2], known["eye"], speaker.blur
        look = partial(look_inside, *where, clenched=speaker.clenched)
        views = []
        if turned < 1:
            behind, guess = (None, None), None
            if speaker.teeth is not None:
                head = known["pose"], known["points"]
                behind, guess = speaker.teeth.placed(*head), speaker.teeth.guessed(*head)
            views.append((look(behind, speaker.registration, guess), 1 - turned))
        if turned > 0:
            speaker.aside.follow(frame.index)
            views.append((look((None, None), speaker.aside, smiles=True), turned))
        return views

    def meshes(self, frame: Frame, timeline: Timeline) -> tuple[np.ndarray, np.ndarray] | None:
        """(V, 3) tracked and edited mesh in pixels of the frame; None where nothing is edited."""
        controls = self._controls(frame.index, timeline) if self._store.has(frame.index) else np.zeros(1)
        if np.abs(controls).max() < 1e-4:
            return None
        known = self._frame(frame)
        return known["mesh"], self._target(known, controls)

    @staticmethod
    def _rect(picture: np.ndarray, warp) -> np.ndarray:
        h, w = warp.shape
        return picture[warp.y0 : warp.y0 + h, warp.x0 : warp.x0 + w]

    def _controls(self, index: int, timeline: Timeline) -> np.ndarray:
        """(25,) controls of a frame: smoothed over the window (Eqs. 17-19) and faded where the face is not trusted."""
        store = self._store

        def window(half: int) -> tuple[list[int], np.ndarray]:
            around = list(range(index - half, index + half + 1))
            return around, np.array([store.same_shot(index, i) for i in around])

        around, usable = window(self._half)
        codes = np.stack([timeline.controls(store.time(i)) if ok else np.zeros(len(CONTROLS), np.float32)
                          for i, ok in zip(around, usable, strict=True)])  # fmt: skip
        # A frame that is not trusted holds its neighbours back, the less the further they are: the edit fades out
        # towards it and in again behind it.
        around, near = window(self._fade_half)
        distance = np.abs(np.array(around) - index) / (self._fade_half + 1)
        trust = np.array([store.fade(i) if ok else 1.0 for i, ok in zip(around, near, strict=True)])
        fade = float((trust + (1 - trust) * distance).min())
        return smooth_at(codes, usable, self._half) * np.float32(fade)

    def _frame(self, frame: Frame) -> dict:
        """What does not depend on the emotion, kept for the next emotion of the same frame (compare)."""
        if self._last_frame is not None and self._last_frame[0] == frame.index:
            return self._last_frame[1]
        store, index = self._store, frame.index
        with self.clock("reconstruct"):
            half = STEADY_HALF
            around = range(index - half, index + half + 1)
            window = [store.landmarks(i) if store.same_shot(index, i) else None for i in around]
            landmarks = steady(window, half)
            pose = find_pose(landmarks, self._mean)
            points = pose.to_model(landmarks[:468])
            speaker = self._speakers[store.shot(index)]
            # The mesh lies where the picture shows the lips; what the edit makes of them goes by the steadier tracker.
            there = above_brows(below_lip(seated(landmarks[:468], settled(speaker.lip_lines))))
            there = mended(there, beyond(frame.rgb, there))
            known = {
                "speaker": speaker,
                "pose": pose,
                "points": points,
                "expression": speaker.fitter.expression(points)
                if self._read is None
                else self._read(frame.rgb, landmarks).expression,
                "pause": self._pause(index),
                "landmarks": landmarks,
                "mesh": self.model.position @ there,
                "eye": eye_distance(landmarks),
                "inside": None,
                "own": None,
                "index": index,
                "yaw": yaw_degrees(landmarks),
            }
            known["hidden"] = self._hidden(frame, known["mesh"], known["eye"])
            if known["hidden"] is not None:
                known["free"] = self._together(known["hidden"], known["mesh"])
                known["hidden"].hold(known["free"], self.model.triangles, self._loop)
        if self.options.teeth and self.options.only != "texture":
            with self.clock("mouth"):
                known["inside"] = self._inside(frame, known)
        self._last_frame = (index, known)
        return known

    def _hidden(self, frame: Frame, mesh: np.ndarray, eye: float) -> Hidden | None:
        """What hides the face in this frame, None if nothing does."""
        index = frame.index
        around = range(index - HIDDEN_HALF, index + HIDDEN_HALF + 1)
        hands, masks = ([watch.at(i) if self._store.same_shot(index, i) else None for i in around]
                        for watch in (self._hands, self._occluders))  # fmt: skip
        if all(found is None for found in hands + masks):
            return None
        hidden = Hidden(mesh, hands, eye, self.model, masks, frame.rgb)
        return hidden if hidden.any else None

    def _pause(self, index: int) -> float:
        """0..1: the speaker is silent around this frame, smooth over time."""
        near = [i for i in range(index - self._pause_half, index + self._pause_half + 1)
                if self._store.same_shot(index, i)]  # fmt: skip
        spoken = smoothstep(np.array([self._store.opening(i) for i in near]), 0.012, 0.04)
        distance = np.abs(np.array(near) - index) / (self._pause_half + 1)
        return 1 - float((spoken * (1 - distance**2)).max())

    def _target(self, known: dict, controls: np.ndarray) -> np.ndarray:
        """(V, 3) edited mesh in the picture: the tracked mesh, and how the edit displaces it."""
        moved = known["pose"].direction_to_picture(self._displacement(known, controls))
        change = self._silhouette(known["pose"], known["mesh"], self.model.displacement @ moved, known["yaw"])
        if known["hidden"] is not None:
            change *= known["free"]
        target = known["mesh"] + change
        self._eyeballs(known["mesh"], target)
        return self._unfold(known["mesh"], target)

    def _displacement(self, known: dict, controls: np.ndarray) -> np.ndarray:
        """(468, 3) B_exp (β′ − β) and action units, model units, with lips and lids held to the source."""
        speaker, points = known["speaker"], known["points"]
        code, units = np.float32(FULL) * controls[: len(EMOTIONS)], controls[len(TARGETS) :]
        linear = self._gan is None or self.options.geometry == "linear"
        editor = self.editors.geometry if linear else self._gan.of(speaker.neutral)
        delta = self._moved(editor, speaker.fitter.identity, known["expression"], code, speaker.people)
        asked = float(controls[len(EMOTIONS)])
        if asked > 0:
            delta = delta + asked * self._calming(speaker, points)
        beside = min(float(code.sum()), 1.0) - asked
        if beside > 0 and self.options.calm and not linear:
            delta = delta + np.float32(beside) * self._own(known)
        part = min(float(self._parts @ code), 1.0) * known["pause"]
        delta = self._holds.limited(delta, points, speaker.reference)
        if units.any():
            delta = delta + self._holds.brows(self._units.held(units))
        wish = editor.opening(code, speaker.people)
        hidden = 1 - smoothstep(mouth_opening(points), *SHOWN)
        parting = (self._parts > 0) * np.where(np.array(EMOTIONS) == DROPS_JAW, 1.0, hidden)
        together = sum(share * view.shut for view, share in known["inside"] or ())
        together *= GRIN * float(smoothstep(mouth_width(points), *GRINS))
        clenched = max(speaker.clenched, together) * (1 - min(float(code @ parting), 1.0))
        delta = self._openings.lips(points, delta, editor.speech, wish, part, clenched)
        delta = self._openings.lids(points, delta, speaker.reference)
        if units.any():
            delta = delta + self._units.gaps(points + delta, units)
        return self._hold_glasses(delta, speaker.glasses)

    def _moved(
        self, editor: GeometryEditor, identity: np.ndarray, beta: np.ndarray, code: np.ndarray, people: np.ndarray
    ) -> np.ndarray:
        """(468, 3) what an editor does to the landmarks of an expression (64,), model units."""
        edited = editor.edit(identity, beta, code, people)
        delta = (self._expressions @ (edited - beta)).astype(np.float32)
        rest = editor.rest(code, people)
        return delta if rest is None else delta + rest

    def _calming(self, speaker: Speaker, points: np.ndarray) -> np.ndarray:
        """(468, 3) what takes the speaker's own emotion out; by the GAN, the one editor that can.

        Raises:
            InputError: it does not know the face model.
        """
        if self._gan is None:
            raise InputError(f"neutral as a target needs the open face model, not {self.options.face_model}")
        identity, code = speaker.acted.identity, np.zeros(len(TARGETS), np.float32)
        code[-1] = 1
        editor = self._gan.of(np.r_[identity, np.zeros(self._expressions.shape[2], np.float32)])
        return self._moved(editor, identity, speaker.acted.expression(points), code, speaker.people)

    def _own(self, known: dict) -> np.ndarray:
        """(468, 3) what takes out as much of the speaker's own emotion as gives way to another."""
        if known["own"] is None:
            calming = self._calming(known["speaker"], self._slow.around(known["index"], known["points"]))
            known["own"] = calming * np.float32(acted(calming, float(np.linalg.norm(self._mean[33] - self._mean[263]))))
        return known["own"]


class Editor:
    """Edits single pictures from Python.

    Args:
        emotion: name of the target emotion.
        intensity: 0..1.5.
        options: anything else.

    Example:
        >>> editor = Editor("happy", 0.8)  # doctest: +SKIP
        >>> edited = editor.edit_frame(rgb)  # doctest: +SKIP
    """

    def __init__(self, emotion: str, intensity: float = 1.0, options: EditOptions | None = None) -> None:
        self._timeline = Timeline.constant(emotion, intensity)
        self._options = options or EditOptions()

    def edit_frame(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 → (H, W, 3) uint8.

        Raises:
            InputError: not an (H, W, 3) uint8 array.
            NoFaceError: no face in the picture.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise InputError(f"a frame must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
        if self._timeline.is_zero:
            return rgb
        clip = ClipEditor(self._options, StageClock())
        frame = Frame(0, rgb)
        clip.learn([frame])
        return clip.edit(frame, self._timeline)
