"""Lips and what lies under them keep their own shading.

What textures of emotions show there is how far actors open their mouths, not a fold of skin; on other mouths it is a
pale patch around the lips and a dark one on the chin, from which trackers misread the gap between the lips.
"""

from __future__ import annotations

import numpy as np

from talkedit.facemodel.model import FaceModel
from talkedit.geometry.openings import smoothstep
from talkedit.texture.uv_map import UvTemplate
from talkedit.track import topology as topo

# So far from the lips along the skin, and from the lower lip's middle, over the eye distance, all of a change is left.
CLEAR, UNDER = 0.12, 0.4
_LOWER = np.array([17, 84, 314, 181, 405])


def beside_lips(model: FaceModel, template: UvTemplate, distances: np.ndarray) -> np.ndarray:
    """(T, T) float32: 0 on the lips, 1 away from them.

    Args:
        model: the face model.
        template: its UV template.
        distances: (468, 468) between landmarks along the skin, see `talkedit.geometry.openings.surface_distances`.
    """
    eye = float(np.linalg.norm(np.subtract(*model.at_landmarks(model.mean)[[33, 263]])))
    share = smoothstep(distances[np.r_[topo.OUTER_LIPS, topo.INNER_LIPS]].min(0) / eye, 0, CLEAR)
    share *= smoothstep(distances[_LOWER].min(0) / eye, 0, UNDER)
    weights = model.position @ np.stack([share, share], 1).astype(np.float32)
    return template.source_map(weights)[..., 0]
