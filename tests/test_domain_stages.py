"""The stages of a domain: their order, requests that are kept, health, status, and flags."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.domain import curves, health, running
from diffcam_jax.domain import request as requests
from diffcam_jax.domain.__main__ import main
from diffcam_jax.domain.request import Request
from diffcam_jax.domain.stages import stages
from diffcam_jax.errors import UserError

REQUEST = Request("birds", Path("/pictures"), Path("/labels.csv"), 64)


def write_run(folder: Path, *records: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record) for record in records]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 9')  # the last was cut off


def test_a_scorer_is_learned_from_labels_alone():
    names = [stage.name for stage in stages(REQUEST)]
    assert names == [
        *("data", "scorer", "generator", "drawn", "encoder", "directions", "pairs", "classifier")
    ]
    without = dataclasses.replace(REQUEST, labels=None)
    assert [stage.name for stage in stages(without)] == [name for name in names if name != "scorer"]
    commands = {stage.name: stage.command(without, Path("/d")) for stage in stages(without)}
    assert "ganspace" in commands["directions"] and "--scorer" not in commands["directions"]


def test_deghosting_is_trained_on_request():
    asked = dataclasses.replace(REQUEST, deghost=True)
    stage = stages(asked)[-1]
    assert stage.name == "deghoster" and stages(REQUEST)[-1].name == "classifier"
    assert "--config.model.prior=/d/generator" in stage.command(asked, Path("/d"))


def test_overrides_reach_their_own_training_last():
    given = dataclasses.replace(REQUEST, overrides=("generator.ada=off", "encoder.seed=3"))
    commands = {stage.name: stage.command(given, Path("/d")) for stage in stages(given)}
    generator = [flag for flag in commands["generator"] if flag.startswith("--config.ada=")]
    assert generator == ["--config.ada=on", "--config.ada=off"]
    assert "--config.seed=3" in commands["encoder"] and not any(
        "seed" in flag for flag in commands["generator"] + commands["classifier"]
    )


def test_a_request_is_kept_and_another_refused(tmp_path):
    requests.keep(tmp_path, REQUEST)
    requests.keep(tmp_path, REQUEST)
    assert requests.read(tmp_path) == REQUEST
    with pytest.raises(UserError, match="another request: size was 64 and is 128; give the same"):
        requests.keep(tmp_path, dataclasses.replace(REQUEST, size=128))
    assert requests.read(tmp_path) == REQUEST
    # Deghosting may be added, and what is there is not taken away.
    requests.keep(tmp_path, dataclasses.replace(REQUEST, deghost=True))
    assert requests.read(tmp_path).deghost
    with pytest.raises(UserError, match="deghost was True and is False; give the same"):
        requests.keep(tmp_path, REQUEST)
    (tmp_path / requests.FILE).write_text('{"name": "birds"')
    with pytest.raises(UserError, match="is damaged"):
        requests.read(tmp_path)
    with pytest.raises(UserError, match="holds no domain; begin one with diffcam-domain new"):
        requests.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("distances", "words"),
    [
        ([100, 60, 40], ""),
        ([100, 97, 95], "hardly fell, from 100 to 95"),
        ([100, 20, 70], "rose again, from 20 to 70"),
        ([100], ""),
        ([], ""),
    ],
)
def test_health_of_a_generator(tmp_path, distances, words):
    records = [{"step": i, "eval/frechet": float(d)} for i, d in enumerate(distances)]
    write_run(tmp_path / "generator", {"step": 0, "d/loss": 1.0}, *records)
    found = health.generator(tmp_path)
    assert words in found and bool(found) == bool(words)


@pytest.mark.parametrize(
    ("anchor", "distances", "words"),
    [
        ([4.6, 2.1, 1.5], [2.5, 2.6, 2.4], ""),  # near from the first look on
        ([4.6, 4.5, 4.4], [2.5, 2.6, 2.4], "error of the anchor hardly fell, from 4.6 to 4.4"),
        ([4.6, 2.1, 1.5], [2.5, 2.6, 5.4], "rose again, from 2.5 to 5.4"),
    ],
)
def test_health_of_an_anchored_generator(tmp_path, anchor, distances, words):
    records = [
        {"step": i, "anchor/loss": a, "eval/frechet": d}
        for i, (a, d) in enumerate(zip(anchor, distances, strict=True))
    ]
    write_run(tmp_path / "generator", *records)
    found = health.generator(tmp_path)
    assert words in found and bool(found) == bool(words)


@pytest.mark.parametrize(("unseen", "words"), [(0.5, ""), (1.3, "0.4 on them and 1.3 on others")])
def test_health_of_an_encoder(tmp_path, unseen, words):
    records = [{"step": i, "e/whitened": 0.4} for i in range(9)]
    write_run(tmp_path / "encoder", *records, {"step": 9, "eval/whitened": unseen})
    found = health.encoder(tmp_path)
    assert words in found and bool(found) == bool(words)


@pytest.mark.parametrize(
    ("accuracy", "classes", "words"), [(0.9, 2, ""), (0.55, 2, "guesses"), (0.5, 1, "")]
)
def test_health_of_a_classifier(tmp_path, accuracy, classes, words):
    each = {f"eval/accuracy/{i}": accuracy for i in range(classes)}
    write_run(tmp_path / "classifier", {"step": 8, "eval/accuracy": accuracy, **each})
    found = health.classifier(tmp_path)
    assert words in found and bool(found) == bool(words)


@pytest.mark.parametrize(("restored", "words"), [(24.0, ""), (21.5, "21.5 dB) than blends (22.0")])
def test_health_of_a_deghosting_network(tmp_path, restored, words):
    told = {"eval/psnr_restored": restored, "eval/psnr_fused": 22.0}
    write_run(tmp_path / "deghoster", {"step": 5, **told})
    found = health.deghoster(tmp_path)
    assert words in found and bool(found) == bool(words)
    write_run(tmp_path / "other" / "deghoster")
    assert health.deghoster(tmp_path / "other") == ""


def test_status_says_what_is_done_how_good_and_how_long(tmp_path):
    requests.keep(tmp_path, REQUEST)
    (tmp_path / "data/pictures/birds").mkdir(parents=True)
    (tmp_path / "scorer.safetensors").touch()
    (tmp_path / running.SECONDS).write_text('{"data": 12.0, "scorer": 80.0}')
    write_run(
        tmp_path / "generator",
        {"step": 500, "run/steps_per_second": 2.0},
        {"step": 500, "eval/frechet": 123.456},
    )
    lines = running.status(tmp_path)
    assert lines[:2] == ["data        done in 12 s", "scorer      done in 80 s"]
    # 2500 steps at 2 a second are left.
    assert lines[2] == "generator   step 500 of 3000, about 0 h 21 min left; distance 123"
    assert [line.split()[1] for line in lines[3:]] == ["waits"] * 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["../x"], "is no name for a folder"),
        (["x", "--steps", "data=3"], "--steps data=3: give generator=N"),
        (["x", "--steps", "encoder=0"], "N from 1 on"),
        (["x", "--override", "wheel.size=3"], "--override wheel.size=3: give STAGE.FIELD=VALUE"),
        (["x"], "no such folder; name the folder that holds the pictures"),
    ],
)
def test_wrong_flags_are_one_line(tmp_path, capsys, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    assert main(["new", *given, "--pictures", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_requests_of_before_are_read(tmp_path):
    """Written by a version that knew of no deghosting."""
    requests.keep(tmp_path, REQUEST)
    before = json.loads((tmp_path / requests.FILE).read_text())
    del before["deghost"], before["steps"]["deghoster"]
    (tmp_path / requests.FILE).write_text(json.dumps(before))
    assert requests.read(tmp_path) == REQUEST


def test_a_stage_that_fails_ends_the_run_and_is_named(tmp_path):
    missing = dataclasses.replace(REQUEST, pictures=tmp_path / "none")
    stage = stages(missing)[0]
    with pytest.raises(UserError, match=r"data ended before it was done \(exit code 2\)"):
        running.run(stage, missing, tmp_path, "stage 1")
    assert json.loads((tmp_path / running.SECONDS).read_text())["data"] > 0


def test_curves_count_no_interruptions(tmp_path):
    """The clock of a run begins anew when it goes on."""
    records = [(1, 60.0), (2, 120.0), (3, 30.0), (4, 90.0), (5, 60.0)]
    named = [{"step": n, "seconds": t, "eval/frechet": 9.0 - n} for n, t in records]
    write_run(tmp_path / "generator", *named)
    requests.keep(tmp_path, REQUEST)
    assert curves.minutes(tmp_path / "generator") == 4.5
    picture = tmp_path / "curves.png"

    def width() -> int:
        assert main(["status", str(tmp_path), f"--curves={picture}"]) == 0
        return np.asarray(Image.open(picture)).shape[1]

    assert width() == 400
    # With a second training there are two; of a third there are no numbers yet.
    write_run(tmp_path / "encoder", {"step": 1, "seconds": 3.0, "e/whitened": 0.4})
    write_run(tmp_path / "classifier")
    assert width() == 1200
