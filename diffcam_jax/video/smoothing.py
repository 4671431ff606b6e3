"""Paths of crops without jitter and without lag.

A crop is a similarity: centre, logarithm of its side, and angle. Each of the four moves at a nearly
constant velocity and is measured with noise; what a Kalman filter makes of the frames before and of
those after (Rauch, Tung and Striebel, 1965) follows a moving head without trailing behind it, and
bridges frames in which the face was not found.
"""

import numpy as np
from jaxtyping import Bool, Float

Path = Float[np.ndarray, "n 4"]

# Standard deviation of a measured corner, and of the change of velocity from frame to frame, both
# relative to the crop's side: landmarks tremble by half a percent, heads accelerate by less.
NOISE, ACCELERATION = 0.006, 0.002


def parameters(quads: Float[np.ndarray, "n 4 2"]) -> Path:
    """Centre x and y in pixels, logarithm of the side, and angle in radians of squares.

    Args:
        quads: corners as `faces.align` gives them: top left, bottom left, bottom right, top right.
    """
    centre = quads.mean(1)
    x = (quads[:, 2] + quads[:, 3] - quads[:, 0] - quads[:, 1]) / 2
    angle = np.unwrap(np.arctan2(x[:, 1], x[:, 0]))
    return np.column_stack([centre, np.log(np.hypot(*x.T)), angle])


def quads(path: Path) -> Float[np.ndarray, "n 4 2"]:
    """The squares of parameters."""
    half = np.exp(path[:, 2:3]) / 2
    x = half * np.column_stack([np.cos(path[:, 3]), np.sin(path[:, 3])])
    y = np.column_stack([-x[:, 1], x[:, 0]])
    centre = path[:, :2]
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y], 1)


def smooth(path: Path, seen: Bool[np.ndarray, " n"]) -> Path:
    """The path that most likely lies behind what was measured.

    Args:
        path: measured parameters; rows that were not seen are ignored.
        seen: which rows were measured; the first one was.
    """
    side = np.exp(np.median(path[seen, 2]))
    scale = np.array([side, side, 1.0, 1.0])
    measured = path / scale
    return scale * np.column_stack([_smoothed(column, seen) for column in measured.T])


def _smoothed(values: Float[np.ndarray, " n"], seen: np.ndarray) -> Float[np.ndarray, " n"]:
    """Forward and backward pass for position and velocity of one parameter."""
    step = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = ACCELERATION**2 * np.array([[0.25, 0.5], [0.5, 1.0]])
    count = len(values)
    states, spreads = np.zeros((count, 2)), np.zeros((count, 2, 2))
    expected, unsure = np.zeros((count, 2)), np.zeros((count, 2, 2))
    state, spread = np.array([values[0], 0.0]), np.diag([NOISE**2, (10 * ACCELERATION) ** 2])
    for i in range(count):
        if i:
            state, spread = step @ state, step @ spread @ step.T + noise
        expected[i], unsure[i] = state, spread
        if seen[i]:
            gain = spread[:, 0] / (spread[0, 0] + NOISE**2)
            state = state + gain * (values[i] - state[0])
            spread = spread - np.outer(gain, spread[0])
        states[i], spreads[i] = state, spread
    for i in range(count - 2, -1, -1):
        gain = spreads[i] @ step.T @ np.linalg.inv(unsure[i + 1])
        states[i] = states[i] + gain @ (states[i + 1] - expected[i + 1])
    return states[:, 0]
