"""What an accelerator does: correctness, speed and memory, in parts that can be resumed.

    python -m benchmarks.gpu --out OUT [--minutes 8] [--only NAME ...] [--debug]

Every part leaves OUT/NAME.json and is not run again; a part that failed is tried again. None begins
when the minutes are over. The table of all that is there is printed at the end and is OUT/table.md.

    peak       a matrix product in float32, TF32 and bfloat16, and a copy: what others share in
    parity     every fixture of the official code in float32; a network in TF32 and bfloat16
    edits      photographs a second by `edit_batch`, by batch: embedded, and StyleGAN2 at 1024
    tuning     seconds of pivotal tuning of one photograph, and of four at a time
    training   seconds of a step, and memory, of two trainings
    torch      StyleGAN2's generator, forward and gradient, against torch in the same process

`--debug` runs all of it at toy sizes in minutes on a CPU, which is how it is tested. What time is
left belongs to a training that no CPU can do:

    python train.py --config configs/encoder_mobile.py:finetune --workdir RUN
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.trainers import measure, read_config
from convert_weights.check import check
from convert_weights.fixture import Fixture
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editing.edit import Edits, edit_batch
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.editor.editor import Editor
from diffcam_jax.files.trees import write_atomically
from diffcam_jax.inversion.tuning import TuningSettings, tune
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network, initial_variables
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.ops.window import Window

FIXTURES = Path(__file__).parent.parent / "tests/data/parity"
# Largest error of a picture in [-1, 1] that a precision may cause, against float32.
ALLOWED = {"highest": 1e-4, "tensorfloat32": 0.05, "bfloat16": 0.3}


def seconds(run: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of a program that has been compiled."""
    jax.block_until_ready(run())
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def peak(debug: bool) -> dict[str, float]:
    """FLOP/s of matrix products, and bytes a second of a copy."""
    side = 512 if debug else 8192
    found = {}
    for name, precision, kind in (
        ("float32", "highest", jnp.float32),
        ("TF32", "tensorfloat32", jnp.float32),
        ("bfloat16", "default", jnp.bfloat16),
    ):
        a = jnp.ones((side, side), kind)
        product = jax.jit(lambda x, p=precision: jnp.matmul(x, x, precision=p))
        found[f"{name}, TFLOP/s"] = 2e-12 * side**3 / seconds(lambda p=product, x=a: p(x))
    x = jnp.ones((side, side * 4))
    copy = jax.jit(lambda x: x + 1)
    return found | {"copy, TB/s": 2e-12 * x.nbytes / seconds(lambda: copy(x))}


def parity(debug: bool) -> dict[str, Any]:
    """Fixtures of the official code in float32, and pictures in lower precisions."""
    names = sorted(p.parent for p in FIXTURES.glob("*/data.npz"))
    skipped = {"random_face"} | ({"e4e", "stylegan2_discriminator"} if debug else set())
    chosen = [n for n in names if n.name not in skipped][: 2 if debug else None]
    failed = [
        f"{folder.name}/{row.name}"
        for folder in chosen
        for row in check(Fixture(folder))
        if not row.passed
    ]
    found: dict[str, Any] = {"fixtures": len(chosen), "outputs that differ": failed}
    generator = _pipeline("stylegan2", debug).generator
    codes = jax.random.normal(jax.random.key(0), (1, wplus_rows(generator.module), 512))
    pictures = {}
    for precision in ALLOWED:
        with jax.default_matmul_precision(precision):
            draw = jax.jit(lambda g, w: g(w, method="synthesis").clip(-1, 1))
            pictures[precision] = np.asarray(draw(generator, codes), np.float32)
    for precision, allowed in ALLOWED.items():
        error = float(np.abs(pictures[precision] - pictures["highest"]).max())
        found[f"StyleGAN2 in {precision}"] = f"{error:.2e} of {allowed:.0e}"
        if error > allowed:
            failed.append(precision)
    return found


def edits(debug: bool) -> dict[str, float]:
    """Photographs a second, and memory."""
    found = {}
    for name in ("stylegan2",) if debug else ("embedded", "stylegan2"):
        pipeline = _pipeline(name, debug)
        module = pipeline.generator.module
        size, rows = module.resolution, wplus_rows(module)
        for batch in (1, 2) if debug else (1, 4, 16, 64):
            images = jnp.zeros((batch, size, size, 3))
            codes = jnp.zeros((batch, rows, 512))
            steps = Edits(jnp.ones((1, rows, 512)), jnp.ones((batch, 1)), jnp.zeros(1, jnp.int32))
            given = pipeline, images, codes, steps
            spent = seconds(lambda g=given: edit_batch(*g, VARIANTS["official"]), 3)
            found[f"{name}, batch {batch}, photographs/s"] = batch / spent
    used = jax.devices()[0].memory_stats() or {}
    return found | {"peak, GiB": used.get("peak_bytes_in_use", 0) / 2**30}


