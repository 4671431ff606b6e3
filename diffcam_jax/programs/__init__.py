"""The programs: `diffcam-edit`, `diffcam-invert`, `diffcam-train`, `diffcam-evaluate`.

Each has a module of its name that reads from top to bottom as what happens; `edit.py` and the other
scripts of a checkout start the same code. What the modules beside them share:

    photographs    which photographs are asked for, which face, and which of them failed
    output         the output folder and its JSON files

Everything heavy is imported where it is used: help and mistakes on the command line appear at once.
"""
