"""Hostile files, in short: some for every reader, and all that once broke the law."""

import io
import json
import random
import subprocess
import sys
import zipfile

import flax.linen as nn
import numpy as np
import pytest

from diffcam_jax.errors import exit_code
from tests.hostile import (
    clips,
    conversions,
    domains,
    fuzz,
    networks,
    photographs,
    services,
    structures,
)
from tests.hostile.mutations import shrunk

CORPUS = fuzz.ROOT / "tests" / "data" / "hostile"
RUNS = 25  # for each reader
TABLES = {
    "photographs": photographs.PHOTOGRAPHS,
    "clips": clips.CLIPS,
    "networks": networks.NETWORKS,
    "conversions": conversions.CONVERSIONS,
    "services": services.SERVICES,
    "domains": domains.DOMAINS,
}


def told(faults: list[fuzz.Fault]) -> str:
    """Every fault with the command that shows it again."""
    return "\n".join(
        f"{fault.reader}: {fault.what}\n{fault.told}\n"
        f"python -m tests.hostile.fuzz --replay {fault.reader} {fuzz.save(fault)}"
        for fault in faults
    )


@pytest.mark.parametrize("table", TABLES)
def test_every_reader_keeps_the_law(table):
    # Of readers that take long, fewer.
    runs = {name: min(RUNS, reader.most_runs // 25) for name, reader in TABLES[table].items()}
    tasks = [task for name in runs for task in fuzz.plan(name, runs[name], covering=False)]
    found = fuzz.run(tasks, seed=0)
    assert not found.faults, told(found.faults)
    assert list(found.counts) == list(TABLES[table])
    for name, row in found.counts.items():
        assert row["inputs"] >= runs[name] * 0.8
        assert row["valid"] + row["refused"] == row["inputs"]
    # What is changed reaches the reader proper: not everything is refused at its door.
    assert sum(row["valid"] for row in found.counts.values()) > RUNS


def test_what_once_broke_the_law_keeps_it_now():
    paths = sorted(CORPUS.iterdir())
    assert paths and sum(path.stat().st_size for path in paths) < 1 << 20
    found = fuzz.replay([(path.name.partition("-")[0], path.read_bytes()) for path in paths])
    faults = [fault for fault in found if fault.what]
    assert not faults, told(faults)


LAWLESS = """
import json, os, pathlib, pickle, subprocess, sys, tempfile
import flax.linen as nn
import numpy as np
from diffcam_jax.errors import UserError
from tests.hostile import confinement
from tests.hostile.law import Reader, judge

home = pathlib.Path(sys.argv[1])
(home / "out").mkdir()
os.chdir(home)

def refusing(line, cause=None):
    def read(data, folder):
        error = UserError("")
        error.args = (line,)
        raise error from cause
    return read

def hiding(data, folder):
    try:
        (home / "elsewhere").write_bytes(data)
    except BaseException:
        pass

readers = {
    "good": lambda data, folder: (folder / "copy").write_bytes(data),
    "refusal": refusing("one line; try another file"),
    "exception": lambda data, folder: {}["x"],
    "exit": lambda data, folder: sys.exit(2),
    "two lines": refusing("one\\ntwo"),
    "no line": refusing(""),
    "memory": lambda data, folder: np.ones(3 << 30, np.uint8),
    "hidden memory": refusing("too large; take another", MemoryError()),
    "write": hiding,
    "read": lambda data, folder: open("/etc/passwd").read(),
    "command": lambda data, folder: os.system("true"),
    "program": lambda data, folder: subprocess.run(["true"]),
    "code": lambda data, folder: eval(data.decode()),
    "pickle": lambda data, folder: pickle.loads(b"cbuiltins\\nlen\\n."),
    "folder": lambda data, folder: os.mkdir(home / "made"),
}
watch = confinement.Watch(home / "out")
confinement.limit_memory()
for name, read in readers.items():
    outcome = judge(Reader(list, read), b"1 + 1", home / "out", watch)
    print(json.dumps([name, outcome.is_valid, outcome.fault]), flush=True)
confinement.SECONDS = 0.2
def endless(data, folder):
    while True:
        pass
judge(Reader(list, endless), b"", home / "out", watch)
"""


def test_the_law_sees_what_it_forbids(tmp_path):
    command = [sys.executable, "-c", LAWLESS, str(tmp_path)]
    done = subprocess.run(command, cwd=fuzz.ROOT, capture_output=True, text=True, timeout=60)
    found = {
        name: (valid, fault) for name, valid, fault in map(json.loads, done.stdout.splitlines())
    }
    assert found.pop("good") == (True, "") and found.pop("refusal") == (False, ""), done.stderr
    assert len(found) == 13 and not any(valid for valid, _ in found.values())
    for name in ("write", "read", "command", "program", "code", "pickle", "folder"):
        assert found.pop(name)[1].startswith("trespass"), name
    assert all(fault for _, fault in found.values()), found
    assert done.returncode == -14  # the system's alarm
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("kind", structures.STRUCTURES)
def test_pieces_make_the_same_file_again(kind):
    """So what is changed is the pieces, and nothing else."""
    form = structures.STRUCTURES[kind]
    seeds = {
        "png": photographs.saved("PNG"),
        "jpeg": photographs.saved("JPEG", exif=photographs.exif()),
        "boxes": photographs.saved("AVIF"),
        "riff": photographs.saved("WEBP", exif=photographs.exif()),
        "tiff": photographs.saved("TIFF"),
        "text": b'{"a": [1.5, "x y"]}\n1,2',
        "json": json.dumps({"a": [1.5, {"b": "x y"}, []], "c": None}).encode(),
        "safetensors": b'\x0a\0\0\0\0\0\0\0{"a":    1}rest',
        "npy": networks.npy(np.arange(3)),
        "pickle": networks._pickles()[1],
        "protobuf": networks._onnx()[0],
        "zip": networks.zipped(a=np.arange(3)),
    }
    again = form.join(form.split(seeds[kind]))
    if kind == "tiff":  # its list of entries is written anew, behind the rest
        assert (fuzz.replay([("photo_tiff", again)])[0]).what == ""
    elif kind == "zip":
        one, two = (zipfile.ZipFile(io.BytesIO(data)) for data in (seeds[kind], again))
        assert [(i.filename, one.read(i)) for i in one.infolist()] == [
            (i.filename, two.read(i)) for i in two.infolist()
        ]
    else:
        assert again == seeds[kind]
    made = {structures.mutated(random.Random(i), seeds[kind], kind, ()) for i in range(20)}
    assert len(made) > 10


def test_an_input_is_shrunk_to_what_shows_the_fault():
    data = bytes(range(256)) * 4
    assert shrunk(data, lambda tried: 7 in tried and 200 in tried) == bytes([7, 200])


def test_a_dataset_names_no_module_to_import():
    named = [{key: "antigravity.X"} for key in ("pythonClassName", "python_class_name", "type")]
    made = [{"featuresDict": {"features": {"image": one}}} for one in named]
    made += [{"jsonFeature": {"json": json.dumps(one)}} for one in made]
    made += [[{"content": one}] for one in named]
    found = fuzz.replay([("dataset_features", json.dumps(one).encode()) for one in made])
    assert not any(one.what for one in found)
    assert all("of the class antigravity.X" in one.told for one in found)


def test_an_archive_does_not_grow_without_limit():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.bin", bytes(100 << 20))
    bombs = [("wheel", held.getvalue())]
    held = io.BytesIO()
    np.savez_compressed(held, a=np.zeros(100 << 20, np.uint8))
    bombs += [(name, held.getvalue()) for name in ("checkpoint_npz", "edit_pair", "parity_data")]
    for found in fuzz.replay(bombs):
        assert not found.what, found
        assert found.reader == "parity_data" or "is larger" in found.told or "unpacks" in found.told


@pytest.mark.parametrize("kernel", [None, np.ones((3, 4), np.float32)])
def test_a_network_with_other_parameters_ends_a_program_in_one_line(kernel, capsys):
    layer = nn.Dense(4)
    variables = {"params": {"kernel": kernel, "bias": np.zeros(4)} if kernel is not None else {}}
    assert exit_code(lambda: layer.apply(variables, np.ones((1, 2), np.float32))) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: a network does not fit its parameters: ")
    assert line.count("\n") == 1 and "kernel" in line and "http" not in line
