"""Whether a trained network is any good, read off the numbers of its run.

Each check returns what is wrong and what to try, or "". Thresholds are wide: they find runs that
failed, not runs that could be better.
"""

import json
from pathlib import Path

FALLS = 0.9  # of the first distance, at most, at the end
COLLAPSE = 2.0  # times the best distance
OVERFIT = 3.0  # times the error of training
CHANCE = 1.5  # times the accuracy of guessing, at least


def series(run: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of a number in a run's metrics.jsonl, in their order."""
    path = run / "metrics.jsonl"
    records = [_record(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(r["step"], r[name]) for r in records if isinstance(r.get(name), int | float)]


def _record(line: str) -> dict:
    try:
        return json.loads(line)
    except ValueError:
        return {}


def generator(folder: Path) -> str:
    """Checks that generated pictures have come nearer to real ones, and stayed there."""
    found = [value for _, value in series(folder / "generator", "eval/frechet")]
    if len(found) < 2:
        return ""
    if found[-1] > COLLAPSE * min(found):
        return (
            f"the distance to the pictures rose again, from {min(found):.3g} to {found[-1]:.3g}: "
            "the generator collapses; look at generator/samples, and give more pictures"
        )
    if found[-1] > FALLS * found[0]:
        return (
            f"the distance to the pictures hardly fell, from {found[0]:.3g} to {found[-1]:.3g}; "
            "look at generator/samples: pictures should have one kind of thing at one place; "
            "train longer with --steps generator=N"
        )
    return ""


def encoder(folder: Path) -> str:
    """Checks that codes of pictures that training never saw are found as well."""
    run = folder / "encoder"
    seen, unseen = (series(run, name) for name in ("e/whitened", "eval/whitened"))
    if not seen or not unseen:
        return ""
    train = sum(value for _, value in seen[-5:]) / len(seen[-5:])
    if unseen[-1][1] > OVERFIT * train:
        return (
            f"the encoder knows its pictures by heart: its error is {train:.3g} on them and "
            f"{unseen[-1][1]:.3g} on others; draw more with --drawn N"
        )
    return ""


def classifier(folder: Path) -> str:
    """Checks that the classifier tells the edits apart."""
    found = series(folder / "classifier", "eval/accuracy")
    classes = {name for name in _last(folder / "classifier") if name.startswith("eval/accuracy/")}
    chance = 1 / max(len(classes), 1)
    if found and len(classes) > 1 and found[-1][1] < min(CHANCE * chance, 0.9):
        return (
            f"the classifier guesses: it is right about {found[-1][1]:.0%} of unseen edits and "
            f"chance is {chance:.0%}; look at classifier/samples: if edits show nothing, the "
            "labels do not describe what can be seen, or need more pictures"
        )
    return ""


def _last(run: Path) -> dict:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return next((r for r in map(_record, reversed(lines)) if "eval/accuracy" in r), {})


def figures(folder: Path, stage: str) -> str:
    """The last numbers of a stage, in a few words."""
    run, shown = folder / stage, []
    for name, words in (
        ("eval/frechet", "distance"),
        ("eval/fid", "FID"),
        ("eval/whitened", "error of codes"),
        ("eval/accuracy", "accuracy"),
    ):
        if found := series(run, name):
            shown.append(f"{words} {found[-1][1]:.3g}")
    return ", ".join(shown)
