"""Basel Face Model 2009 with FaceWarehouse expressions: the files users get from the licence holders.

``01_MorphableModel.mat`` and ``Exp_Pca.bin`` with the index files of Deep3DFaceRecon become the front model of 35,709
vertices that the field calls ``BFM_model_front.mat``. Formats, units and 1-based indices as in Deep3DFaceRecon
(Deng et al. 2019; expressions of Guo et al. 2018). Only plain numeric arrays are read; nothing in a file is executed.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat, whosmat
from scipy.io.matlab import MatReadError

from talkedit.errors import InputError

VERTICES, TRIANGLES = 35709, 70789
FULL, TRIMMED = 53490, 53215  # vertices of the scanned model and of the expression model
ID, EXP, TEX = 80, 64, 80
MICROMETRES = 1e5  # in a decimetre
FRONT_MODEL = "BFM_model_front.mat"
SCANNED_MODEL = "01_MorphableModel.mat"
EXPRESSIONS = "Exp_Pca.bin"
DEVIATIONS = "std_exp.txt"
_TOPOLOGY = {"tri": (TRIANGLES, 3), "point_buf": (VERTICES, 8), "tri_mask2": (None, 3), "keypoints": (1, 68),
             "frontmask2_idx": (None, 1), "skinmask": (1, VERTICES)}  # fmt: skip
# File: key: shape, None where any length is right.
ARRAYS: dict[str, dict[str, tuple[int | None, int | None]]] = {
    SCANNED_MODEL: {"shapePC": (3 * FULL, None), "shapeEV": (None, 1), "shapeMU": (3 * FULL, 1),
                    "texPC": (3 * FULL, None), "texEV": (None, 1), "texMU": (3 * FULL, 1)},
    FRONT_MODEL: {"meanshape": (1, 3 * VERTICES), "meantex": (1, 3 * VERTICES), "idBase": (3 * VERTICES, ID),
                  "exBase": (3 * VERTICES, EXP), "texBase": (3 * VERTICES, TEX), **_TOPOLOGY},
    "BFM_exp_idx.mat": {"trimIndex": (TRIMMED, 1)},
    "BFM_front_idx.mat": {"idx": (VERTICES, 1)},
    "facemodel_info.mat": _TOPOLOGY,
    "select_vertex_id.mat": {"select_id": (VERTICES, 1)},
    "similarity_Lm3D_all.mat": {"lm": (68, 3)},
}  # fmt: skip
_UNREADABLE = (
    MatReadError,
    ValueError,
    TypeError,
    OSError,
    EOFError,
    LookupError,
    MemoryError,
    struct.error,
    zlib.error,
)
_NUMERIC = {"double", "single", "logical", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}


def check_file(path: Path) -> str:
    """What is wrong with one of the files, in a sentence; empty if it is right.

    Args:
        path: a file whose name is in ``ARRAYS``, or ``Exp_Pca.bin``, or ``std_exp.txt``; anything else is right.
    """
    try:
        if path.name == EXPRESSIONS:
            _expression_count(path)
        elif path.name == DEVIATIONS:
            read_deviations(path)
        elif path.name in ARRAYS:
            _check_arrays(path)
    except InputError as error:
        return str(error)
    return ""


def _check_arrays(path: Path) -> None:
    found = {name: (shape, kind) for name, shape, kind in _mat(whosmat, path)}
    for name, expected in ARRAYS[path.name].items():
        if name not in found:
            raise InputError(f"{path.name} has no array '{name}'")
        shape, kind = found[name]
        if kind not in _NUMERIC:
            raise InputError(f"'{name}' in {path.name} holds {kind}, not numbers")
        if len(shape) != 2 or any(e is not None and e != s for e, s in zip(expected, shape, strict=True)):
            wanted = " x ".join("any" if e is None else str(e) for e in expected)
            raise InputError(f"'{name}' in {path.name} is {' x '.join(map(str, shape))}, not {wanted}")


def _mat(read, path: Path, **options):
    """Calls a SciPy reader; what it cannot read becomes one sentence."""
    try:
        return read(str(path), **options)
    except NotImplementedError:
        raise InputError(f"{path.name} is in MATLAB's v7.3 format; save it again with '-v7'") from None
    except FileNotFoundError:
        raise InputError(f"the file '{path}' is missing") from None
    except _UNREADABLE as error:
        raise InputError(f"{path.name} cannot be read as a MATLAB file ({error})") from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The numeric arrays of a file in ``ARRAYS``, as stored (indices 1-based).

    Raises:
        InputError: missing, damaged, or other arrays than it should hold.
    """
    _check_arrays(path)
    arrays = _mat(loadmat, path, variable_names=list(ARRAYS[path.name]))
    return {name: arrays[name] for name in ARRAYS[path.name]}


def read_deviations(path: Path) -> np.ndarray:
    """(K,) standard deviations of the expression components.

    Raises:
        InputError: missing, not numbers, or fewer than 64.
    """
    try:
        values = np.array(path.read_text(encoding="ascii").split(), np.float64)
    except FileNotFoundError:
        raise InputError(f"the file '{path}' is missing") from None
    except (OSError, ValueError):
        raise InputError(f"{path.name} does not hold numbers") from None
    if len(values) < EXP:
        raise InputError(f"{path.name} holds {len(values)} numbers, not at least {EXP}")
    return values


