"""Trained directions on another face model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from talkedit import resources
from talkedit.checkpoint import load_linear
from talkedit.emotions import EMOTIONS
from talkedit.facemodel.load import load_template
from talkedit.geometry.transfer import shape_in_frame, transfer


def test_directions_are_the_same_displacements_on_another_model() -> None:
    source = load_template()
    editor = load_linear(resources.find("checkpoints", "linear_editor.safetensors")).geometry
    # Another model: half the expressions, twice the size, turned a quarter about y, other vertices.
    turn = np.array([[0, 0, -1.0], [0, 1, 0], [1, 0, 0]], np.float32)
    order = np.random.default_rng(0).permutation(468)
    target = replace(
        source,
        mean=2 * source.mean[:468][order] @ turn,
        exp_basis=np.einsum("vck,cd->vdk", 2 * source.exp_basis[:468][order][..., ::2], turn).astype(np.float32),
        landmarks=sparse.eye_array(468, format="csr", dtype=np.float32)[np.argsort(order)],
    )
    np.testing.assert_allclose(target.at_landmarks(target.mean), 2 * source.mean[:468] @ turn, atol=1e-6)
    np.testing.assert_allclose(shape_in_frame(source, target), 2 * source.mean[:468] @ turn, atol=1e-5)
    moved = transfer(editor, source, target)
    people = np.random.default_rng(1).dirichlet(np.ones(len(editor.directions))).astype(np.float32)
    nothing = np.zeros(32, np.float32)
    for k in range(len(EMOTIONS)):
        code = np.zeros(7, np.float32)
        code[k] = 0.8
        beta = moved.edit(np.zeros(80), nothing, code, people)
        rest = moved.rest(code, people)
        theirs = target.at_landmarks(target.exp_basis) @ beta + rest
        ours = source.at_landmarks(source.exp_basis) @ editor.edit(np.zeros(80), np.zeros(64), code, people)
        np.testing.assert_allclose(theirs, 2 * ours @ turn, atol=1e-5)
        # The model's own expressions carry what they can.
        held = target.at_landmarks(target.exp_basis).reshape(-1, 32)
        best = np.linalg.lstsq(held, theirs.reshape(-1), rcond=None)[1]
        assert np.linalg.norm(rest) ** 2 < 1.1 * float(best[0]) + 1e-3
        assert np.isclose(moved.opening(code, people), 2 * editor.opening(code, people), atol=1e-6)
    np.testing.assert_allclose(moved.speech, editor.speech @ turn, atol=1e-6)
    zero = np.zeros(7, np.float32)
    assert not moved.rest(zero, people).any() and not moved.edit(np.zeros(80), nothing, zero, people).any()


def test_on_its_own_model_almost_nothing_is_left_beside_the_coefficients() -> None:
    source = load_template()
    editor = load_linear(resources.find("checkpoints", "linear_editor.safetensors")).geometry
    moved = transfer(editor, source, source)
    displacement = np.einsum("lck,njk->njlc", source.at_landmarks(source.exp_basis), editor.directions)
    assert np.linalg.norm(moved.beyond) < 0.02 * np.linalg.norm(displacement)
    assert editor.rest(np.ones(7, np.float32), np.ones(len(editor.directions), np.float32)) is None
