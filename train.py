"""`python train.py` is the command diffcam-train: see diffcam_jax/programs/train.py."""

import sys

from diffcam_jax.programs.train import command

if __name__ == "__main__":
    sys.exit(command())
