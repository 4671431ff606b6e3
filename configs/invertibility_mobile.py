r"""Alignment network of the embedded generator and encoder: what the generator cannot draw.

    python -m diffcam_jax.data draw --name drawn512 --count 2200 --size 512 --mixing 0.4 \
        --seed 12 --test-share 0.03
    python train.py --config configs/invertibility_mobile.py --workdir RUN
    python edit.py PHOTO --attribute smiling=1 --method both --aligner RUN

Faces are the generator's with objects pasted in front, so the mask is known; the evaluation pastes
hands, caps and microphones, which training never shows. Use a seed other than that of the encoder's
faces, which the encoder reconstructs too well, and retrain after another encoder.

Source: 2212.09262; the loss of known masks is this project's.
Expected: IoU with held-out objects 0.67 after 2,540 steps, two hours on a core; 0.8 M parameters.
"""

from ml_collections import ConfigDict

from configs.base import base, check_mode, pictures, shrink


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, "debug")
    config = base(
        "invertibility_mobile" + (f"_{mode}" if mode else ""),
        "invertibility",
        steps=2540,
        batch_size=4,
        accumulate=4,  # one picture at a time: 9 GB at 256 pixels
        log_every=10,
        sample_every=200,
        eval_every=200,
        eval_size=30,
        checkpoint_every=50,
    )
    config.generator = ""  # the embedded one
    config.encoder = ""  # the shipped one
    config.directions = ""  # the shipped ones
    config.identity = ""  # folder with ArcFace; "" takes the embedded SFace instead
    config.perceptual = ""  # folder with VGG19; "" takes the embedded VGG16 instead

    config.data = pictures("prepared", 512, name="drawn512", flip=False)
    config.data.masks = True
    config.data.photographic = ConfigDict(
        {"objects": 0.9, "largest": 0.6, "compound": 0.3, "skin": 0.3, "fine": 0.4, "round": 0.5}
    )

    config.model = ConfigDict()
    config.model.multiplier = 0.125
    config.model.cycles = 2
    config.model.scale = 0.08
    config.model.align_corners = True
    config.model.normalised = False
    config.model.pyramid = 64

    # First step, finest level, and side of the pictures: small ones are many times cheaper.
    config.stages = ((0, 64, 64), (2300, 128, 128), (2460, 256, 256))
    # Faces whose features initialise the aligner by canonical correlation; 0 starts at random.
    config.correlated = 32
    # Codes lie between the known one and the encoder's, at least this share of the way.
    config.nearest = 0.3
    config.edits = 0.5  # share of the codes that are edited
    config.strengths = (-1.5, 1.5)

    config.loss = ConfigDict(
        {"pixel": 0.0, "identity": 0.0, "perceptual": 0.0, "style": 0.0, "adversarial": 0.0}
    )
    config.loss.update({"area": 0.0, "binary": 0.2, "truth": 1.0})
    config.areas = (0.3, 0.3, 0.2, 0.2, 0.2)
    config.adv_grad = "on"
    config.optimiser = ConfigDict(
        {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.99, "decay": 0.7, "every": 600}
    )
    config.discriminator = ConfigDict({"multiplier": 0.25, "width": 128})
    config.discriminator.optimiser = config.optimiser.copy_and_resolve_references()
    config.ema = 0.98  # decay of the average that is exported

    if mode == "debug":
        _debug(config)
    return config


def _debug(config: ConfigDict) -> None:
    shrink(config, batch_size=2, eval_size=3, log_every=2)
    config.accumulate = 1
    config.generator = config.encoder = "toy"
    config.data.source, config.data.size = "toy", 32
    config.model.sides, config.model.multiplier, config.model.pyramid = (8, 16), 0.5, 4
    config.correlated = 2
    config.stages, config.areas = ((0, 8, 32), (2, 16, 32)), (0.3, 0.2, 0.2)
    config.loss.adversarial = 0.5
    config.discriminator.width = 8
