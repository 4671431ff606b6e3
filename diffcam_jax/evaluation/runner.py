"""Runs what a configuration asks for and writes the report."""

import contextlib
import functools
import importlib
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
from ml_collections import ConfigDict

import diffcam_jax
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import folders, store
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.document import Document, Section
from diffcam_jax.metrics.resources import peak_memory


def evaluate(config: ConfigDict, workdir: Path, compared: Sequence[str], command: str) -> Document:
    """Runs the protocols of a configuration, or compares folders, and writes the report.

    The folder then holds metrics.jsonl, report.md and report.html.

    Args:
        config: checked, see `settings`.
        workdir: of the run; what it holds already is not measured again.
        compared: folders of pictures; without any the protocols run.
        command: that was given, for the report.

    Returns:
        The report.

    Raises:
        UserError: something that makes the whole run pointless; what concerns single pictures is
            listed in the report.
    """
    with store.opened(workdir) as kept:
        bench = Bench(config, kept)
        sections = [section for run in _runs(bench, compared) for section in run()]
        title = "Comparison of folders" if compared else f"Evaluation: {config.name}"
        document = Document(title, command, facts(config), sections, bench.problems)
        try:
            document.write(workdir)
        except OSError as error:
            raise UserError(
                f"cannot write the report to {workdir} ({error.strerror}); make room"
            ) from error
    return document


def measure_part(
    config: ConfigDict, workdir: Path, compared: Sequence[str], part: tuple[int, int]
) -> None:
    """Measures a part of the pictures, for a run of everything that takes it over.

    What a protocol makes of its part is dropped, and so is what keeps it from finishing, such as
    too few pictures: the run of everything says what concerns all of them.

    Args:
        config: see `evaluate`.
        workdir: see `evaluate`; other parts may be measured there at the same time.
        compared: see `evaluate`.
        part: (i, n), counted from 1.
    """
    config = config.copy_and_resolve_references()
    config.features, config.bootstrap = "thumbnail", 0  # sets are compared by the last run
    with store.opened(workdir, part[0]) as kept:
        for run in _runs(Bench(config, kept, part), compared):
            with contextlib.suppress(UserError):
                run()


def _runs(bench: Bench, compared: Sequence[str]) -> list[Callable[[], list[Section]]]:
    """What makes the sections of a report."""
    if compared:
        return [functools.partial(folders.run, bench, [Path(folder) for folder in compared])]
    modules = (f"diffcam_jax.evaluation.{name}" for name in bench.config.protocols)
    return [functools.partial(importlib.import_module(name).run, bench) for name in modules]


def facts(config: ConfigDict) -> dict[str, str]:
    """Versions, machine and every setting."""
    memory = peak_memory()
    return {
        "versions": ", ".join(
            f"{name} {_version(name)}"
            for name in ("jax", "jaxlib", "flax", "numpy", "scikit-image")
        )
        + f", diffcam_jax {diffcam_jax.__version__}, Python {platform.python_version()}",
        "devices": ", ".join(f"{d.platform} {d.device_kind}" for d in jax.local_devices()),
        "peak memory of the process": f"{memory.host / 2**30:.2f} GiB",
        "all settings": ", ".join(
            f"{name}={_plain(value)}" for name, value in sorted(config.items())
        ),
    }


def _plain(value: object) -> str:
    return str(value.to_dict()) if isinstance(value, ConfigDict) else str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
