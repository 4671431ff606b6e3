"""The IR-SE body, ArcFace and the identity crop against formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.losses.picture import identity_distance
from diffcam_jax.nn.irse import IRSE, ArcFace, PReLU, Unit, identity_crop
from tests.random_variables import random_variables

RNG = np.random.default_rng(0)


def conv(x, kernel, stride):
    """Direct sum with one pixel of zeros on all sides (for 3x3) or none (1x1)."""
    pad = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    size = kernel.shape[0]
    rows = range(0, x.shape[1] - size + 1, stride)
    columns = range(0, x.shape[2] - size + 1, stride)
    return np.stack(
        [
            np.stack(
                [
                    np.einsum("bijc,ijcd->bd", x[:, r : r + size, q : q + size], kernel)
                    for q in columns
                ],
                1,
            )
            for r in rows
        ],
        1,
    )


def batch_norm(x, params, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def unit(x, variables, stride, gated):
    p, s = jax.tree_util.tree_map(np.asarray, (variables["params"], variables["batch_stats"]))
    y = conv(batch_norm(x, p["bn1"], s["bn1"]), p["conv1"]["kernel"], 1)
    y = np.where(y > 0, y, p["prelu"]["negative_slope"] * y)
    y = batch_norm(conv(y, p["conv2"]["kernel"], stride), p["bn2"], s["bn2"])
    if gated:
        hidden = np.maximum(y.mean((1, 2)) @ p["fc1"]["kernel"], 0) @ p["fc2"]["kernel"]
        y = y / (1 + np.exp(-hidden))[:, None, None]
    if "shortcut_conv" in p:
        return y + batch_norm(
            conv(x, p["shortcut_conv"]["kernel"], stride), p["shortcut_bn"], s["shortcut_bn"]
        )
    return y + x[:, ::stride, ::stride]


@pytest.mark.parametrize(
    "module",
    [
        Unit(4, 1, squeeze=2),
        Unit(4, 2, squeeze=2),
        Unit(6, 2, True, squeeze=3),
        Unit(4, squeeze=None),
    ],
)
def test_unit(module):
    x = RNG.standard_normal((2, 8, 6, 4)).astype(np.float32)
    variables = random_variables(module, jnp.asarray(x))
    expected = unit(x, variables, module.stride, module.squeeze is not None)
    np.testing.assert_allclose(jax.jit(module.apply)(variables, x), expected, atol=1e-4)


def test_prelu_has_a_slope_for_every_channel():
    x = jnp.array([[-2.0, -2.0], [3.0, 3.0]])
    y = PReLU().apply({"params": {"negative_slope": jnp.array([0.5, -1.0])}}, x)
    np.testing.assert_allclose(y, [[-1, 2], [3, 3]])


def test_official_maps_and_number_of_parameters():
    x = jax.ShapeDtypeStruct((1, 256, 256, 6), jnp.float32)
    maps, variables = jax.eval_shape(lambda x: IRSE().init_with_output(jax.random.key(0), x), x)
    assert [m.shape[1:] for m in maps] == [
        (256, 256, 64),
        (128, 128, 64),
        (64, 64, 128),
        (32, 32, 256),
        (16, 16, 512),
    ]
    assert len([name for name in variables["params"] if name.startswith("unit_")]) == 24
    assert (
        "shortcut_conv" not in variables["params"]["unit_0"]
        and "shortcut_conv" in variables["params"]["unit_3"]
    )


def test_training_uses_and_stores_batch_statistics():
    body = IRSE((1, 1), (4, 8), 2)
    x = jnp.asarray(5 + 3 * RNG.standard_normal((4, 8, 8, 3)), jnp.float32)
    variables = random_variables(body, x)
    apply = jax.jit(lambda v, x: body.apply(v, x, train=True, mutable=["batch_stats"]))
    (stem, *_), state = apply(variables, x)
    y = conv(np.asarray(x), np.asarray(variables["params"]["input_conv"]["kernel"]), 1)
    old, new = (
        variables["batch_stats"]["input_bn"]["mean"],
        state["batch_stats"]["input_bn"]["mean"],
    )
    np.testing.assert_allclose(new, 0.9 * old + 0.1 * y.mean((0, 1, 2)), atol=1e-4)
    p = jax.tree_util.tree_map(np.asarray, variables["params"])
    y = batch_norm(y, p["input_bn"], {"mean": y.mean((0, 1, 2)), "var": y.var((0, 1, 2))})
    np.testing.assert_allclose(
        stem, np.where(y > 0, y, p["input_prelu"]["negative_slope"] * y), atol=1e-4
    )


def test_embeddings_are_unit_vectors_and_deep_enough():
    model = ArcFace(features=6, counts=(1, 2), widths=(4, 8), squeeze=2)
    faces = jnp.asarray(RNG.uniform(-1, 1, (3, 16, 16, 3)), jnp.float32)
    variables = random_variables(model, faces)
    embeddings = jax.jit(model.apply)(variables, faces)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), np.ones(3), atol=1e-6)
    p, s = jax.tree_util.tree_map(np.asarray, (variables["params"], variables["batch_stats"]))
    last = np.asarray(
        jax.jit(IRSE((1, 2), (4, 8), 2).apply)({k: v["body"] for k, v in variables.items()}, faces)[
            -1
        ]
    )
    x = batch_norm(last, p["output_bn"], s["output_bn"]).reshape(3, -1)
    x = batch_norm(
        x @ p["output_dense"]["kernel"] + p["output_dense"]["bias"],
        p["embedding_bn"],
        s["embedding_bn"],
    )
    np.testing.assert_allclose(embeddings, x / np.linalg.norm(x, axis=-1, keepdims=True), atol=1e-4)


def adaptive_mean(x, size):
    h, w = x.shape[1:3]
    out = np.empty((len(x), size, size, x.shape[-1]))
    for i in range(size):
        for j in range(size):
            rows = slice(i * h // size, -(-(i + 1) * h // size))
            columns = slice(j * w // size, -(-(j + 1) * w // size))
            out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


def test_identity_crop():
    images = RNG.uniform(-1, 1, (1, 256, 256, 3)).astype(np.float32)
    expected = adaptive_mean(images[:, 35:223, 32:220], 112)
    np.testing.assert_allclose(identity_crop(jnp.asarray(images)), expected, atol=1e-5)
    # A larger picture is first reduced to 256.
    large = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(identity_crop(jnp.asarray(large)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="128x256: the identity crop needs 256x256"):
        identity_crop(jnp.zeros((1, 128, 256, 3)))


def test_identity_distance_is_one_minus_the_cosine():
    a = jnp.array([[3.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    b = jnp.array([[5.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(identity_distance(a, b), [0, 1 - np.sqrt(0.5), 2], atol=1e-6)
