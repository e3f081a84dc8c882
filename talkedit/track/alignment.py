"""The second tracker: the 68-point network of the package face-alignment (Bulat and Tzimiropoulos 2017), made dense.

Slow without a GPU (a second or so a face); for pictures that FaceMesh does not cope with.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import torch

from talkedit.errors import InputError
from talkedit.extras import FACE_ALIGNMENT
from talkedit.facemodel.load import load_face_model
from talkedit.track.dense import DenseFitter
from talkedit.track.facemesh import FaceDetector, Window

# 1.5 is the first version that reads its weights as plain tensors; before, they were programs (TorchScript).
OLDEST = (1, 5)
NETWORK = "3DFAN-4"


class AlignmentMesh:
    """Landmarks of the faces of a picture, with the interface of ``talkedit.track.facemesh.FaceMesh``.

    Boxes come from MediaPipe's detector, so that the network's own file is the only one to get. Of the package's kinds
    of points it uses those of 3-D faces projected to the picture: their outline does not slide along the cheek when the
    head turns, as that of the model does not.

    Args:
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: mediapipe, face-alignment or its weights are missing, too old or damaged.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._network = _load(device)
        self._detect = FaceDetector()
        self._dense = DenseFitter(load_face_model("open"))

    def close(self) -> None:
        """Frees the detector's graph."""
        self._detect.close()

    def __call__(self, rgb: np.ndarray, window: Window | None = None) -> list[np.ndarray]:
        """Landmarks of each face.

        Args:
            rgb: (H, W, 3) uint8.
            window: x0, y0, x1, y1 of the part to look for faces in.

        Returns:
            (478, 3) float32 arrays in pixels of ``rgb``; empty where there is no face.
        """
        boxes = self._boxes(rgb, window)
        if not boxes:
            return []
        # Plain floats: the package writes what it computes from them into tensors, which refuse NumPy's float32.
        plain = [box.tolist() for box in boxes]
        found = self._network.get_landmarks_from_image(rgb, detected_faces=plain) or []
        faces = [self._dense(points) for points in found]
        return [face for face in faces if face is not None]

    def _boxes(self, rgb: np.ndarray, window: Window | None) -> list[np.ndarray]:
        x0, y0, x1, y1 = window or (0, 0, rgb.shape[1], rgb.shape[0])
        part = rgb[y0:y1, x0:x1]
        boxes, border = self._detect(part), 0
        if not boxes:  # a face that fills the picture is too near for the detector; seen from further away it is not
            border = max(part.shape[:2]) // 2
            boxes = self._detect(cv2.copyMakeBorder(part, *[border] * 4, cv2.BORDER_REPLICATE))
        return [box + np.float32([x0 - border, y0 - border] * 2) for box in boxes]


def _load(device: str):
    """The package's network on a device; its weights are fetched by the package the first time.

    Its file is read with ``torch.load(weights_only=True)``, which refuses anything but tensors. (The package's depth
    network is not, and is never loaded here.)
    """
    try:
        import face_alignment
        from face_alignment.api import models_urls
    except ImportError as error:
        raise FACE_ALIGNMENT.missing() from error
    version = tuple(int(number) for number in re.findall(r"\d+", face_alignment.__version__)[:2])
    if version < OLDEST:
        raise InputError(
            f"{FACE_ALIGNMENT.needed_for} needs version 1.5 or later, not {face_alignment.__version__}; "
            f"run: {FACE_ALIGNMENT.install}"
        )
    url = models_urls[NETWORK]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    weights = folder / url.rsplit("/", 1)[-1]
    try:
        return face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_HALF_D, device=device, face_detector="folder", compile=False
        )
    except OSError as error:
        raise InputError(
            f"{FACE_ALIGNMENT.needed_for} needs the weights {weights.name}, which could not be downloaded "
            f"({getattr(error, 'reason', error)}); get {url} and put it into {folder}"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
        raise InputError(
            f"the file {weights} does not hold the weights of face-alignment's network; delete it and get {url}"
        ) from error
