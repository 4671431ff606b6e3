"""Photographs that the workers of a Ray cluster edit: as a folder does, and whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.programs import cluster_files, cluster_manifest
from tests import small_editor

pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")

ROOT = Path(__file__).parent.parent
BAD = "b/is_no_picture.jpg"
SIDE = 3 * small_editor.SIDE  # slow enough to be killed in the middle
# Ray of this test alone: nothing is left in the home folder, and nobody is told of it.
OWN = {"RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    return small_editor.edit_flags(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def src(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for folder, numbers in {"a": range(20), "b": range(20, 40)}.items():
        (root / folder).mkdir()
        for number in numbers:
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number:02}.png")
    (root / BAD).write_bytes(b"nothing")
    (root / ".hidden.png").write_bytes(b"nothing")
    return root


def pictures(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*.png"))}


@pytest.fixture(scope="module")
def alone(src, flags, tmp_path_factory):
    """The pictures of a plain edit of both folders, as they should lie in theirs."""
    out = tmp_path_factory.mktemp("alone")
    folders = [str(src / folder) for folder in "ab"]
    subprocess.run(
        [sys.executable, str(ROOT / "edit.py"), *folders, "--out", str(out), *flags],
        capture_output=True,
    )
    found = pictures(out)
    assert len(found) == 40
    return {f"{'a' if name < '20' else 'b'}/{name}": content for name, content in found.items()}


def start(src, out, flags, **environment) -> subprocess.Popen:
    """An edit on two workers of this machine."""
    command = [sys.executable, str(ROOT / "edit.py"), "--ray", "local", "--jobs", "2"]
    return subprocess.Popen(
        [*command, "--src", str(src), "--out", str(out), *flags],
        env=os.environ | OWN | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def parts(out: Path) -> list[Path]:
    return list(out.glob(f"{cluster_manifest.PARTS}/*.parquet"))


def wait(condition, process: subprocess.Popen, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def workers_below(process: int) -> list[int]:
    """The workers that a process started, directly or not."""
    parents, found = {}, []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            status = (place / "stat").read_text()
            command = (place / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        parents[int(place.name)] = int(status.rpartition(")")[2].split()[1])
        if command.startswith(b"ray::Worker"):
            found.append(int(place.name))

    def is_below(one):
        while one in parents:
            one = parents[one]
            if one == process:
                return True
        return False

    return [one for one in found if is_below(one)]


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc").exists(), reason="workers are looked up in /proc")
def test_whatever_is_killed_nothing_is_lost_or_done_twice(src, flags, alone, tmp_path):
    out = tmp_path / "out"
    first = start(src, out, flags)
    wait(lambda: parts(out), first)
    workers = workers_below(first.pid)
    first.kill()  # the driver, while most photographs are not done
    first.communicate(timeout=60)
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.1)  # each ends by itself, after the photographs that it had begun
    before = pictures(out)
    assert 0 < len(before) < len(alone)
    told = cluster_manifest.done(cluster_files.open_place("--out", str(out)), listed(out))
    assert set(told) <= {name.replace("is_no_picture.png", BAD) for name in before}

    second, begun = start(src, out, flags), len(parts(out))
    wait(lambda: len(workers_below(second.pid)) == 2, second)
    worker, _ = workers_below(second.pid)
    wait(lambda: len(parts(out)) > begun, second)
    os.kill(worker, signal.SIGKILL)
    output, errors = second.communicate(timeout=300)

    assert second.returncode == 1, errors
    assert "1 failed" in output and f"{len(told)} done before" in output
    assert f"{BAD}  not a picture" in errors
    assert pictures(out) == alone
    manifest = parquet.read_table(out / cluster_manifest.WHOLE).to_pylist()
    assert sorted(row["photo"] for row in manifest) == sorted([*alone, BAD])
    (bad,) = [row for row in manifest if not row["result"]]
    assert bad["photo"] == BAD and bad["reason"].startswith(f"{BAD}: not a picture")
    report = json.loads(next(row["report"] for row in manifest if row["result"]))
    assert report["settings"]["strengths"] == {"old": 1.0} and report["faces"]
    assert parts(out) == [] and not list(out.rglob(".*"))


def listed(out: Path):
    return cluster_files.listing(cluster_files.open_place("--out", str(out)))


@pytest.mark.nightly
def test_a_bucket_is_read_and_written(src, flags, alone, monkeypatch):
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    options = f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    try:
        bucket = cluster_files.open_place(
            "--src", f"s3://bucket{options}&allow_bucket_creation=true"
        )
        bucket.files.base_fs.create_dir("bucket")
        for path in (path for path in src.rglob("*") if path.is_file()):
            cluster_files.put(bucket, f"in/{path.relative_to(src)}", path.read_bytes())
        places = f"s3://bucket/in{options}", f"s3://bucket/out{options}"
        process = start(*places, flags)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 1 and "40 edited, 0 done before, 1 failed" in output, errors
        assert output.endswith("look into s3://bucket/out\n")
        out = cluster_files.open_place("--out", places[1])
        held = cluster_files.listing(out)
        found = {n: cluster_files.read(out, n, held[n].size) for n in held if n.endswith(".png")}
        assert found == alone and len(held) == len(alone) + 2
        assert set(cluster_manifest.done(out, held)) == set(alone)
    finally:
        server.stop()


ONE_KILLS = """
import json, os, sys
import ray
from diffcam_jax.programs import cluster_files, cluster_workers
from diffcam_jax.programs.cluster_manifest import Row

class Worker:
    def __init__(self, threads): pass
    def ready(self, job): pass
    def edit(self, job, part, photos):
        if "3.jpg" in dict(photos):
            os._exit(1)
        return [Row(name, "result", "", "", "", "", 0.0, 0) for name, _ in photos]

cluster_workers.Worker = Worker
out = cluster_files.open_place("--out", sys.argv[1])
job = cluster_workers.Job(out, out, None, {}, {}, False, False)
names = [f"{i}.jpg" for i in range(6)]
batches = [(str(i), [(name, (1, 1)) for name in names[i : i + 3]]) for i in (0, 3)]
cluster_workers.connect(ray, "local", 1)
for rows in cluster_workers.edit_all(ray, job, cluster_workers.Share(1, 1, 0), batches):
    for row in rows:
        print("TOLD", json.dumps([row.photo, row.reason]))
"""


@pytest.mark.nightly
def test_a_photograph_that_kills_its_workers_fails_alone(tmp_path):
    command = [sys.executable, "-c", ONE_KILLS, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | OWN, cwd=ROOT, capture_output=True, text=True)
    lines = [line[5:] for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    found = sorted(json.loads(line) for line in lines)
    assert [name for name, _ in found] == [f"{i}.jpg" for i in range(6)], done.stderr
    assert [name for name, reason in found if reason] == ["3.jpg"]
    assert "its worker died" in found[3][1]
    (part,) = parts(tmp_path)
    assert [row["photo"] for row in parquet.read_table(part).to_pylist()] == ["3.jpg"]


@pytest.mark.nightly
@pytest.mark.parametrize("address", ["auto", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_told_in_one_line(src, tmp_path, address):
    places = ["--src", str(src), "--out", str(tmp_path / "out"), "--attribute", "smiling=1"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "edit.py"), "--ray", address, *places],
        env=os.environ | OWN | {"RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: --ray {address}: no cluster can be reached")
    assert not (tmp_path / "out").exists()
