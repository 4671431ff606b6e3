"""What the training configurations have in common; a configuration adds what is its own."""

from ml_collections import ConfigDict


def base(
    name: str,
    trainer: str,
    *,
    steps: int,
    batch_size: int,
    accumulate: int = 1,
    log_every: int = 50,
    sample_every: int = 1000,
    eval_every: int = 1000,
    eval_size: int = 32,
    checkpoint_every: int = 500,
) -> ConfigDict:
    """Creates a configuration with the fields of a run, which every trainer reads.

    Args:
        name: of the configuration; exported files are named after it.
        trainer: a key of `diffcam_jax.train.registry.TRAINERS`.
        steps: length of the whole run; a run that continues counts from its first step.
        batch_size: samples in a step, over all devices.
        accumulate: parts that a batch is processed in, one after the other, to save memory.
        log_every: steps between two lines of numbers; 0 is never, as below.
        sample_every: steps between two sheets of samples.
        eval_every: steps between two evaluations.
        eval_size: held-out samples that an evaluation measures.
        checkpoint_every: steps between two checkpoints.
    """
    return ConfigDict(
        {
            "name": name,
            "trainer": trainer,
            "seed": 0,
            "steps": steps,
            "batch_size": batch_size,
            "accumulate": accumulate,
            "devices": 0,  # all
            "precision": "float32",
            "patience_nan": 20,  # consecutive updates that are not finite before the run stops
            "log_every": log_every,
            "sample_every": sample_every,
            "eval_every": eval_every,
            "eval_size": eval_size,
            "checkpoint_every": checkpoint_every,
            "keep": 2,  # latest checkpoints; the best one is kept as well
        }
    )


def pictures(source: str, size: int, *, name: str = "", flip: bool = True) -> ConfigDict:
    """Creates the fields that `diffcam_jax.data.sources` reads.

    Args:
        source: "prepared", "folder", "generator" or "toy".
        size: side of the pictures in pixels.
        name: of a prepared dataset.
        flip: mirror pictures at random. A mirrored picture no longer has the code it was drawn
            from, so data with codes are not mirrored.
    """
    return ConfigDict({"source": source, "folder": "", "name": name, "size": size, "flip": flip})


def shrink(config: ConfigDict, *, batch_size: int, eval_size: int, log_every: int = 1) -> None:
    """Makes a run as short as `:debug` wants it: four steps, everything else after every second."""
    config.steps, config.batch_size, config.eval_size = 4, batch_size, eval_size
    config.log_every = log_every
    config.sample_every = config.eval_every = config.checkpoint_every = 2


def check_mode(mode: str, *modes: str) -> None:
    """Refuses a mode that a configuration does not have; the empty one is its default.

    Raises:
        ValueError: names the modes there are.
    """
    if mode not in ("", *modes):
        verb = "is" if len(modes) == 1 else "are"
        raise ValueError(f"mode {mode!r}: allowed {verb} {', '.join(modes)}")
