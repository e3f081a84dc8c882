"""What every geometry editor answers, and the linear one (the GAN is in ``geometry/gan.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class GeometryEditor(Protocol):
    """Expression coefficients under an emotion.

    Attributes:
        speech: (468, 3) float32, landmark displacement when words open the lips by one model unit.
    """

    speech: np.ndarray

    def edit(self, identity: np.ndarray, expression: np.ndarray, code: np.ndarray, people: np.ndarray) -> np.ndarray:
        """Edited expression.

        Args:
            identity: (80,) coefficients of the clip.
            expression: (64,) coefficients of the frame.
            code: (7,) emotion code e (Eq. 2).
            people: (N,) weights of the training people, summing to 1 (Eq. 4).

        Returns:
            (64,) edited expression coefficients; equal to ``expression`` for a zero code. The lips' opening is not
            part of it: see ``opening``.
        """
        ...

    def opening(self, code: np.ndarray, people: np.ndarray) -> float:
        """How far the emotion would open the lips of a talking mouth, model units; negative closes them."""
        ...

    def rest(self, code: np.ndarray, people: np.ndarray) -> np.ndarray | None:
        """(468, 3) displacement of the landmarks beside the coefficients, model units; None where there is none."""
        ...


@dataclass(frozen=True)
class LinearGeometryEditor:
    """β′ = β + Σ_j e_j Σ_v p_v d_jv: directions of people mixed by the person weights (Eqs. 3-5 in expression space).

    Attributes:
        directions: (N, 7, 64) float32, emotional minus neutral at the strongest intensity and equal lip opening.
        openings: (N, 7) float32, change of the inner-lip gap, model units.
        speech: (468, 3) float32, landmark displacement when words open the lips by one model unit.
        beyond: (N, 7, 468, 3) float32, what the face model's expressions cannot hold of each direction; None on the
            model that the directions were learned with (see ``geometry/transfer.py``).
    """

    directions: np.ndarray
    openings: np.ndarray
    speech: np.ndarray
    beyond: np.ndarray | None = None

    def edit(self, identity: np.ndarray, expression: np.ndarray, code: np.ndarray, people: np.ndarray) -> np.ndarray:
        """See :class:`GeometryEditor`; identity and expression do not matter to a linear editor."""
        del identity
        return expression + np.einsum("n,j,njk->k", people, code, self.directions).astype(np.float32)

    def opening(self, code: np.ndarray, people: np.ndarray) -> float:
        """See :class:`GeometryEditor`."""
        return float(people @ self.openings @ code)

    def rest(self, code: np.ndarray, people: np.ndarray) -> np.ndarray | None:
        """See :class:`GeometryEditor`."""
        if self.beyond is None:
            return None
        return np.einsum("n,j,njlc->lc", people, code, self.beyond).astype(np.float32)
