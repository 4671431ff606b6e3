"""Readers for the files that pretrained parts come in; a hostile file cannot run code or fill the memory.

All return NumPy arrays as stored: no change of layout, names or range. Nothing here imports torch or OpenVINO.
"""

from diffcam_jax.formats.array_pickle import read_numpy_pickle
from diffcam_jax.formats.openvino_ir import read_openvino_ir
from diffcam_jax.formats.torch_checkpoint import read_torch

__all__ = ["read_numpy_pickle", "read_openvino_ir", "read_torch"]
