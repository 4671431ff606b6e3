"""Readers for the files that pretrained parts come in; a hostile file cannot run code.

They bound what they allocate by the size of the file. All return NumPy arrays as stored: layout,
names and ranges are not changed. Nothing here imports torch or OpenVINO.
"""

from diffcam_jax.formats.array_pickle import read_numpy_pickle
from diffcam_jax.formats.checkpoint import read_checkpoint
from diffcam_jax.formats.numpy_arrays import read_npy, read_npz
from diffcam_jax.formats.onnx import read_onnx
from diffcam_jax.formats.openvino_ir import read_openvino_ir
from diffcam_jax.formats.torch_checkpoint import read_torch
from diffcam_jax.formats.torchscript import read_torchscript

__all__ = [
    "read_checkpoint",
    "read_npy",
    "read_npz",
    "read_numpy_pickle",
    "read_onnx",
    "read_openvino_ir",
    "read_torch",
    "read_torchscript",
]
