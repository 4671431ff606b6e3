r"""Invertibility decomposition around a StyleGAN2 and a published encoder.

    python train.py --config configs/invertibility.py --workdir RUN \
        --config.generator=STYLEGAN2 --config.encoder=E4E --config.data.folder=FFHQ

STYLEGAN2 and E4E (or ReStyle; FeatureStyle with `:feature_style`) are converted folders, FFHQ is a
folder of aligned pictures of 1024 pixels. The constants are the release's, whose adversarial loss
has no gradient: `--config.adv_grad=official`. Its perceptual loss uses VGG19
(`--config.perceptual`, converted); the embedded VGG16 stands in.

Source: 2212.09262 and its release.
Expected: 1.8 million steps (FeatureStyle 700,000); the release tests those of 410,000 and 792,000.
80 GB of GPU memory hold two pictures; no run to the end has been made. `debug` is small.
"""

from ml_collections import ConfigDict

from configs import invertibility_mobile
from configs.base import check_mode


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, "feature_style", "debug")
    config = invertibility_mobile.get_config("debug" if mode == "debug" else "")
    config.name = "invertibility" + (f"_{mode}" if mode else "")
    if mode == "debug":
        return config
    feature_style = mode == "feature_style"
    config.steps = 700_000 if feature_style else 1_800_000
    config.batch_size, config.accumulate = 2, 1

    config.data = ConfigDict({"source": "folder", "folder": "", "size": 1024, "flip": True})
    config.model = ConfigDict({"multiplier": 1.0, "cycles": 3 if feature_style else 2})
    config.model.update({"scale": 0.08, "align_corners": False, "normalised": True})
    config.stages = ((0, 32, 1024), (2000, 64, 1024), (6000, 128, 1024), (10_000, 256, 1024))
    config.correlated, config.nearest, config.edits = 0, 1.0, 0.0

    config.loss = ConfigDict(
        {"pixel": 1.0, "identity": 0.1, "perceptual": 1.0, "style": 50.0, "adversarial": 0.5}
    )
    config.loss.update({"area": 5.0, "binary": 5 * (0.06 if feature_style else 0.04), "truth": 0.0})
    config.areas = (0.4 if feature_style else 0.3, 0.3, 0.2, 0.2, 0.2)
    config.optimiser = ConfigDict(
        {"learning_rate": 2e-5, "b1": 0.0, "b2": 0.99, "decay": 0.75, "every": 15_000}
    )
    config.discriminator = ConfigDict({"multiplier": 2.0, "width": 512})
    config.discriminator.optimiser = config.optimiser.copy_and_resolve_references()
    config.ema = 0.5 ** (32 / 10_000)

    config.log_every = 100
    config.sample_every = config.eval_every = 5000
    config.checkpoint_every = 1000
    config.eval_size = 16
    return config
