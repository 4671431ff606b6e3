"""Whether a trained network is any good, read off the numbers of its run.

Each check returns what is wrong and what to try, or "". Thresholds are wide: they find runs that
failed, not runs that could be better.
"""

from pathlib import Path

from diffcam_jax.domain.request import SCORER
from diffcam_jax.files.json_text import read_lines

METRICS = "metrics.jsonl"  # of a run of train.py
FALLS = 0.9  # of the first distance, at most, at the end
COLLAPSE = 2.0  # times the best distance
OVERFIT = 3.0  # times the error of training
TOLD = 0.2  # correlation of scores with labels, at least
CHANCE = 1.5  # times the accuracy of guessing, at least


def series(run: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of a number of a run, in their order."""
    return [(r["step"], r[name]) for r in read_lines(run / METRICS) if _has(r, name)]


def _has(record: dict, name: str) -> bool:
    """Whether a record has a number of this name; it is null where it was not finite."""
    return record.get(name) is not None


def scorer(folder: Path) -> str:
    """Checks that labels can be told from pictures."""
    from diffcam_jax.directions import label_scorer  # not for `status`, which is quick

    right = label_scorer.load(folder / SCORER).right
    bad = [f"{name} ({value:.2f})" for name, value in right.items() if value < TOLD]
    if not bad:
        return ""
    return (
        f"the labels of {', '.join(bad)} cannot be told from the pictures, as their correlation "
        "with scores of unseen pictures says; mend labels.csv or leave the attributes out"
    )


def generator(folder: Path) -> str:
    """Checks that generated pictures have come nearer to real ones, and stayed there.

    An anchored generator is near them when it is first looked at, for it has learned to draw them
    from their components before: then that has to have been learned.
    """
    run = folder / "generator"
    found = [value for _, value in series(run, "eval/frechet")]
    anchor = [value for _, value in series(run, "anchor/loss")]
    if len(found) < 2:
        return ""
    if found[-1] > COLLAPSE * min(found):
        return (
            f"the distance to the pictures rose again, from {min(found):.3g} to {found[-1]:.3g}: "
            "the generator collapses; look at generator/samples, and give more pictures"
        )
    learned, what = (
        (anchor, "error of the anchor") if anchor else (found, "distance to the pictures")
    )
    if learned[-1] > FALLS * learned[0]:
        return (
            f"the {what} hardly fell, from {learned[0]:.3g} to {learned[-1]:.3g}; "
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
    found = [r for r in read_lines(folder / "classifier" / METRICS) if _has(r, "eval/accuracy")]
    if not found:
        return ""
    classes = [name for name in found[-1] if name.startswith("eval/accuracy/")]
    accuracy = found[-1]["eval/accuracy"]
    chance = 1 / max(len(classes), 1)
    if len(classes) > 1 and accuracy < min(CHANCE * chance, 0.9):
        return (
            f"the classifier guesses: it is right about {accuracy:.0%} of unseen edits and "
            f"chance is {chance:.0%}; look at classifier/samples: if edits show nothing, the "
            "labels do not describe what can be seen, or need more pictures"
        )
    return ""


def deghoster(folder: Path) -> str:
    """Checks that restored pictures are nearer to the truth than the blends they are made of."""
    restored, fused = (
        series(folder / "deghoster", f"eval/psnr_{name}") for name in ("restored", "fused")
    )
    if not restored or restored[-1][1] > fused[-1][1]:
        return ""
    return (
        f"restored pictures are no nearer to the truth ({restored[-1][1]:.1f} dB) than blends "
        f"({fused[-1][1]:.1f} dB); train longer with --steps deghoster=N, or leave --deghost out"
    )


def figures(folder: Path, stage: str) -> str:
    """The last numbers of a stage, in a few words."""
    records, shown = read_lines(folder / stage / METRICS), []
    for name, words in (
        ("eval/frechet", "distance"),
        ("eval/fid", "FID"),
        ("eval/whitened", "error of codes"),
        ("eval/accuracy", "accuracy"),
        ("eval/psnr_restored", "PSNR"),
    ):
        if found := [record[name] for record in records if _has(record, name)]:
            shown.append(f"{words} {found[-1]:.3g}")
    return ", ".join(shown)
