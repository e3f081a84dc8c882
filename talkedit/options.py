"""What the user may choose about an edit, checked once and passed down unchanged."""

from __future__ import annotations

from dataclasses import dataclass

from talkedit.errors import InputError

PARTS = ("geometry", "texture")
DEVICES = ("auto", "cpu", "cuda")
RECONSTRUCTIONS = ("fit", "network")
# Exact and slow: for coefficients that are looked at, not for edits, which keep the tracked mesh anyway.
PHOTOMETRIC = "photometric"
GEOMETRIES = ("linear", "gan")
TEXTURES = ("linear", "tgan")
# Steps of the refinement: the usual number, and the most that can be meant.
REFINE, MOST_REFINE = 40, 1000


@dataclass(frozen=True)
class EditOptions:
    """Options of an edit.

    Attributes:
        face: ``"largest"`` or the index of a face.
        only: None, ``"geometry"`` or ``"texture"``: leave the other part out.
        geometry: ``"linear"`` directions or the ``"gan"`` move the expression; None = the GAN where it knows the face
            model.
        texture: the ``"tgan"`` or ``"linear"`` luminance-ratio maps change the skin.
        refine: steps that bring the texture GAN's code closer to the speaker, 0 = the encoder's code as it is.
        smooth: smooth the edit over time (Eqs. 17-19).
        classifier: mix texture directions by the person classifier.
        furrows: draw the sharp lines that the texture GAN is too coarse for.
        teeth: fill mouths that the edit opens.
        calm: let the speaker's own emotion give way to the one that comes.
        face_model: name of a face model, or a path to one.
        tracker: name of a tracker.
        reconstruction: ``"fit"`` (to the tracked landmarks) or ``"network"`` (from the picture).
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: CPU threads, None = the library's default.
        seed: seed of everything random.
        start, end: seconds between which the clip is edited; None = open.

    Raises:
        InputError: a value outside these.
    """

    face: str | int = "largest"
    only: str | None = None
    geometry: str | None = None
    texture: str = "tgan"
    refine: int = 0
    smooth: bool = True
    classifier: bool = True
    furrows: bool = True
    teeth: bool = True
    calm: bool = True
    face_model: str = "open"
    tracker: str = "mediapipe"
    reconstruction: str = "fit"
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if self.face != "largest" and not (isinstance(self.face, int) and self.face >= 0):
            raise InputError(f"face must be 'largest' or a number from 0 up, not '{self.face}'")
        if self.only is not None and self.only not in PARTS:
            raise InputError(f"only must be one of {', '.join(PARTS)}, not '{self.only}'")
        if self.reconstruction not in RECONSTRUCTIONS:
            raise InputError(f"reconstruction must be one of {', '.join(RECONSTRUCTIONS)}, not '{self.reconstruction}'")
        if self.geometry is not None and self.geometry not in GEOMETRIES:
            raise InputError(f"geometry must be one of {', '.join(GEOMETRIES)}, not '{self.geometry}'")
        if self.texture not in TEXTURES:
            raise InputError(f"texture must be one of {', '.join(TEXTURES)}, not '{self.texture}'")
        if not 0 <= self.refine <= MOST_REFINE:
            raise InputError(f"refine must be a number of steps from 0 to {MOST_REFINE}, not {self.refine}")
        if self.refine and self.texture != "tgan":
            raise InputError("refine fits the texture GAN to the speaker, so it needs the texture 'tgan'")
        if self.device not in DEVICES:
            raise InputError(f"device must be one of {', '.join(DEVICES)}, not '{self.device}'")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be at least 1, not {self.threads}")
