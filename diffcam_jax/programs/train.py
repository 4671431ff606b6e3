"""Trains a network of the system on your own pictures.

    python train.py --config NAME --workdir DIR [--config.batch_size=16 ...] [--dry-run]
    ... --coordinator HOST:PORT --num_processes N --process_id I     on each host that shares DIR

NAME is a configuration of this project from any folder, such as diffcam_mobile or encoder:psp (a
mode after the colon), or the path of a .py file. A run continues from its last checkpoint, also
after it was killed; a finished one only exports again. DIR is then opened by
`python edit.py` and `python evaluate.py`. An installed package has the same as diffcam-train.
"""

import contextlib
import pathlib
import shutil
import time

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from diffcam_jax.command import flags as command_flags
from diffcam_jax.command import processes
from diffcam_jax.command.program import as_called
from diffcam_jax.command.workdir import check_config, claim, write_config
from diffcam_jax.errors import UserError


def define_flags() -> None:
    """Defines the flags of a training."""
    config_flags.DEFINE_config_file("config", None, "Configuration (default: diffcam_mobile).")
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_boolean("dry-run", False, "Say what would be trained, and train nothing.")
    flags.DEFINE_boolean(
        "resume", True, "Go on from the last checkpoint; --noresume deletes what is there."
    )
    processes.define_flags()


def command() -> None:
    """The command line of this process; ends it with the exit code."""
    define_flags()
    command_flags.launch(main, str(__doc__), __name__, parse)


def parse(argv: list[str]) -> list[str]:
    """The arguments that are no flags; see `command.flags.parse_flags`."""
    return command_flags.parse_flags(argv, "diffcam_mobile")


def main(argv: list[str]) -> None:
    """Trains what the flags ask for.

    Raises:
        UserError: a flag, the configuration or the folder cannot be used.
    """
    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.command.device import check_device
    from diffcam_jax.train import settings

    given = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"unknown argument {argv[1]!r}; every option begins with --")
    logging.set_verbosity(logging.FATAL)  # a failure that orbax logs is told in one line here
    if not given.workdir:
        raise UserError("no folder for the run; add --workdir DIR")
    workdir = pathlib.Path(given.workdir)
    settings.check(given.config)  # before a folder is made, or other processes are waited for
    processes.connect(given.coordinator, given.num_processes, given.process_id)
    check_device()
    keep_compiled_programs()
    with claim(workdir) if given.process_id == 0 else contextlib.nullcontext():
        train(given.config, workdir, given["dry-run"].value, given.resume)


def train(config: ConfigDict, workdir: pathlib.Path, dry_run: bool, resume: bool) -> None:
    """Trains, or continues to, by a configuration that was checked; see the flags.

    Raises:
        UserError: the configuration, the data or a checkpoint cannot be used.
    """
    from diffcam_jax.train import registry, summary
    from diffcam_jax.train.checkpoint import Checkpoints
    from diffcam_jax.train.devices import Devices
    from diffcam_jax.train.loop import fit
    from diffcam_jax.train.report import Report

    began = time.perf_counter()

    # ---------------------------------------------------------------- config
    plain = command_flags.plain(config)
    folder = workdir / "checkpoints"
    if resume and not dry_run:
        check_config(workdir, plain)

    # ---------------------------------------------------------------- devices
    devices = Devices(config.devices or None)
    leads = devices.process == 0  # the one that writes
    batch_size = devices.batch_size(config.batch_size, config.accumulate)

    # ---------------------------------------------------------------- data
    recipe = registry.find(config)
    data = recipe.make_source(config, batch_size, devices.process, devices.processes)

    # ---------------------------------------------------------------- trainer
    trainer = recipe.build(config, data, devices.axis)
    state = devices.replicate(trainer.create())
    if dry_run:
        summary.dry_run(config, trainer, state, data, devices, workdir)
        return

    # ---------------------------------------------------------------- restore
    if leads and not resume:
        shutil.rmtree(folder, ignore_errors=True)
    devices.any(False)  # nobody opens the folder before it is empty
    with Checkpoints(folder, config.checkpoint_every, config.keep) as checkpoints:
        state = checkpoints.restore(state)
        start = int(devices.view(state.step))
        if leads:
            write_config(workdir, plain)

        # ------------------------------------------------------------ loop
        with Report(workdir, start, config.steps) if leads else contextlib.nullcontext() as report:
            state = fit(
                trainer,
                state,
                data,
                config.steps,
                devices=devices,
                checkpoints=checkpoints,
                report=report,
                log_every=config.log_every,
                eval_every=config.eval_every,
                sample_every=config.sample_every,
                patience=config.patience_nan,
            )
        best = checkpoints.best

    # ---------------------------------------------------------------- export and summary
    if leads:
        state = devices.view(state)
        trainer.export(state, workdir)
        seconds, following = time.perf_counter() - began, as_called(trainer.next_command)
        print(summary.final(config.name, start, state, best, seconds, workdir, following))
