"""From pictures to an editor: a few steps of every stage, killed once; at night all of them."""

import os
import signal
import subprocess
import sys
import time

import httpx
import numpy as np
import page_driver
import pytest
from PIL import Image

from diffcam_jax.domain.__main__ import main
from diffcam_jax.domain.running import status
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editor.editor import Editor
from diffcam_jax.files.json_text import read_lines
from diffcam_jax.programs import edit, invert
from tests import toy_domain

ENCODER = {
    "start": "",
    "rows": "((1,8,1,1),(2,8,1,2),(2,8,1,2),(2,8,2,2),(2,8,1,2))",
    "stem": 8,
    "channels": 8,
    "features": 8,
    "reduced": 8,
    "grid": 2,
    "rank": 4,
}
SMALL = {
    "generator": {
        "model.channel_max": 8,
        "model.mapping_layers": 1,
        "ada": "off",
        "anchor.lpips": 0.0,
        "path_every": 0,
    },
    "encoder": {f"model.{name}": value for name, value in ENCODER.items()},
    "classifier": {"model.width": 4, "model.enlarge": 2},
    "deghoster": {
        **{f"model.{name}": 8 for name in ("rrdb_width", "growth", "image_width")},
        "model.blocks": 1,
        "perceptual_weight": 0.0,
    },
}


def small(stage: str) -> list[str]:
    """Flags that make a stage's networks and batches small."""
    fields = {**SMALL[stage], "batch_size": 4, "eval_size": 4, "log_every": 1}
    return [f"--override={stage}.{name}={value}" for name, value in fields.items()]


