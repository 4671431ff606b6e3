"""`python evaluate.py` is the command diffcam-evaluate: see diffcam_jax/programs/evaluate.py."""

import sys

from diffcam_jax.programs.evaluate import command

if __name__ == "__main__":
    sys.exit(command())
