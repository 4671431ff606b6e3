"""`python edit.py` is the command diffcam-edit: see diffcam_jax/programs/edit.py."""

import sys

from diffcam_jax.programs.edit import command

if __name__ == "__main__":
    sys.exit(command())
