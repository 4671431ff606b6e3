"""Conversion of published checkpoints: `python -m convert_weights KIND --src X --dst DIR`."""
