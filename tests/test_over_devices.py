"""Edits, encoders and searches on eight devices: what one device computes, an eighth on each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from diffcam_jax.editing.edit import Edits, edit_batch
from diffcam_jax.editing.over_devices import PipelineOverDevices
from diffcam_jax.editing.pipeline import encode
from tests import small_editor

pipeline = small_editor.networks().replace(encoder=small_editor.encoder())
rng, count, told = np.random.default_rng(0), 11, {}
images = rng.uniform(-1, 1, (count, small_editor.SIDE, small_editor.SIDE, 3)).astype(np.float32)
arrays = np.stack([d.array[: small_editor.ROWS] for d in small_editor.directions().values()])
strengths = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
edits = Edits(jnp.asarray(arrays), jnp.asarray(strengths), jnp.array([0, 1]))
mask = (rng.random((count, small_editor.SIDE, small_editor.SIDE)) > 0.3).astype(np.float32)
many, one = (PipelineOverDevices(pipeline, jax.devices()[:n]) for n in (8, 1))
codes = many.encode(images)
told["codes"] = float(jnp.abs(codes - jax.jit(encode)(pipeline, images)).max())
config = small_editor.CONFIG
found = many.edit(images, codes, edits, config, mask)
wanted = edit_batch(pipeline, images, codes, edits, config, mask)
told["shapes"] = jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, wanted)
pairs = zip(*map(jax.tree.leaves, (found, wanted)))
told["edit"] = max(float(jnp.abs(a - b).max()) for a, b in pairs)
steps = np.moveaxis(strengths[..., None, None] * arrays, 1, 0)  # of each picture its own
found = many.edit(images, codes, edits._replace(steps=jnp.asarray(steps)), config, mask)
told["own"] = max(
    float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (found, wanted)))
)
told["devices"] = len(found.fused.sharding.device_set)

def work(over, rows):
    given = edits.steps, edits.classes
    batch = images[:rows], codes[:rows], edits.strengths[:rows], mask[:rows], None
    program = over.editing(config)
    return program.program.lower(*program.placed(given, batch)).compile().cost_analysis()["flops"]

told["share"] = work(many, 8) / work(one, 8)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_eight_devices_give_what_one_gives(told):
    assert told["shapes"] and told["devices"] == 8
    assert told["codes"] < 1e-4 and told["edit"] < 1e-3 and told["own"] < 1e-3


def test_each_device_does_an_eighth(told):
    np.testing.assert_allclose(told["share"], 1 / 8, rtol=0.05)
