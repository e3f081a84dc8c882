"""A classifier of emotions on expression coefficients, to judge geometry edits with.

It learns from other people than the geometry GAN, and the GAN never sees it: a multinomial logistic regression on how
far a face lies from the same person's neutral, with what words do to the lips taken out. So may be what the tracker's
mesh does to nose, cheeks and jaw (see `talkedit.geometry.skull`): real faces' codes have it, no edit takes it over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from talkedit.emotions import NEUTRAL
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.gan import ID, TARGETS
from talkedit.geometry.holds import Holds
from talkedit.geometry.openings import Openings
from talkedit.reconstruct.fit import Fitter
from talkedit.train.codes import Codes

DECAY = 0.0003
ROUNDS = 400
# Faces that show less than this of their label's emotion teach nothing.
SHOWN = 0.3


@dataclass(frozen=True)
class ExpressionReader:
    """Attributes: ``weight`` (8, 64) and ``bias`` (8,) over ``TARGETS``, for expressions of the open model."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, expression: np.ndarray, neutral: np.ndarray) -> np.ndarray:
        """(..., 8) probabilities of ``TARGETS`` for (..., 64) expressions beside (64,) or (..., 64) neutral ones."""
        logits = (expression - neutral) @ self.weight.T + self.bias
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return odds / odds.sum(-1, keepdims=True)


def neutral_of(codes: Codes) -> np.ndarray:
    """(N, 64) mean neutral expression of each face's person."""
    means = {p: codes.condition[p][:, ID:].mean(0) for p in np.unique(codes.person)}
    return np.stack([means[p] for p in codes.person])


def held_expressions(model: FaceModel) -> np.ndarray:
    """(64, 64) matrix H: ``H @ expression`` is what is left of it when bone is held and brows move in one piece."""
    mean, fitter = model.at_landmarks(model.mean), Fitter(model)
    distances, basis = Openings(mean).distances, np.moveaxis(model.at_landmarks(model.exp_basis), 2, 0)
    moved = Holds(mean, distances)(basis)
    rest = fitter.expression(mean)
    return np.stack([fitter.expression((mean + m).astype(np.float32)) - rest for m in moved], 1)


def train_reader(codes: Codes, held: np.ndarray | None = None) -> ExpressionReader:
    """Fits the classifier; every emotion weighs alike, and within one every actor or crowd.

    Args:
        codes: real faces.
        held: see :func:`held_expressions`; None reads expressions as they are.
    """
    taught = (codes.amount >= SHOWN) | (codes.label == TARGETS.index(NEUTRAL))
    seen = codes.projection.T * codes.scale[ID:]
    if held is not None:
        seen = held.T @ seen
    away = ((codes.code[:, ID:] - neutral_of(codes)) @ seen)[taught]
    label = codes.label[taught]
    cell = label * len(codes.groups) + codes.group[taught]
    share = 1 / np.bincount(cell)[cell]
    share /= np.bincount(label, share)[label]
    x, w = (torch.from_numpy(np.asarray(a, np.float32)) for a in (away, share / share.sum()))
    y = torch.from_numpy(label)
    weight = torch.zeros(len(TARGETS), x.shape[1], requires_grad=True)
    bias = torch.zeros(len(TARGETS), requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], 0.05)
    for _ in range(ROUNDS):
        optimiser.zero_grad()
        wrong = functional.cross_entropy(x @ weight.T + bias, y, reduction="none")
        ((w * wrong).sum() + DECAY * weight.square().sum()).backward()
        optimiser.step()
    return ExpressionReader(weight.detach().numpy() @ seen.T, bias.detach().numpy())
