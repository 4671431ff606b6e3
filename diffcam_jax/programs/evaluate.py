"""Measures inversions and edits as the papers do, or compares folders of pictures of any programs.

    python evaluate.py --config NAME --workdir OUT [--config.FIELD=VALUE ...]
    python evaluate.py --folders A B [C ...] --workdir OUT     B, C ... against A
    ... --part I/N           every N-th picture; without it, a last run takes over all parts
    ... --coordinator HOST:PORT --num_processes N --process_id I     on each host that shares OUT

NAME is a configuration of this project from any folder, such as masks or editing:debug (a mode
after the colon), or the path of a .py file. Folders are compared by file name and as sets. A run
that was cut short goes on with the same command; OUT/report.html opens in any browser, without
network. An installed package has the same as diffcam-evaluate.
"""

import pathlib
import sys

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from diffcam_jax.command import flags as command_flags
from diffcam_jax.command import processes
from diffcam_jax.command.program import as_called
from diffcam_jax.command.workdir import check_config, claim, write_config
from diffcam_jax.errors import UserError


def define_flags() -> None:
    """Defines the flags of an evaluation."""
    config_flags.DEFINE_config_file(
        "config", None, "Configuration (default: all, or folders with --folders)."
    )
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string(
        "folders", None, "Folder of pictures to compare others with; they follow it."
    )
    flags.DEFINE_string("domain", None, "Folder of diffcam-domain, whose networks are measured.")
    flags.DEFINE_string("part", None, "I/N measures every N-th picture, and writes no report.")
    processes.define_flags()


def command() -> None:
    """The command line of this process; ends it with the exit code."""
    define_flags()
    command_flags.launch(main, str(__doc__), __name__, parse, "eval")


def parse(argv: list[str]) -> list[str]:
    """The arguments that are no flags, which may stand anywhere.

    Folders have a configuration of their own.
    """
    flags.FLAGS.set_gnu_getopt(True)
    given = {argument.lstrip("-").partition("=")[0] for argument in argv[1:] if argument[:1] == "-"}
    default = "folders" if "folders" in given else "all"
    return command_flags.parse_flags(argv, default, "eval")


def main(argv: list[str]) -> None:
    """Measures what the flags ask for.

    Raises:
        UserError: a flag, the configuration, a folder or a network cannot be used.
    """
    from diffcam_jax.evaluation import settings

    given = flags.FLAGS
    logging.set_verbosity(logging.ERROR)
    compared = [given.folders, *argv[1:]] if given.folders else []
    if argv[1:] and not compared:
        raise UserError(f"unknown argument {argv[1]!r}; every option begins with --")
    if len(compared) == 1:
        raise UserError("one folder cannot be compared with anything; give --folders A B")
    if not given.workdir:
        raise UserError("no folder for the results; add --workdir OUT")
    part = processes.part(given.part, given.num_processes, given.process_id)
    if given.domain:
        settings.of_domain(given.config, pathlib.Path(given.domain))
    run(given.config, pathlib.Path(given.workdir), compared, part)


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    compared: list[str],
    part: tuple[int, int] | None = None,
) -> None:
    """Measures, or goes on with it, and writes the report.

    Args:
        config: of the run.
        workdir: of the run.
        compared: folders of pictures; without any the protocols of the configuration run.
        part: (i, n) measures the i-th of n parts first; of several processes that do so together,
            the first then writes the report.

    Raises:
        UserError: the configuration, a folder or a network cannot be used.
    """
    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.command.device import check_device
    from diffcam_jax.evaluation import settings
    from diffcam_jax.evaluation.runner import evaluate, measure_part

    given = flags.FLAGS
    settings.check(config)
    processes.connect(given.coordinator, given.num_processes, given.process_id)
    check_device()
    keep_compiled_programs()

    # ---------------------------------------------------------------- the same run as before
    folders = [str(pathlib.Path(folder).absolute()) for folder in compared]
    record = {**command_flags.plain(config), "folders": folders}
    check_config(workdir, record)

    # ---------------------------------------------------------------- a part of it
    if part:
        with claim(workdir / f"part_{part[0]}"):
            measure_part(config, workdir, compared, part)
        processes.wait_for_all("measured")
        if not given.coordinator or given.process_id:
            print(f"measured part {part[0]} of {part[1]}; next: the same without --part")
            return

    # ---------------------------------------------------------------- measuring and report
    with claim(workdir):
        write_config(workdir, record)
        called = " ".join([as_called("python evaluate.py"), *sys.argv[1:]])
        document = evaluate(config, workdir, compared, called)

    # ---------------------------------------------------------------- what came of it
    if document.problems:
        print(
            f"{len(document.problems)} pictures could not be measured; the report lists them",
            file=sys.stderr,
        )
    print(f"open {workdir / 'report.html'}")
