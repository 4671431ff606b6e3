"""Invertibility decomposition (2212.09262) around a StyleGAN2 and a published encoder, with the
constants of its release.

    python train.py --config configs/invertibility.py --workdir RUN --config.generator=STYLEGAN2
    --config.encoder=E4E --config.data.folder=FFHQ python train.py --config
    configs/invertibility.py:feature_style ...

STYLEGAN2 and E4E (or ReStyle; FeatureStyle with its mode) are converted folders, FFHQ a folder of
aligned pictures of 1024 pixels. The release says 1.8 million steps (FeatureStyle 700 000) and tests
those of 410 000 and 792 000; a GPU of 80 GB takes two pictures at a time. Its adversarial loss has
no gradient (--config.adv_grad=official); its perceptual loss wants VGG19 (--config.perceptual,
converted; the embedded VGG16 stands in). No run to the end was made yet.
configs/invertibility_mobile.py is for the embedded generator, and has a mode that runs in a minute.
"""

from ml_collections import ConfigDict

from configs import invertibility_mobile


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "feature_style"):
        raise ValueError(f"mode {mode!r}: allowed is feature_style")
    config = invertibility_mobile.get_config()
    config.name = "invertibility" + (f"_{mode}" if mode else "")
    config.steps = 700_000 if mode else 1_800_000
    config.batch_size, config.accumulate = 2, 1

    config.data = ConfigDict({"source": "folder", "folder": "", "size": 1024, "flip": True})
    config.model = ConfigDict(
        {
            "multiplier": 1.0,
            "cycles": 3 if mode else 2,
            "scale": 0.08,
            "align_corners": False,
            "normalised": True,
        }
    )
    config.stages = ((0, 32, 1024), (2000, 64, 1024), (6000, 128, 1024), (10_000, 256, 1024))
    config.correlated, config.nearest, config.edits = 0, 1.0, 0.0

    config.loss = ConfigDict(
        {"pixel": 1.0, "identity": 0.1, "perceptual": 1.0, "style": 50.0, "adversarial": 0.5}
    )
    config.loss.update({"area": 5.0, "binary": 5 * (0.06 if mode else 0.04), "truth": 0.0})
    config.areas = (0.4 if mode else 0.3, 0.3, 0.2, 0.2, 0.2)
    config.optimiser = ConfigDict(
        {"learning_rate": 2e-5, "b1": 0.0, "b2": 0.99, "decay": 0.75, "every": 15_000}
    )
    config.discriminator = ConfigDict(
        {
            "multiplier": 2.0,
            "width": 512,
            "optimiser": config.optimiser.copy_and_resolve_references(),
        }
    )
    config.ema = 0.5 ** (32 / 10_000)

    config.log_every = 100
    config.sample_every = config.eval_every = 5000
    config.checkpoint_every = 1000
    config.eval_size = 16
    return config