FEW = [
    *("--anyway", "--drawn", 48, "--pairs", 8, "--steps"),
    *(f"{stage}=4" for stage in SMALL),
    *(flag for stage in SMALL for flag in small(stage)),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("discs")
    toy_domain.write(root, 220, labelled=48)
    return root


def command(pictures, folder, *flags: object) -> list[str]:
    given = ["new", "discs", "--pictures", pictures / "pictures", "--size", 32, "--out", folder]
    return [str(x) for x in (*given, "--labels", pictures / "labels.csv", *flags)]


def killed(given: list[str], until) -> None:
    """Runs the command until something is there, and kills it with everything that it began."""
    program = [sys.executable, "-m", "diffcam_jax.domain", *given]
    with subprocess.Popen(program, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not until():
            time.sleep(0.05)
        assert process.returncode is None, "it ended by itself"
        os.killpg(process.pid, signal.SIGKILL)


def test_every_stage_runs_goes_on_after_a_kill_and_ends_in_an_editor(pictures, tmp_path, capsys):
    """Networks of a few steps, so that `--anyway` has to go past the health checks."""
    folder = tmp_path / "discs"
    given = command(pictures, folder, *FEW)
    checkpoints = folder / "generator" / "checkpoints"
    killed(given, lambda: any(checkpoints.glob("[0-9]*/commit_success.txt")))
    assert status(folder)[2].startswith("generator   step")
    assert main(given) == 0
    told = capsys.readouterr().out
    assert told.count("next: ") == told.count("next: python edit.py PICTURE --domain") == 1
    assert "best score" in told
    assert all("done" in line for line in status(folder)) and len(status(folder)) == 8
    numbers = read_lines(folder / "generator" / "metrics.jsonl")
    trained = [r["step"] for r in numbers if "run/skipped" in r]
    assert trained[-1] == 4 and trained.count(1) == 1

    # Given again there is nothing to do.
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert main(given) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before

    editor = Editor.from_pretrained(folder)
    assert set(editor.directions) == {"red", "wide"} and editor.networks.deghoster is None
    picture, out = pictures / "pictures" / "0000.png", tmp_path / "out"
    common = [str(picture), f"--domain={folder}"]
    assert edit.main([*common, f"--out={out}", "--attribute=red=1", "--tune=2"]) == 0
    assert invert.main(["invert", *common, f"--out={tmp_path / 'codes'}", "--steps=2"]) == 0
    assert (tmp_path / "codes" / "codes.safetensors").exists()
    assert np.asarray(Image.open(out / "0000.png")).shape == (64, 64, 3)
    with page_driver.server(tmp_path / "results", f"--domain={folder}") as address:
        has_a_page(address)


def has_a_page(address: str) -> None:
    """Its sliders are called as the labels are, and nothing on it is about faces."""
    components = httpx.get(f"{address}config", trust_env=False).json()["components"]
    shown = {c["props"].get("elem_id"): c["props"] for c in components}
    assert {name for name in shown if str(name).startswith("slider-")} == {
        "slider-red",
        "slider-wide",
    }
    assert "Drop a photograph." in shown["told"]["value"]
    assert shown["faces"]["label"] == "The part that is edited"
    assert not shown["samples"]["visible"]


def test_killed_in_every_stage_it_ends_as_an_undisturbed_one_does(pictures, tmp_path):
    # At the same place, for networks tell what they were trained on.
    disturbed, other = tmp_path / "disturbed", tmp_path / "discs"
    given = command(pictures, other, *FEW)
    for part in ("data", "generator", "data/pictures/drawn", "encoder", "pairs", "classifier"):
        place = other / part
        killed(given, lambda place=place: place.exists() and any(place.rglob("*")))
    assert main(given) == 0
    other.rename(disturbed)
    assert main(given) == 0
    made = sorted(path.relative_to(other) for path in other.rglob("*.safetensors"))
    assert made == sorted(path.relative_to(disturbed) for path in disturbed.rglob("*.safetensors"))
    assert {str(path) for path in made} >= {"directions.safetensors", "scorer.safetensors"}
    for path in made:
        assert (disturbed / path).read_bytes() == (other / path).read_bytes(), path


def test_deghosting_is_added_to_a_finished_domain(pictures, tmp_path):
    folder = tmp_path / "discs"
    given = command(pictures, folder, *FEW)
    assert main(given) == 0
    assert Editor.from_pretrained(folder).networks.deghoster is None
    assert main([*given, "--deghost"]) == 0
    assert Editor.from_pretrained(folder).networks.deghoster is not None
    picture = pictures / "pictures" / "0000.png"
    flags = [f"--domain={folder}", "--attribute=red=1", "--variant=paper", "--stages"]
    assert edit.main([str(picture), *flags, f"--out={tmp_path / 'out'}"]) == 0
    assert (tmp_path / "out" / "0000" / "deghosted.png").exists()


def redness(pixels: np.ndarray, disc: np.ndarray) -> float:
    """How red a disc is, 0 as blue as it can be and 1 as red."""
    colour, way = pixels[disc].mean(0), toy_domain.RED - toy_domain.BLUE
    return float((colour - toy_domain.BLUE) @ way / (way @ way))


def test_an_editor_of_discs(pictures, tmp_path):
    """Trained for minutes it turns discs redder that it never saw, and nothing but them."""
    folder = tmp_path / "discs"
    root = tmp_path / "more"
    toy_domain.write(root, 1000)
    steps = ("--steps", "generator=1500", "encoder=1000", "classifier=300")
    widths = [f"--override=generator.model.{x}" for x in ("channel_max=32", "mapping_layers=2")]
    flags = (*steps, "--drawn", 2000, "--pairs", 160, *widths, "--override=generator.batch_size=16")
    assert main(command(root, folder, *flags)) == 0
    editor = Editor.from_pretrained(folder, config=VARIANTS["product"])
    rises, outside = [], []
    for seed in range(8):
        before = np.asarray(toy_domain.draw(0.3, 0.5, 50_000 + seed))
        disc = np.ptp(before.astype(int), -1) > 40
        after = editor.edit(before, {"red": 1.0}).image
        rises.append(redness(after, disc) - redness(before, disc))
        changed = np.abs(after.astype(int) - before).max(-1) >= 8
        outside.append(changed[~disc].mean())
    assert np.mean(rises) > 0.15 and min(rises) > 0
    assert np.mean(outside) < 0.1
