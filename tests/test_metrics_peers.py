"""Measures against the PyTorch packages that define them, `lpips` and `pytorch-fid`, on the same
weights.

The packages are no dependency: `pip install lpips pytorch-fid torch torchvision`, then `pytest -m
peers`. Their trunks come from hosts of their own; here they get the stored weights, so no network
is needed.
"""

import importlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from convert_weights.__main__ import main
from convert_weights.layouts.inception import inception as inception_layout
from convert_weights.layouts.lpips import lpips as lpips_layout
from diffcam_jax.metrics.features import InceptionFeatures
from diffcam_jax.metrics.frechet import frechet_distance, statistics
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.pretrained import store

pytestmark = [pytest.mark.peers, pytest.mark.weights]
FIRST = {"alex": (64, 3, 11, 11), "vgg": (64, 3, 3, 3)}


def peer(name):
    """A package that need not be installed, and that may not fit to the torch that is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            pytest.skip(
                f"{name} cannot be imported ({str(error).splitlines()[0]}): pip install lpips "
                "pytorch-fid torchvision"
            )


@pytest.fixture(scope="module")
def photographs():
    """Parts of real photographs at two scales, 128 and 256 px."""
    folder = store.fetch("ffhq_photos")
    whole = [Image.open(folder / f"{i:05d}.png").convert("RGB") for i in range(11)]
    corners = [(x, y) for x in (0, 256, 512) for y in (0, 256, 512)]
    parts = [
        np.asarray(p.crop((x, y, x + 512, y + 512)).reduce(2)) for p in whole for x, y in corners
    ]
    return np.stack(parts)  # [99, 256, 256, 3]


def chw(images):
    torch = peer("torch")
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def quiet(call, *arguments, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **named)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips(photographs, net):
    torch, package = peer("torch"), peer("lpips")
    network = quiet(package.LPIPS, net=net, pnet_rand=True, verbose=False)
    own_heads = {
        key: value.clone() for key, value in network.state_dict().items() if key.startswith("lin")
    }
    state = lpips_layout({"net.slice1.0.weight": FIRST[net]}).export(
        pretrained.load("lpips").network(f"lpips_{net}").variables
    )
    # The package brings the heads itself: the stored ones are these.
    for key, head in own_heads.items():
        if key in state:
            np.testing.assert_array_equal(state[key], head.numpy())
    trunk = {
        key: torch.from_numpy(value.copy())
        for key, value in state.items()
        if key.startswith("net.")
    }
    assert not network.load_state_dict(trunk, strict=False).unexpected_keys
    a, b = photographs[:6], photographs[3:9]
    with torch.no_grad():
        theirs = network(*(2 * chw(x).float() / 255 - 1 for x in (a, b))).numpy().reshape(-1)
    ours = Lpips(net, batch=4)(a, b)
    assert theirs.min() > 0.1
    print(f"\nLPIPS {net}: largest relative difference {np.abs(ours / theirs - 1).max():.1e}")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_lpips_squeeze_from_converted_weights(photographs, tmp_path):
    """Its trunk is not stored: the package's own network with random weights.

    Through conversion.
    """
    torch, package = peer("torch"), peer("lpips")
    torch.manual_seed(0)
    network = quiet(package.LPIPS, net="squeeze", pnet_rand=True, verbose=False)
    torch.save(network.state_dict(), tmp_path / "squeeze.pth")
    assert (
        main(["lpips", "--src", str(tmp_path / "squeeze.pth"), "--dst", str(tmp_path / "folder")])
        == 0
    )
    a, b = photographs[:3], photographs[3:6]
    with torch.no_grad():
        theirs = network(*(2 * chw(x).float() / 255 - 1 for x in (a, b))).numpy().reshape(-1)
    np.testing.assert_allclose(
        Lpips("squeeze", weights=tmp_path / "folder")(a, b), theirs, rtol=1e-4
    )


def test_fid(photographs):
    torch, package, score = (
        peer("torch"),
        peer("pytorch_fid.inception"),
        peer("pytorch_fid.fid_score"),
    )
    variables = jax.tree.map(
        jnp.asarray, pretrained.load("inception").network("inception").variables
    )
    state = {
        key: torch.from_numpy(value.copy())
        for key, value in inception_layout({}).export(variables).items()
    }
    # The package fetches its file when it is built; the linear layer in it, which FID does not use,
    # is left out here.
    original = package.load_state_dict_from_url
    package.load_state_dict_from_url = lambda *_, **__: (
        state
        | {
            "fc.weight": torch.zeros(1008, 2048),
            "fc.bias": torch.zeros(1008),
        }
    )
    try:
        network = quiet(package.InceptionV3).eval()
    finally:
        package.load_state_dict_from_url = original
    real, fake = (
        photographs[::3],
        np.concatenate([photographs[1::3][:, :, ::-1], photographs[2::3] // 2]),
    )
    with torch.no_grad():
        theirs = [
            torch.cat(
                [
                    network(chw(x[i : i + 11]).float() / 255)[0][..., 0, 0]
                    for i in range(0, len(x), 11)
                ]
            )
            for x in (real, fake)
        ]
    theirs = [x.numpy() for x in theirs]
    look = InceptionFeatures()
    ours = [look(x) for x in (real, fake)]
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    moments = [
        (x.astype(np.float64).mean(0), np.cov(x.astype(np.float64), rowvar=False)) for x in theirs
    ]
    published = quiet(score.calculate_frechet_distance, *moments[0], *moments[1])
    value = frechet_distance(*(statistics(x) for x in ours))
    print(
        f"\nFID: {value:.5f}, pytorch-fid {published:.5f}, relative difference "
        f"{abs(value / published - 1):.1e}"
    )
    assert value == pytest.approx(published, rel=1e-3)
