"""Which key of torchvision's ResNets and of the DA classifier goes where, for every depth."""

import jax
import numpy as np
import pytest

from convert_weights.layouts.resnet import diffcam, torchvision_resnet
from diffcam_jax.errors import UserError
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.resnet import ResNet

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def norm(name, width):
    return {
        f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")
    } | {f"{name}.num_batches_tracked": ()}


def torchvision(depth, width=64, classes=1000):
    """Key -> shape, written down from torchvision's module definitions."""
    deep = depth >= 50
    shapes = {"conv1.weight": (width, 3, 7, 7)} | norm("bn1", width)
    before = width
    for stage, count in enumerate(DEPTHS[depth]):
        inner = width * 2**stage
        after = 4 * inner if deep else inner
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            kernels = (
                [(1, inner, before), (3, inner, inner), (1, after, inner)]
                if deep
                else [(3, inner, before), (3, inner, inner)]
            )
            for i, (size, rows, columns) in enumerate(kernels, 1):
                shapes |= {f"{name}.conv{i}.weight": (rows, columns, size, size)} | norm(
                    f"{name}.bn{i}", rows
                )
            if before != after or (stage and not block):
                shapes |= {f"{name}.downsample.0.weight": (after, before, 1, 1)} | norm(
                    f"{name}.downsample.1", after
                )
            before = after
    return shapes | ({"fc.weight": (classes, before), "fc.bias": (classes,)} if classes else {})


def da(depth, split, classes):
    """The same cut into the two lists of the DA classifier."""
    renamed = {}
    for key, shape in torchvision(depth, classes=classes).items():
        part, *rest = key.split(".")
        if part == "layer3":
            index = int(rest.pop(0))
            part = f"shared.{6 + index}" if index < split else f"classifier.{index - split}"
        names = {"conv1": "shared.0", "bn1": "shared.1", "layer1": "shared.4", "layer2": "shared.5"}
        names["layer4"] = f"classifier.{DEPTHS[depth][2] - split}"
        renamed[".".join([names.get(part, part), *rest])] = shape
    return renamed


def state_of(shapes):
    rng = np.random.default_rng(0)
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("width", "classes"), [(64, 1000), (16, None)])
def test_every_resnet_is_recognised(depth, width, classes):
    shapes = torchvision(depth, width, classes)
    layout = torchvision_resnet(shapes)
    assert layout.module == ResNet(depth, width, classes)
    assert layout.faults(shapes) == []
    assert f"ResNet-{depth}" in layout.summary


@pytest.mark.parametrize(
    ("depth", "split", "classes"), [(101, 10, 17), (101, 22, 7), (50, 3, 2), (18, 1, 40)]
)
def test_every_cut_is_recognised(depth, split, classes):
    shapes = da(depth, split, classes)
    layout = diffcam(shapes)
    assert layout.module == DiffClassifier(depth, 64, classes, split)
    assert layout.faults(shapes) == []


def test_the_official_classifier():
    shapes = da(101, 10, 17)
    official = {
        "shared.15.conv2.weight",
        "classifier.12.bn3.bias",
        "classifier.13.0.downsample.0.weight",
    }
    assert official <= shapes.keys()
    assert len(shapes) == 626
    layout = diffcam(shapes)
    sizes = [shape for path, (_, shape) in layout.sources.items() if path[0] == "params"]
    assert sum(int(np.prod(shape)) for shape in sizes) == pytest.approx(42.535e6, abs=1e3)


def test_arrays_go_where_they_belong_and_back():
    state = state_of(da(18, 1, 3))
    layout = diffcam(state_shapes := {key: array.shape for key, array in state.items()})
    variables = layout.convert(state)
    trunk, stats = variables["params"]["trunk"], variables["batch_stats"]["trunk"]
    np.testing.assert_array_equal(
        trunk["layer3_1"]["conv2"]["kernel"][0, 2, 5, 7],
        state["classifier.0.conv2.weight"][7, 5, 0, 2],
    )
    np.testing.assert_array_equal(
        trunk["layer4_0"]["downsample_bn"]["scale"], state["classifier.1.0.downsample.1.weight"]
    )
    np.testing.assert_array_equal(
        stats["layer2_1"]["bn1"]["var"], state["shared.5.1.bn1.running_var"]
    )
    np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], state["fc.weight"].T)
    exported = layout.export(variables)
    assert exported.keys() == {key for key in state_shapes if "num_batches" not in key}
    assert all(np.array_equal(array, state[key]) for key, array in exported.items())
    assert jax.tree.all(jax.tree.map(lambda a: a.dtype == np.float32, variables))


def test_what_does_not_fit_is_named():
    shapes = torchvision(18)
    missing = {key: shape for key, shape in shapes.items() if key != "layer2.0.bn1.bias"} | {
        "layer2.0.bn1.biass": (128,)
    }
    faults = torchvision_resnet(missing).faults(missing)
    assert faults[0].startswith("layer2.0.bn1.bias is missing (nearest: layer2.0.bn1.biass)")
    assert faults[1].startswith("layer2.0.bn1.biass is left over")
    with pytest.raises(
        UserError, match="2, 2, 2, 1 blocks are none of the ResNets 18, 34, 50, 101"
    ):
        torchvision_resnet(
            {key: shape for key, shape in shapes.items() if not key.startswith("layer4.1")}
        )
    with pytest.raises(UserError, match=r"fc\.weight is missing"):
        diffcam({key: shape for key, shape in da(18, 1, 3).items() if not key.startswith("fc")})
    with pytest.raises(UserError, match="none of the ResNets"):
        diffcam({})
