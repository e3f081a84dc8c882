"""The trained geometry directions on another face model.

Directions are learned as expression coefficients of the open model. On its 468 landmarks they are displacements, which
every model shares through the correspondence. On another model a direction becomes coefficients of that model by least
squares; what its expressions cannot hold is kept beside them, so that an emotion looks the same on every model.
"""

from __future__ import annotations

import numpy as np

from talkedit.facemodel.align import similarity
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.editor import LinearGeometryEditor
from talkedit.track.topology import STABLE

# Ridge in model units against unit-variance coefficients, as in the fit of tracked frames.
NOISE = 0.006


def transfer(editor: LinearGeometryEditor, source: FaceModel, target: FaceModel) -> LinearGeometryEditor:
    """The editor for another face model.

    Args:
        editor: directions in the expression coefficients of ``source``.
        source: the model the editor was trained on.
        target: the model it is to move.

    Returns:
        An editor in the coefficients and units of ``target``.
    """
    scale, rotation, _ = _to_frame(source, target)
    turn = scale * rotation
    wanted = np.einsum("lck,njk->njlc", source.at_landmarks(source.exp_basis), editor.directions) @ turn
    basis = target.at_landmarks(target.exp_basis).reshape(-1, target.exp_basis.shape[2]).astype(np.float64)
    gram = basis.T @ basis + NOISE**2 * np.eye(basis.shape[1])
    flat = wanted.reshape(-1, basis.shape[0])
    directions = np.linalg.solve(gram, basis.T @ flat.T).T
    rest = (flat - directions @ basis.T).reshape(wanted.shape)
    return LinearGeometryEditor(
        directions.reshape(*editor.directions.shape[:2], -1).astype(np.float32),
        (editor.openings * scale).astype(np.float32),
        (editor.speech @ rotation).astype(np.float32),
        rest.astype(np.float32),
    )


def shape_in_frame(source: FaceModel, target: FaceModel) -> np.ndarray:
    """(468, 3) the mean landmarks of ``source`` in the units and frame of ``target``.

    What was tuned on one face's shape, such as how far a lid's motion reaches, goes on with that shape.
    """
    scale, rotation, translation = _to_frame(source, target)
    return (scale * source.at_landmarks(source.mean) @ rotation + translation).astype(np.float32)


def _to_frame(source: FaceModel, target: FaceModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mine, theirs = source.at_landmarks(source.mean), target.at_landmarks(target.mean)
    return similarity(mine[STABLE], theirs[STABLE])
