"""Fields that every configuration of evaluate.py has; the others add those of their protocols.

Networks: "" is the embedded one where there is one, else a folder of `python -m convert_weights` or
of a run of train.py. Sources of pictures: photographs (11 of FFHQ), public_domain (2), generated:N
(N faces by seed), folder[:N] (config.folder), prepared[:N] (config.prepared), toy:N.
"""

from ml_collections import ConfigDict

from configs.base import check_mode


def base(name: str, mode: str) -> ConfigDict:
    """Creates a configuration with the common fields.

    Args:
        name: of the configuration; its protocol, too.
        mode: "", or "debug" for toy networks without any file.
    """
    check_mode(mode, "debug")
    debug = mode == "debug"
    config = ConfigDict()
    config.name = name
    config.protocols = (name,)
    config.seed = 0
    config.devices = 0  # all

    config.generator = "toy" if debug else ""
    config.generator_class = ""  # number of the class that a conditional generator draws
    config.encoder = ""
    config.classifier = ""
    config.deghoster = ""
    config.aligner = ""
    config.directions = ""
    config.arcface = ""  # folder of converted ArcFace weights for ID; "" takes SFace

    config.folder = ""
    config.prepared = ""
    config.psi = 0.8  # truncation of generated faces
    config.size = 0  # of the pictures; 0 is the generator's own side
    config.inversion_steps = 2 if debug else 0  # of optimisation; 0 is each method's own number

    config.pairs = (
        ("mse", "psnr", "ssim") if debug else ("mse", "psnr", "ssim", "lpips_vgg", "identity")
    )
    config.features = "thumbnail" if debug else "inception"
    config.judge = "channels" if debug else "faces"
    config.bootstrap = 50 if debug else 2000  # resamples of a confidence interval; 0 gives none
    return config
