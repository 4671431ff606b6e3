"""Train a network of the system on your own pictures.

    python train.py --config configs/NAME.py --workdir DIR [--config.batch_size=16 ...] [--dry-run]
    [--noresume]
    ... --coordinator HOST:PORT --num_processes N --process_id I      on each of several hosts that share DIR

A run continues from its last checkpoint, also after it was killed; a finished one only exports
again. DIR is then opened by edit.py and evaluate.py.
"""

import contextlib
import errno
import importlib
import pathlib
import shutil
import time

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from diffcam_jax.command import flags as command
from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.workdir import check_config, claim, write_config
from diffcam_jax.data import sources
from diffcam_jax.errors import UserError
from diffcam_jax.train import settings, summary
from diffcam_jax.train.checkpoint import Checkpoints
from diffcam_jax.train.devices import Devices, connect
from diffcam_jax.train.loop import fit
from diffcam_jax.train.report import Report

_CONFIG = config_flags.DEFINE_config_file(
    "config", "configs/diffcam_mobile.py", "Configuration file."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_DRY_RUN = flags.DEFINE_boolean("dry-run", False, "Say what would be trained, and train nothing.")
_RESUME = flags.DEFINE_boolean(
    "resume", True, "Go on from the last checkpoint; --noresume deletes what is there."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, for a run of several processes."
)
_PROCESSES = flags.DEFINE_integer("num_processes", 1, "How many processes the run has.")
_PROCESS = flags.DEFINE_integer("process_id", 0, "Number of this process.")
TRAINERS = ("deghost", "diffcam", "encoder", "invertibility", "stylegan2")


def train(
    config: ConfigDict, workdir: pathlib.Path, dry_run: bool = False, resume: bool = True
) -> None:
    """Trains, or continues to; see the flags."""
    began = time.perf_counter()

    # ------------------------------------------------------------------------------------------------
    # config
    settings.check(config, TRAINERS)
    plain = command.plain(config)
    checkpoints_folder = workdir / "checkpoints"
    if resume and not dry_run:
        check_config(workdir, plain)

    # ------------------------------------------------------------------------------------------------
    # devices
    devices = Devices(config.devices or None)
    leads = devices.process == 0  # the one that writes
    batch_size = devices.batch_size(config.batch_size, config.accumulate)

    # ------------------------------------------------------------------------------------------------
    # data
    module = importlib.import_module(f"diffcam_jax.train.{config.trainer}")
    make_source = getattr(module, "make_source", sources.make_source)
    data = make_source(config, batch_size, devices.process, devices.processes)

    # ------------------------------------------------------------------------------------------------
    # trainer
    trainer = module.build(config, data, devices.axis)
    state = devices.replicate(trainer.create())
    if dry_run:
        summary.dry_run(config, trainer, state, data, devices, workdir)
        return

    # ------------------------------------------------------------------------------------------------
    # restore
    if leads and not resume:
        shutil.rmtree(checkpoints_folder, ignore_errors=True)
    devices.any(False)  # nobody opens the folder before it is empty
    with Checkpoints(checkpoints_folder, config.checkpoint_every, config.keep) as checkpoints:
        state = checkpoints.restore(state)
        start = int(devices.view(state.step))
        if leads:
            write_config(workdir, plain)

        # --------------------------------------------------------------------------------------------
        # loop
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

    # ------------------------------------------------------------------------------------------------
    # export
    if leads:
        state = devices.view(state)
        trainer.export(state, workdir)

        # --------------------------------------------------------------------------------------------
        # summary
        seconds = time.perf_counter() - began
        print(
            summary.final(config.name, start, state, best, seconds, workdir, trainer.next_command)
        )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        command.leave(UserError(f"unknown argument {argv[1]!r}; every option begins with --"))
    logging.set_verbosity(
        logging.FATAL
    )  # what orbax has to say about a failure is said in one line here
    try:
        if not _WORKDIR.value:
            raise UserError("no folder for the run; add --workdir DIR")
        workdir = pathlib.Path(_WORKDIR.value)
        keep_compiled_programs()
        if _COORDINATOR.value:
            connect(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        with claim(workdir) if _PROCESS.value == 0 else contextlib.nullcontext():
            train(_CONFIG.value, workdir, _DRY_RUN.value, _RESUME.value)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        command.leave(
            UserError(
                f"cannot write to {_WORKDIR.value} ({error.strerror}); make room and run the "
                "same again"
            )
        )
    except UserError as error:
        command.leave(error)


if __name__ == "__main__":
    keep_freed_memory()
    app.run(main, flags_parser=command.parse_flags)
