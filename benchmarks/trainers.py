"""Step time and memory of trainers, and which phase the time goes to.

    python -m benchmarks.trainers configs/stylegan2_64.py configs/encoder.py
    configs/diffcam_mobile.py configs/deghost.py python -m benchmarks.trainers
    configs/deghost.py:debug --set data.size=64 --set model.out_size=64 --steps 20

Each configuration runs as `train.py` would run it, without checkpoints and pictures, on one device.
Phases are timed apart, the host waiting for each; a phase that runs every n steps counts 1/n of its
time. The loop of `train.py` reads data while a step runs, so the row "data" only matters where it
is longer than the others together. Memory is the compiler's estimate (arguments and temporary
arrays).
"""

import argparse
import importlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.train import registry
from diffcam_jax.train.devices import Devices
from diffcam_jax.train.loop import keyed


def read_config(name: str, overrides: list[str]) -> ConfigDict:
    """The configuration configs/NAME.py[:MODE].

    FIELD=VALUE (JSON, or text) is set wherever the configuration has the field.
    """
    file, _, mode = name.partition(":")
    config = importlib.import_module(".".join(Path(file).with_suffix("").parts)).get_config(
        *[mode] * bool(mode)
    )
    for override in overrides:
        field, _, text = override.partition("=")
        *parents, leaf = field.split(".")
        place = config
        for parent in parents:
            place = place.get(parent, {})
        if leaf in place:
            try:
                place[leaf] = json.loads(text)
            except ValueError:
                place[leaf] = text
    return config


def measure(config: ConfigDict, steps: int) -> tuple[dict[str, dict[str, Any]], float]:
    """Times of data and phases: name -> seconds (median), every, bytes.

    And the seconds that compiling took.
    """
    devices = Devices(1)
    recipe = registry.find(config)
    data = recipe.make_source(config, config.batch_size)
    trainer = recipe.build(config, data, None)
    state = devices.replicate(trainer.create())
    start = time.perf_counter()
    programs, table = {}, {}
    for number, phase in enumerate(trainer.phases):
        step = keyed(phase, number)
        compiled = jax.jit(step, donate_argnums=0).lower(state, data[0]).compile()
        size = compiled.memory_analysis()
        table[phase.name] = {
            "seconds": [],
            "every": phase.every,
            "bytes": size.argument_size_in_bytes + size.temp_size_in_bytes,
        }
        programs[phase.name] = compiled
    compiling = time.perf_counter() - start
    table["data"] = {"seconds": [], "every": 1, "bytes": None}
    # The first step pays for what comes only once.
    for step in range(steps + 1):
        start = time.perf_counter()
        batch = jax.block_until_ready(jax.device_put(data[step]))
        table["data"]["seconds"].append(time.perf_counter() - start)
        for name, program in programs.items():
            start = time.perf_counter()
            state, metrics = program(state, batch)
            jax.block_until_ready((state, metrics))
            table[name]["seconds"].append(time.perf_counter() - start)
    for row in table.values():
        row["seconds"] = statistics.median(row["seconds"][1:])
    return table, compiling


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "configs", nargs="+", metavar="CONFIG", help="configs/NAME.py or configs/NAME.py:MODE"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override in all that have it",
    )
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    keep_freed_memory()
    keep_compiled_programs()
    print(f"{jax.devices()[0].device_kind}, medians of {options.steps} steps\n")
    print(
        "| configuration | batch, pixels | phase | every | seconds | share | memory "
        "|\n|---|---|---|---|---|---|---|"
    )
    for name in options.configs:
        config = read_config(name, options.set)
        table, compiling = measure(config, options.steps)
        whole = sum(
            row["seconds"] / row["every"] for phase, row in table.items() if phase != "data"
        )
        for phase, row in table.items():
            share = "" if phase == "data" else f"{row['seconds'] / row['every'] / whole:.0%}"
            memory = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:,.0f} MB"
            facts = f"{config.batch_size}, {config.data.size} | {phase} | {row['every']}"
            facts = f"{facts} | {row['seconds']:.4f}"
            print(f"| {name} | {facts} | {share} | {memory} |", flush=True)
        print(
            f"| {name} | | a step, mean | | {whole:.4f} | compiled in {compiling:.0f} s | |",
            flush=True,
        )


if __name__ == "__main__":
    main()
