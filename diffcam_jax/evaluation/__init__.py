"""Every number of the papers, measured the same way for everyone.

`evaluate.py` runs the protocols of this package.
"""

# Name -> what it measures; each is a module of this package with `run(bench) -> list of report
# sections`.
PROTOCOLS = {
    "reconstruction": "how well each way of inverting finds a picture back (protocol of "
    "GANInverter)",
    "editing": "edited pictures against those that have the attribute by nature (StyleRes, SFE), "
    "and Diff-CAM's Table 1",
    "masks": "masks of Diff-CAM, Grad-CAM and CAM against the region that the attribute belongs to",
    "in_domain": "the two tables of In-Domain GAN Inversion, and how well codes keep attributes "
    "apart",
    "invertibility": "what the generator cannot draw of a photograph, and edits that keep it",
    "directions": "what each direction changes, and what it leaves alone",
}
