"""An evaluation that several machines share gives the tables of one machine."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from diffcam_jax.evaluation import runner
from diffcam_jax.evaluation.store import Key, opened
from tests.test_evaluate import config, fill

ROOT = Path(__file__).parent.parent


def untimed(folder: Path) -> dict:
    """Measurement by key, without what the clock said."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    keyed = {tuple(r.pop(n) for n in Key._fields): r for r in records}
    return {key: {n: v for n, v in r.items() if "seconds" not in n} for key, r in keyed.items()}


@pytest.mark.parametrize("name", ["reconstruction", "editing"])
def test_parts_measure_what_one_run_does(tmp_path, name):
    runner.evaluate(config(name), tmp_path / "alone", [], "command")
    for i in (2, 1):
        runner.measure_part(config(name), tmp_path / "parts", [], (i, 2))
    measured = [tmp_path / "parts" / f"metrics_{i}.jsonl" for i in (1, 2)]
    assert all(path.stat().st_size for path in measured)
    document = runner.evaluate(config(name), tmp_path / "parts", [], "command")
    assert document.problems == {} and not any(path.exists() for path in measured)
    assert untimed(tmp_path / "parts") == untimed(tmp_path / "alone")


def test_a_part_goes_on_and_is_taken_over(tmp_path):
    with opened(tmp_path, 2) as part:
        part.put(Key("p", "s", "2"), {"mse": 2.0})
    with opened(tmp_path, 1) as first, opened(tmp_path, 2) as second:
        assert first.get(Key("p", "s", "2")) == {"mse": 2.0}  # known, and the other's to keep
        first.put(Key("p", "s", "1"), {"mse": 1.0})
        second.put(Key("p", "s", "4"), {"mse": 4.0})
    with (tmp_path / "metrics_2.jsonl").open("a") as file:
        file.write('{"protocol": "p", "subj')  # killed
    for _ in range(2):
        with opened(tmp_path) as everything:
            assert sorted(everything.measured("p", "s")) == ["1", "2", "4"]
        assert [path.name for path in tmp_path.glob("*.jsonl")] == ["metrics.jsonl"]


def start(*arguments, out):
    return subprocess.Popen(
        [sys.executable, "evaluate.py", "--workdir", str(out), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_compare_folders_together(tmp_path):
    a, b = fill(tmp_path / "a"), fill(tmp_path / "b", noise=9)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    given = "--config", "folders:debug", "--folders", a, b, "--coordinator", address
    running = [
        start(*given, "--num_processes", 2, "--process_id", i, out=tmp_path / "both")
        for i in (0, 1)
    ]
    told = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    assert "report.html" in told[0][0] and "part 2 of 2" in told[1][0]
    alone = runner.evaluate(config("folders"), tmp_path / "alone", [str(a), str(b)], "command")
    assert alone.problems == {}
    assert untimed(tmp_path / "both") == untimed(tmp_path / "alone")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--part", "3/2"], "--part: '3/2' is no part"),
        (["--part", "1/2", "--coordinator", "a:1", "--num_processes", "2"], "leave --part out"),
        (["--num_processes", "2"], "give host:port"),
    ],
)
def test_wrong_parts(tmp_path, given, words):
    process = start("--config", "folders:debug", *given, out=tmp_path / "out")
    told = process.communicate(timeout=120)
    assert process.returncode == 2 and words in told[1] and told[1].count("\n") == 1, told
    assert not (tmp_path / "out").exists()
