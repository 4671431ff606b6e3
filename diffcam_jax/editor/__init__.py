"""Edits of photographs: `Editor`, and the way of one face through it."""

from diffcam_jax.editor.editor import PRODUCT_CONFIG, Editor
from diffcam_jax.editor.results import EditResult, FaceEdit

__all__ = ["PRODUCT_CONFIG", "EditResult", "Editor", "FaceEdit"]
