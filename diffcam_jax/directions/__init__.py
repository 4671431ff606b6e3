"""Semantic directions and other edits of W+: records, files, and sums of several.

`Edit` is what all have in common; a `Direction` is a linear one.
"""

from diffcam_jax.directions.edits import Edit, check_strengths
from diffcam_jax.directions.record import Direction, check_layers
from diffcam_jax.directions.storage import load_directions, save_directions
from diffcam_jax.directions.vectors import direction_matrix, from_vector, on_layers

__all__ = [
    "Direction",
    "Edit",
    "check_layers",
    "check_strengths",
    "direction_matrix",
    "from_vector",
    "load_directions",
    "on_layers",
    "save_directions",
]
