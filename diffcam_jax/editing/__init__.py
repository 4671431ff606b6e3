"""Edits as pure functions of arrays: where they act, how they are blended, what is kept."""

from diffcam_jax.editing.edit import Edit, EditConfig, edit_batch

__all__ = ["Edit", "EditConfig", "edit_batch"]
