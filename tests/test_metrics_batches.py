"""Networks over sets of pictures: whole batches, several devices, mixed sizes, and what cannot be
scored.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.metrics.batches import Batched, checked, runs, to_square
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.nn.irse import ArcFace, identity_crop
from diffcam_jax.nn.lpips import Lpips as LpipsNetwork
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit
from tests.random_variables import random_variables

ROOT = Path(__file__).parent.parent
VARIABLES = {"gain": jnp.float32(3)}


def pictures(n, *size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3), dtype=np.uint8)


def means(images):
    """Of every picture and channel, pictures taken to [-1, 1], times the gain."""
    return 3 * np.stack([to_unit(image).mean((0, 1)) for image in images])


class Counted:
    """A network that counts how often it is compiled, and with how many pictures."""

    def __init__(self):
        self.traced = []

    def __call__(self, variables, x):
        self.traced.append(x.shape)
        return variables["gain"] * x.mean((1, 2))


# Pictures to one size


def test_shrinking_by_a_whole_factor_is_the_block_mean_and_sides_are_independent():
    x = pictures(2, 8, 4)
    expected = to_unit(x).reshape(2, 4, 2, 4, 3).mean(2)
    np.testing.assert_allclose(to_square(jnp.asarray(x), 4), expected, atol=1e-6)


def test_growing_is_linear_between_pixel_centres():
    x = np.broadcast_to(np.arange(0, 200, 50, dtype=np.uint8)[:, None, None], (1, 4, 4, 3))
    rows = 127.5 * (np.asarray(to_square(jnp.asarray(x), 8))[0, :, 0, 0] + 1)
    np.testing.assert_allclose(rows, np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3) * 50, atol=1e-4)


# Batches


def test_every_picture_is_scored_once_in_order_by_one_program():
    network, images = Counted(), pictures(11, 8, 8)
    run = Batched(network, VARIABLES, lambda x: to_square(x, 8), batch=4)
    np.testing.assert_allclose(run(images), means(images), atol=1e-5)
    np.testing.assert_allclose(run(images[:3]), means(images[:3]), atol=1e-5)
    assert network.traced == [(4, 8, 8, 3)]


def test_mixed_sizes_from_a_generator_need_no_second_network():
    network = Counted()
    run = Batched(network, VARIABLES, lambda x: to_square(x, 8), batch=4)
    images = [pictures(1, side, 8, seed=side)[0] for side in (8, 16, 8, 32, 16, 16)]
    shrunk = [image.reshape(8, -1, 8, 3).mean(1) for image in images]
    expected = 3 * np.stack([(image / 127.5 - 1).mean((0, 1)) for image in shrunk])
    np.testing.assert_allclose(run(image for image in images), expected, atol=1e-5)
    assert network.traced == [(4, 8, 8, 3)]


def test_pictures_are_read_a_batch_ahead_and_not_all_at_once():
    read, seen = [], []

    def folder():
        for image in pictures(40, 8, 8):
            read.append(1)
            yield image

    class Watching(Batched):
        def _place(self, batch):
            seen.append(len(read))
            return super()._place(batch)

    Watching(Counted(), VARIABLES, lambda x: to_square(x, 8), batch=4)(folder())
    assert seen == list(range(4, 41, 4))


def test_no_pictures_have_no_rows():
    assert len(Batched(Counted(), VARIABLES, lambda x: to_square(x, 8))([])) == 0


def test_what_is_no_picture_is_named():
    run = Batched(Counted(), VARIABLES, lambda x: to_square(x, 8), batch=4)
    good = pictures(1, 8, 8)[0]
    for bad, message in (
        (good[..., 0], r"\(8, 8\) and type uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\)"),
        (good.astype(np.float32), "float32"),
        (good[:0], r"\(0, 8, 3\)"),
    ):
        with pytest.raises(UserError, match=f"{message}.*cannot be scored; give RGB of 8 bits"):
            run([good, bad])
    with pytest.raises(UserError, match="8x16 pixels is not an aligned face"):
        list(runs([pictures(1, 16, 8)[0]], 4))
    assert checked(good) is good


def test_runs_are_of_one_size_and_in_order():
    images = [pictures(1, side, side, seed=i)[0] for i, side in enumerate((8, 8, 8, 16, 8))]
    found = list(runs(iter(images), 2))
    assert [stack.shape[:2] for stack in found] == [(2, 8), (1, 8), (1, 16), (1, 8)]
    assert all(
        np.array_equal(a, b)
        for a, b in zip([x for stack in found for x in stack], images, strict=True)
    )


DEVICES = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from diffcam_jax.metrics.batches import Batched, to_square
from tests.test_metrics_batches import Counted, VARIABLES, pictures
network, places = Counted(), set()
run = Batched(network, VARIABLES, lambda x: to_square(x, 8), batch=2)
two = Batched(
    lambda v, a, b: v["gain"] * (a - b).mean((1, 2, 3)),
    VARIABLES,
    lambda x: to_square(x, 8),
    batch=2,
)
some = Batched(Counted(), VARIABLES, lambda x: to_square(x, 8), devices=jax.devices()[:3], batch=2)
place = run._place
def watched(batch):
    placed = place(batch)
    places.update(str(s.device) for s in placed.addressable_shards)
    return placed
run._place = watched
mixed = [pictures(1, s, s, seed=s)[0] for s in (8, 16, 8, 8, 32)]
print(json.dumps({
    "whole": run(pictures(13, 8, 8)).tolist(), "mixed": run(mixed).tolist(),
    "pairs": two(pictures(9, 8, 8), pictures(9, 8, 8, seed=1)).tolist(),
    "some": some(pictures(7, 8, 8)).tolist(), "rows": [run.rows, some.rows],
    "traced": network.traced, "places": len(places),
}))
"""


