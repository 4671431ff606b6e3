"""What networks agree on; without JAX, for programs that need the numbers only."""

# StyleGAN2 at 1024x1024 has 18 rows; generators with fewer layers ignore the last rows.
WPLUS_ROWS = 18

# Face parsing: the classes of CelebAMask-HQ, in the order of `bisenet.BiSeNet`'s logits.
CLASSES = (
    "background",
    "skin",
    "left_brow",
    "right_brow",
    "left_eye",
    "right_eye",
    "eyeglasses",
    "left_ear",
    "right_ear",
    "earring",
    "nose",
    "mouth",
    "upper_lip",
    "lower_lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)
