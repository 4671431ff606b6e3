"""`python -m convert_weights KIND --src X --dst DIR`: published checkpoints to this project's
safetensors.
"""
