"""Runs what a configuration asks for and writes the report."""

import importlib
import platform
from collections.abc import Sequence
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
        sections: list[Section] = []
        if compared:
            sections += folders.run(bench, [Path(folder) for folder in compared])
        else:
            for name in config.protocols:
                sections += importlib.import_module(f"diffcam_jax.evaluation.{name}").run(bench)
        title = "Comparison of folders" if compared else f"Evaluation: {config.name}"
        document = Document(title, command, facts(config), sections, bench.problems)
        try:
            document.write(workdir)
        except OSError as error:
            raise UserError(
                f"cannot write the report to {workdir} ({error.strerror}); make room"
            ) from error
    return document


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
