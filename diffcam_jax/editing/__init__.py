"""Edits as pure functions of arrays: where (Diff-CAM), how they are blended, what is out of domain."""

from diffcam_jax.editing.edit import Edit, EditConfig, edit_batch

__all__ = ["Edit", "EditConfig", "edit_batch"]
