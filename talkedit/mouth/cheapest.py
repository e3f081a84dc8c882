"""The cheapest way along a row of columns (Viterbi 1967)."""

from __future__ import annotations

import numpy as np


def cheapest_way(cost: np.ndarray, change: np.ndarray) -> np.ndarray:
    """(N,) int the place in each column that costs least together.

    Args:
        cost: (K, N) of each of K places in each column.
        change: (K, K) of going from one to another in the next column.
    """
    total, came = cost[:, 0], []
    for column in cost[:, 1:].T:
        step = total[:, None] + change
        came.append(step.argmin(0))
        total = step.min(0) + column
    at = [int(total.argmin())]
    for back in reversed(came):
        at.append(int(back[at[-1]]))
    return np.array(at[::-1])
