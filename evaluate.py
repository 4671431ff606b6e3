"""Measure inversions and edits as the papers do, or compare folders of pictures of any programs.

    python evaluate.py --config configs/eval/NAME.py --workdir OUT [--config.FIELD=VALUE ...]
    python evaluate.py --folders A B [C ...] --workdir OUT         B, C ... against A, by file name and as sets

A run that was cut short goes on with the same command; OUT/report.html opens in any browser,
without network.
"""

import errno
import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from diffcam_jax.command import flags as command
from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.workdir import check_config, claim, write_config
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import settings
from diffcam_jax.evaluation.runner import evaluate

# No default here: it would be read, and fail on a mistyped field, before anything can be said about
# it in one line.
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file; all.py, or folders.py for --folders."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_FOLDERS = flags.DEFINE_string(
    "folders", None, "Folder of pictures to compare others with; they follow it."
)


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    try:
        compared = [_FOLDERS.value, *argv[1:]] if _FOLDERS.value else []
        if argv[1:] and not compared:
            raise UserError(f"unknown argument {argv[1]!r}; every option begins with --")
        if len(compared) == 1:
            raise UserError("one folder cannot be compared with anything; give --folders A B")
        if not _WORKDIR.value:
            raise UserError("no folder for the results; add --workdir OUT")
        config, workdir = _CONFIG.value, pathlib.Path(_WORKDIR.value)
        settings.check(config)
        keep_compiled_programs()
        with claim(workdir):
            record = {
                **command.plain(config),
                "folders": [str(pathlib.Path(folder).absolute()) for folder in compared],
            }
            check_config(workdir, record)
            write_config(workdir, record)
            document = evaluate(
                config, workdir, compared, " ".join(["python evaluate.py", *sys.argv[1:]])
            )
        if document.problems:
            print(
                f"{len(document.problems)} pictures could not be measured; the report lists them",
                file=sys.stderr,
            )
        print(f"open {workdir / 'report.html'}")
    except UserError as error:
        command.leave(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        command.leave(
            UserError(
                f"cannot write to {_WORKDIR.value} ({error.strerror}); make room and run the "
                "same again"
            )
        )


def parse_flags(argv: list[str]) -> list[str]:
    """The arguments that are no flags, which may stand anywhere.

    Folders have a configuration of their own.
    """
    flags.FLAGS.set_gnu_getopt(True)
    given = {
        argument.lstrip("-").partition("=")[0] for argument in argv[1:] if argument.startswith("-")
    }
    if "config" not in given:
        argv = [
            argv[0],
            f"--config=configs/eval/{'folders' if 'folders' in given else 'all'}.py",
            *argv[1:],
        ]
    return command.parse_flags(argv)


if __name__ == "__main__":
    keep_freed_memory()
    app.run(main, flags_parser=parse_flags)
