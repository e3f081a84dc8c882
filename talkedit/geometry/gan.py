"""The geometry GAN of the paper's section 3.2: G(s, ê, s_r) and D(s, s_r), multilayer perceptrons on coefficients.

A code s is 80 identity and 64 expression coefficients; s_r is a neutral code of the same person, the condition that
keeps G from drifting to somebody else's way of showing an emotion.

Differences from the paper, all by construction. G adds to s a sum of moves, one a target, each weighted by how much of
that target is asked for: G(s, 0, s_r) = s exactly, intensity is continuous and monotonic, and mixes add up. Each move
is a direction learned from few actors and a crowd plus a residual that depends on s and s_r. Identity coefficients
pass through. What words do to the lips is projected out of what the networks see and of what G adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from talkedit.emotions import EMOTIONS, NEUTRAL

ID, EXP = 80, 64
TARGETS = (*EMOTIONS, NEUTRAL)
"""What G can move towards; neutral takes the present emotion out."""


def speech_projection(gap: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(64, 64) matrix P: ``P @ expression`` has no lip opening of its own, the rest of the face at rest.

    Args:
        gap: (64,) change of the inner-lip gap by each coefficient.
        words: (64,) expression that words open the lips with.

    Returns:
        The oblique projection that moves along ``words`` until the gap is that of the mean face.
    """
    return (np.eye(len(gap)) - np.outer(words, gap) / (gap @ words)).astype(np.float32)


def visible_scale(id_basis: np.ndarray, exp_basis: np.ndarray) -> np.ndarray:
    """(144,) how far one unit of each coefficient moves the face, over what the strongest of its kind does.

    Coefficients have unit variance, but the last of them move nothing that one could see: unscaled, a network would
    tell a few actors apart by them and learn nothing about emotions.

    Args:
        id_basis: (V, 3, 80).
        exp_basis: (V, 3, 64).
    """
    moved = [np.linalg.norm(basis.reshape(-1, basis.shape[2]), axis=0) for basis in (id_basis, exp_basis)]
    return np.concatenate([m / m.max() for m in moved]).astype(np.float32)


def neutral_code(identity: np.ndarray, expressions: np.ndarray, share: float = 0.25) -> np.ndarray:
    """(144,) s_r of a clip: its identity (80,), and the mean of the (N, 64) expressions nearest to rest.

    Args:
        share: of the expressions that the mean is taken over.
    """
    size = np.linalg.norm(expressions, axis=1)
    nearest = np.argsort(size)[: max(1, round(share * len(size)))]
    return np.r_[identity, expressions[nearest].mean(0)].astype(np.float32)


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


