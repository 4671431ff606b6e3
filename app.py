"""`python app.py` is the command diffcam-app: see diffcam_jax/programs/app.py."""

import sys

from diffcam_jax.programs.app import command

if __name__ == "__main__":
    sys.exit(command())
