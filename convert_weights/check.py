"""Verifies the port on this machine: `python -m convert_weights check FIXTURE_DIR...`.

Every fixture's official state dict is built from its rule, converted, run through the Flax network
and compared, output by output. An output may differ by 30 times the rounding noise of the reference
itself, or 1e-4 of its largest value if that is more; gradients, which pass through kinks, are
compared by norm, within 3 %.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from convert_weights.checks import CHECKS
from convert_weights.fixture import Fixture
from diffcam_jax.errors import UserError, suggestion

NOISE_FACTOR, RELATIVE, GRADIENT = 30, 1e-4, 0.03


class Row(NamedTuple):
    """One line of the report: an output, its error, and the tolerance.

    Both numbers are NaN if the row is about keys.
    """

    name: str
    error: float
    tolerance: float
    passed: bool
    note: str = ""


def check(fixture: Fixture) -> list[Row]:
    """Compares every output that a fixture stores, or its keys if it stores no outputs.

    Raises:
        UserError: the fixture is of an unknown kind, or its weights do not fit.
    """
    kind = next(
        (k for k in (fixture.kind, fixture.kind.removesuffix("_1024")) if k in CHECKS), None
    )
    if kind is None:
        raise UserError(
            f"{fixture.path}: no check for fixtures of the kind {fixture.kind!r}; "
            f"{suggestion(fixture.kind, CHECKS)}"
        )
    if not fixture.has_data:
        faults = [
            fault
            for layout, shapes in CHECKS[kind].layouts(fixture)
            for fault in layout.faults(shapes)
        ]
        return [
            Row(f"{len(fixture.shapes())} keys", np.nan, np.nan, not faults, "; ".join(faults[:5]))
        ]
    with jax.default_matmul_precision("highest"):
        ours = CHECKS[kind].outputs(fixture)
    return list(compare(fixture, ours))


def compare(fixture: Fixture, ours: Mapping[str, Any]) -> Iterator[Row]:
    """Our outputs, full and in the official layout, against the stored ones."""
    for name, entry in fixture.manifest["outputs"].items():
        if name not in ours or name not in fixture.outputs:
            yield Row(
                name, np.nan, np.nan, False, "not computed" if name not in ours else "not stored"
            )
            continue
        full, stored = np.asarray(ours[name], np.float64), fixture.outputs[name].astype(np.float64)
        if list(full.shape) != list(entry["shape"]):
            yield Row(
                name,
                np.nan,
                np.nan,
                False,
                f"shape {full.shape} instead of {tuple(entry['shape'])}",
            )
            continue
        part = full[tuple(slice(None, None, step) for step in entry.get("stride", ()))]
        if part.shape != stored.shape:
            yield Row(
                name,
                np.nan,
                np.nan,
                False,
                f"the fixture stores {stored.shape} instead of {part.shape}",
            )
            continue
        if re.search(r"grad(?![a-z])", name):  # not "gradual"
            norm = np.linalg.norm(stored)
            error, tolerance = float(np.linalg.norm(part - stored)), GRADIENT * float(norm)
            yield Row(name, error, tolerance, error <= tolerance, "by norm")
            continue
        largest = entry.get("absmax", float(np.abs(stored).max(initial=0)))
        tolerance = max(NOISE_FACTOR * entry.get("f32_vs_f64", 0.0), RELATIVE * largest)
        errors = [np.abs(part - stored).max(initial=0)]
        axes = (-2, -1) if full.ndim == 4 else (-1,)
        for statistic in ("mean", "std"):
            if f"{name}.{statistic}" in fixture.outputs:
                errors.append(
                    np.abs(
                        getattr(full, statistic)(axes) - fixture.outputs[f"{name}.{statistic}"]
                    ).max()
                )
        error = float(np.max(errors))
        yield Row(name, error, tolerance, error <= tolerance)  # a NaN fails


def main(folders: Sequence[Path]) -> int:
    """Checks fixtures and prints a table for each.

    Returns:
        The exit code: 1 when anything differs or cannot be checked.
    """
    failed = []
    for folder in folders:
        print(folder.name, flush=True)
        start = time.perf_counter()
        try:
            rows = check(Fixture(folder))
        except UserError as error:
            print(f"  FAIL {error}")
            failed.append(folder.name)
            continue
        except Exception as error:  # a manifest that lacks entries of its kind, or has others
            print(f"  FAIL cannot be computed ({type(error).__name__}: {error})")
            failed.append(folder.name)
            continue
        width = max(len(row.name) for row in rows)
        for row in rows:
            numbers = (
                "" if np.isnan(row.tolerance) else f"{row.error:10.2e} of {row.tolerance:8.2e}"
            )
            verdict = "ok  " if row.passed else "FAIL"
            line = f"  {verdict} {row.name:{width}} {numbers} {row.note}"
            print(line.rstrip(), flush=True)
        print(
            f"  {sum(row.passed for row in rows)} of {len(rows)} in "
            f"{time.perf_counter() - start:.1f} s"
        )
        if not all(row.passed for row in rows):
            failed.append(folder.name)
    passed = len(folders) - len(failed)
    print(
        f"{passed} of {len(folders)} fixtures agree"
        + (f"; not: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0