class _Inputs(nn.Module):
    """What both networks see: how the code differs from its condition, and the condition; speech-free and scaled.

    Args:
        projection: (64, 64) see :func:`speech_projection`.
        scale: (144,) factors, see :func:`visible_scale`.
    """

    def __init__(self, projection: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("projection", projection)
        self.register_buffer("scale", scale)

    def forward(self, code: Tensor, neutral: Tensor) -> Tensor:
        """(B, 288) from (B, 144) codes and conditions."""
        both = torch.stack([code - neutral, neutral])
        quiet = torch.cat([both[..., :ID], both[..., ID:] @ self.projection.T], 2) * self.scale
        return torch.cat(quiet.unbind(), 1)


class Generator(nn.Module):
    """G(s, ê, s_r).

    Args:
        directions: (8, 64) what each target adds to a neutral face, in the order of ``TARGETS``.
        projection: (64, 64) see :func:`speech_projection`.
        scale: (144,) see :func:`visible_scale`.
        width: of the hidden layers.
        condition: False leaves s_r out (an ablation).
    """

    def __init__(
        self, directions: Tensor, projection: Tensor, scale: Tensor, width: int = 128, condition: bool = True
    ) -> None:
        super().__init__()
        self.inputs = _Inputs(projection, scale)
        self.register_buffer("directions", directions)
        self.register_buffer("condition", torch.tensor(float(condition)))
        self.residual = _perceptron(2 * (ID + EXP), width, len(TARGETS) * EXP)
        # Training starts from the directions themselves.
        nn.init.zeros_(self.residual[-1].weight)
        nn.init.zeros_(self.residual[-1].bias)

    def moves(self, code: Tensor, neutral: Tensor) -> Tensor:
        """(B, 8, 64) what each target would add to the expression of (B, 144) codes at full strength."""
        seen = self.inputs(code, neutral * self.condition)
        raw = self.directions + self.residual(seen).unflatten(1, (len(TARGETS), EXP))
        return raw @ self.inputs.projection.T

    def forward(self, code: Tensor, target: Tensor, neutral: Tensor) -> Tensor:
        """Edited codes.

        Args:
            code: (B, 144) s.
            target: (B, 8) weights of ``TARGETS``; a sum of 1 leaves nothing of the source's own emotion.
            neutral: (B, 144) s_r.

        Returns:
            (B, 144); the identity part is that of ``code``.
        """
        change = torch.einsum("bk,bkc->bc", target, self.moves(code, neutral))
        return torch.cat([code[:, :ID], code[:, ID:] + change], 1)


class Discriminator(nn.Module):
    """D(s, s_r): how real a code looks beside a neutral code of the same person, and which emotion it shows.

    Args: as of :class:`Generator`.
    """

    def __init__(self, projection: Tensor, scale: Tensor, width: int = 128, condition: bool = True) -> None:
        super().__init__()
        self.inputs = _Inputs(projection, scale)
        self.register_buffer("condition", torch.tensor(float(condition)))
        self.body = _perceptron(2 * (ID + EXP), width, 1 + len(EMOTIONS))

    def forward(self, code: Tensor, neutral: Tensor) -> tuple[Tensor, Tensor]:
        """((B,) critic score D_c, (B, 7) emotion code D_e) of (B, 144) codes and conditions."""
        out = self.body(self.inputs(code, neutral * self.condition))
        return out[:, 0], out[:, 1:]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: on busy cores, waiting for the others costs far more than these small products."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class GanGeometryEditor:
    """The trained generator behind :class:`talkedit.geometry.editor.GeometryEditor`, for one speaker.

    Attributes:
        generator: the network, in evaluation mode.
        reach: (8,) by how much moves are scaled up: the tracker follows faces only part of the way.
        openings: (7,) change of the inner-lip gap, model units.
        speech: (468, 3) landmark displacement when words open the lips by one model unit.
        neutral: (144,) the speaker's own neutral code s_r; zeros, the mean face, until it is known.
    """

    generator: Generator
    reach: np.ndarray
    openings: np.ndarray
    speech: np.ndarray
    neutral: np.ndarray

    def of(self, neutral: np.ndarray) -> GanGeometryEditor:
        """The editor of a speaker whose (144,) neutral code is ``neutral``."""
        return replace(self, neutral=neutral)

    def edit(self, identity: np.ndarray, expression: np.ndarray, code: np.ndarray, people: np.ndarray) -> np.ndarray:
        """See :class:`talkedit.geometry.editor.GeometryEditor`; the condition takes the place of the people."""
        del people
        source, neutral = (torch.from_numpy(np.asarray(x, np.float32)[None]) for x in (
            np.r_[identity, expression], self.neutral))  # fmt: skip
        weights = np.zeros(len(TARGETS), np.float32)
        weights[: len(code)] = code
        target = torch.from_numpy((weights * self.reach)[None])
        with torch.no_grad(), _one_thread():
            return self.generator(source, target, neutral)[0, ID:].numpy()

    def opening(self, code: np.ndarray, people: np.ndarray) -> float:
        """See :class:`talkedit.geometry.editor.GeometryEditor`."""
        del people
        return float(self.openings @ code[: len(EMOTIONS)])

    def rest(self, code: np.ndarray, people: np.ndarray) -> np.ndarray | None:
        """See :class:`talkedit.geometry.editor.GeometryEditor`; the open model needs nothing beside it."""
        del code, people
        return None
