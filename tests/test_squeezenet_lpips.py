"""SqueezeNet's trunk and LPIPS as one network: definitions, laws, official names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert_weights.layouts.lpips import lpips
from diffcam_jax.errors import UserError
from diffcam_jax.nn.lpips import LPIPS_SCALE, LPIPS_SHIFT, TRUNKS, WIDTHS, Lpips
from diffcam_jax.nn.squeezenet import Fire, SqueezeNet, ceil_max_pool
from tests.plain_layers import conv
from tests.random_variables import random_variables

PICTURE = jnp.zeros((1, 64, 64, 3))


def shapes_of(layout):
    return {
        key: array.shape
        for key, array in layout.export(random_variables(layout.module, PICTURE, PICTURE)).items()
    }


@pytest.mark.parametrize("size", [3, 4, 15, 16, 17, 18])
def test_pools_count_a_last_window_over_the_border(size):
    x = np.random.default_rng(size).standard_normal((2, size, size + 1, 3)).astype(np.float32) - 5
    rows, columns = (
        range(0, n - 1, 2) for n in x.shape[1:3]
    )  # a window begins wherever two pixels are left
    expected = [[x[:, i : i + 3, j : j + 3].max((1, 2)) for j in columns] for i in rows]
    np.testing.assert_array_equal(
        ceil_max_pool(jnp.asarray(x)), np.array(expected).transpose(2, 0, 1, 3)
    )


def test_a_fire_module_expands_side_by_side():
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 7))
    variables = random_variables(Fire(4, 3), x)
    layers = jax.tree.map(np.asarray, variables["params"])

    def layer(name, x):
        return np.maximum(conv(x, layers[name]["kernel"]) + layers[name]["bias"], 0)

    squeezed = layer("squeeze", np.asarray(x))
    expected = np.concatenate([layer("expand1x1", squeezed), layer("expand3x3", squeezed)], -1)
    np.testing.assert_allclose(jax.jit(Fire(4, 3).apply)(variables, x), expected, atol=1e-5)


def test_trunk_has_the_published_size_and_taps():
    taps, variables = jax.eval_shape(
        lambda: SqueezeNet().init_with_output(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    )
    # 1,235,496 parameters of the release 1.1, without its classifier's 513,000.
    assert sum(x.size for x in jax.tree.leaves(variables)) == 722_496
    sides = {
        "relu1": 111,
        "fire3": 55,
        "fire5": 27,
        "fire6": 13,
        "fire7": 13,
        "fire8": 13,
        "fire9": 13,
    }
    assert {name: tap.shape[1] for name, tap in taps.items()} == sides
    assert (
        tuple(tap.shape[-1] for tap in (taps[name] for name in SqueezeNet().taps))
        == WIDTHS["squeeze"]
    )


def test_nothing_behind_the_last_tap_is_computed_and_names_are_checked():
    variables = jax.eval_shape(
        lambda: SqueezeNet(("fire3", "relu1")).init(jax.random.key(0), PICTURE)
    )
    assert sorted(variables["params"]) == ["conv1", "fire2", "fire3"]
    with pytest.raises(ValueError, match=r"fire10.*fire9"):
        SqueezeNet(("fire10",)).init(jax.random.key(0), PICTURE)
    with pytest.raises(ValueError, match="allowed are alex, vgg, squeeze"):
        Lpips("resnet").init(jax.random.key(0), PICTURE, PICTURE)


def test_distance_is_the_weighted_difference_of_unit_features():
    model = Lpips("squeeze")
    a, b = (jnp.tanh(jax.random.normal(jax.random.key(i), (2, 32, 36, 3))) for i in (0, 1))
    variables = random_variables(model, a, b)
    heads = {name: jnp.abs(head) for name, head in variables["params"]["heads"].items()}
    variables = {"params": variables["params"] | {"heads": heads}}

    @jax.jit
    def run(variables, a, b):
        trunk = {"params": variables["params"]["trunk"]}
        taps = [
            SqueezeNet().apply(trunk, (x - jnp.array(LPIPS_SHIFT)) / jnp.array(LPIPS_SCALE))
            for x in (a, b)
        ]
        shares = model.apply(variables, a, b, method="shares")
        return taps, shares, *(model.apply(variables, *pair) for pair in ((a, b), (b, a), (a, a)))

    (taps_a, taps_b), shares, forth, back, same = jax.device_get(run(variables, a, b))
    for i, tap in enumerate(SqueezeNet().taps):
        unit_a, unit_b = (
            t[tap] / (np.linalg.norm(t[tap], axis=-1, keepdims=True) + 1e-10)
            for t in (taps_a, taps_b)
        )
        expected = ((unit_a - unit_b) ** 2 * np.asarray(heads[f"lin{i}"])).sum(-1).mean((1, 2))
        np.testing.assert_allclose(shares[:, i], expected, rtol=1e-4)
    np.testing.assert_allclose(forth, shares.sum(-1), rtol=1e-5)
    np.testing.assert_allclose(forth, back, rtol=1e-5)
    assert (forth > 1e-3).all()
    np.testing.assert_allclose(same, 0, atol=1e-7)


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (
            "alex",
            {
                "net.slice1.0.weight": (64, 3, 11, 11),
                "net.slice4.8.bias": (256,),
                "lin1.model.1.weight": (1, 192, 1, 1),
            },
        ),
        (
            "vgg",
            {
                "net.slice1.2.weight": (64, 64, 3, 3),
                "net.slice3.14.bias": (256,),
                "net.slice5.28.weight": (512, 512, 3, 3),
            },
        ),
        (
            "squeeze",
            {
                "net.slice2.4.expand3x3.weight": (64, 16, 3, 3),
                "net.slice5.10.squeeze.weight": (48, 384, 1, 1),
                "lin6.model.1.weight": (1, 512, 1, 1),
            },
        ),
    ],
)
def test_nets_are_recognised_and_convert_both_ways(net, names):
    first = {"alex": (64, 3, 11, 11)}.get(net, (64, 3, 3, 3))
    layout = lpips({"net.slice1.0.weight": first} | names)
    assert layout.module == Lpips(net)
    shapes = shapes_of(layout)
    assert names.items() <= shapes.items()
    again = {
        "lins.0.model.1.weight": (1, 64, 1, 1),
        "scaling_layer.shift": (1, 3, 1, 1),
        "scaling_layer.scale": (1, 3, 1, 1),
    }
    assert lpips(shapes | again).faults(shapes | again) == []
    assert len(shapes) == 2 * sum(
        key.endswith("weight") for key in shapes if key[:3] == "net"
    ) + len(TRUNKS[net]().taps)


def test_conversion_is_exact_and_checks_the_constants():
    layout = lpips({"net.slice1.0.weight": (64, 3, 11, 11)})
    state = layout.export(random_variables(layout.module, PICTURE, PICTURE))
    shift = np.reshape(LPIPS_SHIFT, (1, 3, 1, 1)).astype(np.float32)
    converted = layout.convert(state | {"scaling_layer.shift": shift})
    assert converted["params"]["heads"]["lin2"].shape == (384,)
    assert all(np.array_equal(array, state[key]) for key, array in layout.export(converted).items())
    with pytest.raises(UserError, match=r"scaling_layer\.shift is not"):
        layout.convert(state | {"scaling_layer.shift": shift + 1})
    with pytest.raises(UserError, match="no LPIPS net"):
        lpips({"lin0.model.1.weight": (1, 64, 1, 1)})


@pytest.mark.weights
@pytest.mark.parametrize(("net", "part"), [("vgg", "vgg16"), ("alex", "alexnet")])
def test_the_stored_parts_fit(net, part):
    from diffcam_jax.pretrained import store

    params = store.load_pretrained("lpips")[0][part]
    expected = jax.eval_shape(lambda: Lpips(net).init(jax.random.key(0), PICTURE, PICTURE))[
        "params"
    ]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, expected)
