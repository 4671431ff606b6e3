"""`python invert.py` is the command diffcam-invert: see diffcam_jax/programs/invert.py."""

import sys

from diffcam_jax.programs.invert import command

if __name__ == "__main__":
    sys.exit(command())