def _expression_count(path: Path) -> int:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError:
        raise InputError(f"the file '{path}' is missing") from None
    count = int(np.frombuffer(head, "<i4")[0]) if len(head) == 4 else -1
    expected = 4 + 4 * 3 * TRIMMED * (1 + count)
    if count < EXP or size != expected:
        raise InputError(f"{path.name} does not hold at least {EXP} expression components of {TRIMMED} vertices")
    return count


def read_expressions(path: Path) -> np.ndarray:
    """(K, 159645) float32 expression components, unscaled; the mean expression that precedes them is not used.

    Raises:
        InputError: missing, or not of the right size.
    """
    count = _expression_count(path)
    values = np.fromfile(path, "<f4", offset=4 + 4 * 3 * TRIMMED)
    return values.reshape(count, 3 * TRIMMED)


def build_front_model(folder: Path, index_folder: Path | None = None) -> dict[str, np.ndarray]:
    """The arrays of ``BFM_model_front.mat`` from the scanned model, the expressions and the index files.

    Args:
        folder: with ``01_MorphableModel.mat``, ``Exp_Pca.bin`` and, if ``index_folder`` is not given, the rest.
        index_folder: with the files that travel with Deep3DFaceRecon.

    Returns:
        meanshape (1, 107127) decimetres, meantex (1, 107127) 0..255, idBase, exBase and texBase (107127, 80 / 64 / 80)
        for unit-variance coefficients, and the topology with its 1-based indices as stored.

    Raises:
        InputError: a file is missing or not what it should be.
    """
    index_folder = index_folder or folder
    info = read_arrays(index_folder / "facemodel_info.mat")
    trimmed = _indices(read_arrays(index_folder / "BFM_front_idx.mat")["idx"], TRIMMED, "BFM_front_idx.mat")
    full = _indices(read_arrays(index_folder / "BFM_exp_idx.mat")["trimIndex"], FULL, "BFM_exp_idx.mat")[trimmed]
    deviations = read_deviations(index_folder / DEVIATIONS)
    expressions = read_expressions(folder / EXPRESSIONS)[:EXP]
    scanned = read_arrays(folder / SCANNED_MODEL)

    def components(kind: str, count: int) -> np.ndarray:
        basis, scale = scanned[f"{kind}PC"], scanned[f"{kind}EV"].reshape(-1)
        if min(basis.shape[1], len(scale)) < count:
            raise InputError(f"'{kind}PC' in {SCANNED_MODEL} has fewer than {count} components")
        chosen = basis[:, :count].reshape(FULL, 3, count)[full]
        return (chosen * scale[:count]).reshape(3 * VERTICES, count)

    moves = expressions.reshape(EXP, TRIMMED, 3)[:, trimmed].reshape(EXP, -1).T * deviations[:EXP]
    return {
        "meanshape": scanned["shapeMU"].reshape(FULL, 3)[full].reshape(1, -1) / MICROMETRES,
        "meantex": scanned["texMU"].reshape(FULL, 3)[full].reshape(1, -1),
        "idBase": components("shape", ID) / MICROMETRES,
        "exBase": moves / MICROMETRES,
        "texBase": components("tex", TEX),
        **info,
    }


def write_front_model(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes ``BFM_model_front.mat`` with the keys of Deep3DFaceRecon."""
    partial = path.with_name(f".{path.stem}.partial.mat")
    try:
        savemat(str(partial), arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _indices(values: np.ndarray, count: int, name: str) -> np.ndarray:
    """0-based int64 from 1-based indices of any numeric type."""
    out = values.reshape(-1).astype(np.int64) - 1
    if out.min() < 0 or out.max() >= count:
        raise InputError(f"{name} points outside 1..{count}")
    return out


def mesh_of(front: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Front model arrays as the face model wants them.

    Returns:
        mean (V, 3) centred on its centroid, id_basis, exp_basis, tex_basis (V, 3, K), tex_mean (V, 3) 0..1, triangles
        (F, 3) and keypoints (68,) 0-based.

    Raises:
        InputError: an index points outside the mesh.
    """

    def basis(name: str) -> np.ndarray:
        return front[name].reshape(VERTICES, 3, -1).astype(np.float32)

    mean = front["meanshape"].reshape(VERTICES, 3).astype(np.float64)
    return {
        "mean": (mean - mean.mean(0)).astype(np.float32),
        "id_basis": basis("idBase"),
        "exp_basis": basis("exBase"),
        "tex_mean": (front["meantex"].reshape(VERTICES, 3) / 255).astype(np.float32),
        "tex_basis": basis("texBase") / np.float32(255),
        "triangles": _indices(front["tri"], VERTICES, "tri").reshape(-1, 3).astype(np.int32),
        "keypoints": _indices(front["keypoints"], VERTICES, "keypoints").astype(np.int32),
    }
