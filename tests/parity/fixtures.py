"""Loader for the parity fixtures (numpy only).

A manifest lists every tensor of the official state_dict with a mean and a standard deviation; the values follow from a
generator seeded with the fixture's salt and the key. Inputs and outputs that are stored come from data.npz, NCHW.
"""

import json
import os
import pathlib
import zlib

import numpy as np


def _make(salt, key, e, npz, table):
    """One tensor by its manifest entry: the weight rule, or a stored constant, or zeros."""
    rule, shape, dtype = e.get("rule", "normal"), tuple(e["shape"]), e.get("dtype", "float32")
    if rule == "const":
        return np.broadcast_to(np.asarray(e["value"] if "value" in e else npz[f"const/{key}"], dtype), shape).copy()
    if rule == "zero":
        return np.zeros(shape, dtype)
    rng = np.random.default_rng(zlib.crc32(f"{salt}:{table}{key}".encode()))
    v = np.asarray(e["mean"] + e["std"] * rng.standard_normal(shape))
    return (np.abs(v) if rule == "abs" else v).astype(np.float32)


def load_fixture(path, only=""):
    """(state_dict, inputs, outputs) as numpy dicts; `only` keeps the state_dict keys with that prefix."""
    man = json.loads((pathlib.Path(path) / "manifest.json").read_text())
    f = os.path.join(path, "data.npz")
    npz = {}
    if os.path.exists(f):
        with np.load(f) as stored:
            npz = dict(stored)
    sd = {k: _make(man["salt"], k, e, npz, "") for k, e in man["state_dict"].items() if k.startswith(only)}
    ins = {
        k: npz[f"in/{k}"] if f"in/{k}" in npz else _make(man["salt"], k, e, npz, "input:")
        for k, e in man["inputs"].items()
    }
    return sd, ins, {k[4:]: v for k, v in npz.items() if k.startswith("out/")}