def test_batches_are_shared_out_among_four_devices():
    env = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DEVICES],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["places"] == 4 and found["rows"] == [8, 6]
    assert found["traced"] == [
        [2, 8, 8, 3]
    ]  # a device's part of a batch, compiled once for full, filled and mixed ones
    np.testing.assert_allclose(found["whole"], means(pictures(13, 8, 8)), atol=1e-5)
    np.testing.assert_allclose(found["some"], means(pictures(7, 8, 8)), atol=1e-5)
    mixed = [pictures(1, side, side, seed=side)[0] for side in (8, 16, 8, 8, 32)]
    np.testing.assert_allclose(found["mixed"], means(mixed), atol=1e-5)
    a, b = (means(pictures(9, 8, 8, seed=seed)).mean(1) for seed in (0, 1))
    np.testing.assert_allclose(found["pairs"], a - b, atol=1e-5)


# LPIPS and identity from folders of converted weights


@pytest.fixture(scope="module")
def squeeze(tmp_path_factory):
    folder, module = tmp_path_factory.mktemp("squeeze"), LpipsNetwork("squeeze")
    variables = random_variables(module, jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 3)))
    model_folder.save(
        folder,
        {"lpips": Network(module, jax.tree.map(np.asarray, variables))},
        {},
        {"kind": "lpips"},
    )
    return folder, module, variables


def test_lpips_from_converted_weights(squeeze):
    folder, module, variables = squeeze
    a, b = pictures(3, 64, 64), pictures(3, 64, 64, seed=1)
    # Area means of 2x2: what the network sees.
    halves = [to_unit(x).reshape(3, 32, 2, 32, 2, 3).mean((2, 4)) for x in (a, b)]
    metric = Lpips("squeeze", 32, weights=folder, batch=2)
    np.testing.assert_allclose(metric(a, b), jax.jit(module.apply)(variables, *halves), rtol=1e-4)
    np.testing.assert_allclose(metric(a, a), 0, atol=1e-7)
    with pytest.raises(UserError, match="different numbers of pictures"):
        metric(a, b[:1])


def test_lpips_of_pictures_as_they_are(squeeze):
    metric = Lpips("squeeze", None, weights=squeeze[0], batch=2)
    a, b = pictures(2, 32, 40), pictures(2, 32, 40, seed=1)
    expected = jax.jit(squeeze[1].apply)(squeeze[2], to_unit(a), to_unit(b))
    np.testing.assert_allclose(metric(a, b), expected, rtol=1e-4)
    with pytest.raises(UserError, match="a pair differ in size"):
        metric(a, pictures(2, 40, 32))
    with pytest.raises(UserError, match="the pictures differ in size"):
        metric([*a[:1], pictures(1, 40, 32)[0]], a)


def test_lpips_that_cannot_be_had(squeeze):
    for arguments, message in (
        ({"net": "resnet"}, "no net 'resnet'; choose from alex, vgg, squeeze"),
        ({"net": "squeeze"}, "no weights of LPIPS squeeze are stored; convert them"),
        ({"net": "alex", "weights": squeeze[0]}, "holds LPIPS squeeze, not alex"),
        ({"net": "alex", "size": 16}, "at least 32 pixels; a size of 16"),
        ({"net": "alex", "weights": squeeze[0] / "none"}, "not a folder of converted weights"),
    ):
        with pytest.raises(UserError, match=message):
            Lpips(**arguments)


def test_identity_by_arcface(squeeze, tmp_path):
    module = ArcFace(8, (1, 1), (4, 8), squeeze=2)
    variables = random_variables(module, jnp.zeros((1, 112, 112, 3)))
    model_folder.save(
        tmp_path,
        {"identity": Network(module, jax.tree.map(np.asarray, variables))},
        {},
        {"kind": "arcface"},
    )
    metric = Identity(tmp_path, batch=2)
    a, b = pictures(3, 256, 256), pictures(3, 256, 256, seed=1)
    embedded = [
        jax.jit(module.apply)(variables, identity_crop(jnp.asarray(to_unit(x)))) for x in (a, b)
    ]
    found = metric(a, b)
    assert metric.name == "ArcFace" and np.ptp(found) > 0
    np.testing.assert_allclose(found, (embedded[0] * embedded[1]).sum(-1), atol=1e-5)
    np.testing.assert_allclose(metric(a, a), 1, atol=1e-5)
    with pytest.raises(UserError, match="2 pictures cannot be compared with 3"):
        metric(a[:2], b)
    with pytest.raises(UserError, match="128 pixels: ArcFace needs at least 256"):
        metric(pictures(1, 128, 128), a[:1])
    with pytest.raises(UserError, match="folder has no identity"):
        Identity(squeeze[0])
