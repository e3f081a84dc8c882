"""Index sets of the MediaPipe face mesh (478 landmarks; 468 without the irises).

Left and right are the person's own. The indices are facts of the topology; the triangles are read from the installed
package, which lists them in order in ``face_mesh_connections.py``.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

LANDMARKS = 468  # without the irises
# Rings around the mouth, (4, 9) of either lip: from the inner edge to the outer one, corner to corner.
UPPER_LIP_RINGS = np.array(
    [
        [191, 80, 81, 82, 13, 312, 311, 310, 415],
        [183, 42, 41, 38, 12, 268, 271, 272, 407],
        [184, 74, 73, 72, 11, 302, 303, 304, 408],
        [185, 40, 39, 37, 0, 267, 269, 270, 409],
    ]
)
LOWER_LIP_RINGS = np.array(
    [
        [95, 88, 178, 87, 14, 317, 402, 318, 324],
        [96, 89, 179, 86, 15, 316, 403, 319, 325],
        [77, 90, 180, 85, 16, 315, 404, 320, 307],
        [146, 91, 181, 84, 17, 314, 405, 321, 375],
    ]
)
# Inner-lip pairs (upper, lower) from corner to corner.
LIP_PAIRS = np.stack([UPPER_LIP_RINGS[0], LOWER_LIP_RINGS[0]], axis=1)
# The lower lip's outer edge, the skin under it, and what lies below that, from side to side.
UNDER_LIP = np.array(
    [
        LOWER_LIP_RINGS[-1, 1:-1],
        [106, 182, 83, 18, 313, 406, 335],
        [204, 194, 201, 200, 421, 418, 424],
    ]
)
# The upper edge of the brows, the lower forehead and the upper one, right and left.
OVER_BROWS = np.array(
    [
        [70, 63, 105, 66, 107, 336, 296, 334, 293, 300],
        [71, 68, 104, 69, 108, 337, 299, 333, 298, 301],
        [21, 54, 103, 67, 109, 338, 297, 332, 284, 251],
    ]
)
LIP_CORNERS_INNER = np.array([78, 308])
LIP_CORNERS_OUTER = np.array([61, 291])
INNER_LIPS = np.array(
    [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
)  # fmt: skip
OUTER_LIPS = np.array(
    [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
)  # fmt: skip
# Lid rings: from the outer corner over the upper lid to the inner corner, back under the lower lid.
RIGHT_EYE = np.array([33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7])
LEFT_EYE = np.array([263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249])
# Middle of each iris, and its rim: two opposite points to the sides, two above and below.
IRISES = np.array([[468, 469, 470, 471, 472], [473, 474, 475, 476, 477]])
RIGHT_BROW = np.array([70, 63, 105, 66, 107, 55, 65, 52, 53, 46])
LEFT_BROW = np.array([300, 293, 334, 296, 336, 285, 295, 282, 283, 276])
FACE_OVAL = np.array(
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
     152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)  # fmt: skip
# Points that expression and speech hardly move: nose bridge, temples, cheek sides, eye corners.
STABLE = np.array([6, 168, 197, 195, 5, 4, 127, 356, 234, 454, 33, 263, 133, 362, 8, 9, 162, 389, 93, 323])
# iBUG 68 order, 0-based, on the MediaPipe mesh (jaw, brows, nose, eyes, outer lips, inner lips).
IBUG68 = np.array(
    [162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
     71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
     168, 197, 5, 4, 75, 97, 2, 326, 305,
     33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
     61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
     78, 82, 13, 312, 308, 317, 14, 87]
)  # fmt: skip


@lru_cache(maxsize=1)
def tessellation() -> np.ndarray:
    """(852, 3) int32 triangles over 468 landmarks, parsed from mediapipe's source text.

    Three consecutive edges of the list are one oriented triangle. The text is parsed, not imported, so that the order
    of the literal survives (at run time it is a frozenset).

    Raises:
        ImportError: mediapipe is not installed.
    """
    spec = find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("mediapipe is not installed")
    path = Path(spec.submodule_search_locations[0]) / "python/solutions/face_mesh_connections.py"
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "FACEMESH_TESSELATION":  # type: ignore[attr-defined]
            edges = np.array(ast.literal_eval(node.value.args[0]))  # type: ignore[attr-defined]
            return edges.reshape(-1, 3, 2)[:, :, 0].astype(np.int32)
    raise ImportError(f"no tessellation in {path}")
