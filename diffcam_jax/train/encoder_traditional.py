"""The baseline of in-domain inversion: its encoder, trained on codes of generated pictures.

Source: Zhu et al., In-Domain GAN Inversion for Real Image Editing (2004.00049), section 3.1.
"""

import functools

from diffcam_jax.data import sources
from diffcam_jax.train import encoder
from diffcam_jax.train.encoder_indomain import at_moments, make_encoder

KIND = encoder.Kind(
    "encoder.py:traditional",
    frozenset({"released"}),
    make_encoder,
    absolute=True,
    initialised=at_moments,
)
make_source = sources.make_source
build = functools.partial(encoder.build, KIND)