def tuning(debug: bool) -> dict[str, float]:
    """Seconds of pivotal tuning, without compiling."""
    generator = _pipeline("stylegan2" if debug else "embedded", debug).generator
    side, rows = generator.module.resolution, wplus_rows(generator.module)
    cells = generator.module.cells
    found = {}
    for count in (1,) if debug else (1, 4):
        images = np.zeros((count, side, side, 3), np.float32)
        codes = np.zeros((count, rows, 512), np.float32)
        for shape in ((28, 32), (64, 64)):
            sides = [min(x, cells) for x in shape]
            settings = TuningSettings().with_steps(2 if debug else 20)
            result = tune(generator, codes, images, Window(0, 0, *sides), settings)
            found[f"{count} photographs, {sides[0]} x {sides[1]} cells, s"] = result.seconds
    return found


def training(debug: bool) -> dict[str, float]:
    """Seconds of a step of every phase, and megabytes."""
    names = [f"configs/encoder_mobile.py:{'debug' if debug else 'finetune'}"]
    names += [] if debug else ["configs/stylegan2_64.py"]
    found = {}
    for name in names:
        table, _ = measure(read_config(name, []), 2 if debug else 10)
        for phase, row in table.items():
            found[f"{Path(name).stem}, {phase}, s"] = row["seconds"]
    return found


def torch(debug: bool) -> dict[str, Any]:
    """StyleGAN2 at 1024 against torch, where torch is installed."""
    try:
        import torch as peer

        from benchmarks.torch_networks.stylegan2 import Generator
    except ImportError:
        return {"left out": "torch is not installed"}
    size, rows = (256, 14) if debug else (1024, 18)
    place = "cuda" if peer.cuda.is_available() else "cpu"
    theirs = Generator(size).to(place).eval()
    latents = peer.zeros((1, rows, 512), device=place, requires_grad=True)

    def wait() -> None:
        if place == "cuda":
            peer.cuda.synchronize()

    def forward() -> None:
        with peer.no_grad():
            theirs(latents)
        wait()

    def gradient() -> None:
        peer.autograd.grad((theirs(latents) ** 2).mean(), latents)
        wait()

    ours = _pipeline("stylegan2", debug).generator
    codes = jnp.zeros((1, rows, 512))
    draw = jax.jit(lambda g, w: g(w, method="synthesis"))
    back = jax.jit(jax.grad(lambda w, g: (g(w, method="synthesis") ** 2).mean()))
    pairs = {"forward": (lambda: draw(ours, codes), forward)}
    pairs["gradient"] = (lambda: back(codes, ours), gradient)
    return {
        f"{name}, torch's time in ours": seconds(slow) / seconds(quick)
        for name, (quick, slow) in pairs.items()
    }


def _pipeline(name: str, debug: bool) -> Pipeline:
    """The embedded networks, or a StyleGAN2 of random ones with the embedded classifier."""
    embedded = Editor.from_pretrained("ffhq").networks
    if name == "embedded":
        return embedded
    module = StyleGAN2Generator(config_widths(256 if debug else 1024))
    variables = initial_variables(module, jax.random.key(0), jnp.zeros((1, 512)))
    return Pipeline(Network(module, variables), embedded.classifier)


PARTS = {part.__name__: part for part in (peak, parity, edits, tuning, training, torch)}


def table(out: Path) -> str:
    """All numbers that are there."""
    lines = [f"{jax.devices()[0].device_kind}, jax {jax.__version__}\n", "| part | what | value |"]
    lines.append("|---|---|---|")
    for name in PARTS:
        if (out / f"{name}.json").exists():
            for what, value in json.loads((out / f"{name}.json").read_text()).items():
                shown = f"{value:.4g}" if isinstance(value, float) else value
                lines.append(f"| {name} | {what} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is missing and prints the table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--debug", action="store_true", help="toy sizes, for a CPU")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    for name in options.only:
        path = options.out / f"{name}.json"
        if path.exists() or time.monotonic() > end:
            continue
        start = time.monotonic()
        try:
            found = PARTS[name](options.debug)
        except Exception as error:  # the other parts are worth having
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
            continue
        found["spent, s"] = round(time.monotonic() - start, 1)
        write_atomically(path, json.dumps(found, indent=1).encode() + b"\n")
        print(f"{name}: {found['spent, s']} s", flush=True)
    write_atomically(options.out / "table.md", (text := table(options.out)).encode())
    print(text)


if __name__ == "__main__":
    main()
