"""BiSeNet against a NumPy forward of the same checkpoint with its batch norms left in place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from diffcam_jax.nn.bisenet import CLASSES, BiSeNet, from_torch, upsample_logits
from diffcam_jax.pretrained import store


class Checkpoint:
    """A seeded checkpoint, filled while the NumPy forward asks for keys, which is also how its keys
    are listed.
    """

    def __init__(self):
        self.rng, self.state = np.random.default_rng(0), {}

    def conv(self, x, key, cout, k, stride=1):
        cin, pad = x.shape[0], k // 2
        kernel = (self.rng.normal(size=(cout, cin, k, k)) * (cin * k * k) ** -0.5).astype("f4")
        self.state[f"{key}.weight"] = kernel
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(x, ((0, 0), (pad, pad), (pad, pad))), (k, k), (1, 2)
        )
        return np.einsum("chwij,dcij->dhw", windows[:, ::stride, ::stride], kernel, optimize=True)

    def norm(self, x, key):
        c = x.shape[0]
        values = [*self.rng.normal([[1], [0], [0]], 0.1, (3, c)), self.rng.uniform(0.5, 2, c)]
        names = ("weight", "bias", "running_mean", "running_var")
        for name, value in zip(names, values, strict=True):
            self.state[f"{key}.{name}"] = value.astype("f4")
        gain, bias, mean, var = (v.astype("f4")[:, None, None] for v in values)
        return (x - mean) / np.sqrt(var + 1e-5) * gain + bias

    def block(self, x, key, cout, k):
        return np.maximum(self.norm(self.conv(x, f"{key}.conv", cout, k), f"{key}.bn"), 0)

    def forward(self, image):
        """Logits [19, h/8, w/8] of one picture [h, w, 3] in [0, 1]."""
        relu, mean = (lambda x: np.maximum(x, 0)), (lambda x: x.mean((1, 2), keepdims=True))
        x = ((image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)
        x = relu(self.norm(self.conv(x, "cp.resnet.conv1", 64, 7, 2), "cp.resnet.bn1"))
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        x = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2].max(
            (-1, -2)
        )
        stages = []
        for stage, c in enumerate((64, 128, 256, 512), 1):
            for index in range(2):
                key, stride = (
                    f"cp.resnet.layer{stage}.{index}",
                    2 if stage > 1 and index == 0 else 1,
                )
                y = relu(self.norm(self.conv(x, f"{key}.conv1", c, 3, stride), f"{key}.bn1"))
                y = self.norm(self.conv(y, f"{key}.conv2", c, 3), f"{key}.bn2")
                if stride == 2:
                    x = self.norm(
                        self.conv(x, f"{key}.downsample.0", c, 1, 2), f"{key}.downsample.1"
                    )
                x = relu(x + y)
            stages.append(x)
        _, s8, s16, s32 = stages

        def arm(x, key):
            x = self.block(x, f"{key}.conv", 128, 3)
            return x / (
                1
                + np.exp(
                    -self.norm(self.conv(mean(x), f"{key}.conv_atten", 128, 1), f"{key}.bn_atten")
                )
            )

        def up(x):
            return x.repeat(2, 1).repeat(2, 2)

        context = arm(s32, "cp.arm32") + self.block(mean(s32), "cp.conv_avg", 128, 1)
        context = self.block(up(context), "cp.conv_head32", 128, 3)
        context = self.block(up(arm(s16, "cp.arm16") + context), "cp.conv_head16", 128, 3)
        fused = self.block(np.concatenate([s8, context]), "ffm.convblk", 256, 1)
        gate = self.conv(relu(self.conv(mean(fused), "ffm.conv1", 64, 1)), "ffm.conv2", 256, 1)
        fused = fused / (1 + np.exp(-gate)) + fused
        return self.conv(self.block(fused, "conv_out.conv", 256, 3), "conv_out.conv_out", 19, 1)


@pytest.fixture(scope="module")
def checkpoint():
    image = np.random.default_rng(1).uniform(size=(64, 96, 3))
    source = Checkpoint()
    logits = source.forward(image)
    unused = {
        "cp.resnet.bn1.num_batches_tracked": np.zeros((), "i8"),
        "conv_out16.conv_out.weight": np.zeros(1),
    }
    return image, logits, source.state | unused


def test_network_and_folding_equal_the_unfolded_forward(checkpoint):
    image, logits, state = checkpoint
    params = jax.tree.map(jnp.asarray, from_torch(state))
    x = jnp.asarray(image[None] * 2 - 1, jnp.float32)
    shapes = jax.eval_shape(lambda: BiSeNet().init(jax.random.key(0), x))["params"]
    assert jax.tree.map(lambda a: a.shape, shapes) == jax.tree.map(lambda a: a.shape, params)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(BiSeNet().apply)({"params": params}, x)
    assert ours.shape == (1, 8, 12, 19)
    np.testing.assert_allclose(ours[0], logits.transpose(1, 2, 0), atol=1e-4 * np.abs(logits).max())


def test_conversion_is_strict(checkpoint):
    _, _, state = checkpoint
    with pytest.raises(KeyError, match=r"cp\.stray\.weight"):
        from_torch({**state, "cp.stray.weight": np.zeros(1)})
    with pytest.raises(KeyError, match=r"ffm\.conv1\.weight"):
        from_torch({k: v for k, v in state.items() if k != "ffm.conv1.weight"})


def test_upsampling_aligns_corners():
    logits = np.random.default_rng(2).normal(size=(1, 5, 5, 2)).astype("f4")
    theirs = scipy.ndimage.zoom(logits[0], (17 / 5, 17 / 5, 1), order=1)
    np.testing.assert_allclose(upsample_logits(jnp.asarray(logits), 17)[0], theirs, atol=1e-5)


@pytest.mark.weights
def test_released_weights_parse_a_photograph():
    photo = Image.open(store.fetch("ffhq_photos") / "00005.png").convert("RGB").reduce(2)
    params, _ = store.load_pretrained("bisenet")
    x = jnp.asarray(np.asarray(photo)[None] / 127.5 - 1, jnp.float32)
    labels = np.asarray(jax.jit(BiSeNet().apply)({"params": params}, x)[0].argmax(-1))

    def centre(name):
        rows, columns = np.nonzero(labels == CLASSES.index(name))
        return np.array([columns.mean(), rows.mean()]) / labels.shape

    assert np.all(np.abs(centre("eyeglasses") - [0.5, 0.47]) < 0.06)
    assert np.all(np.abs(centre("nose") - [0.5, 0.56]) < 0.08)
    assert centre("hair")[1] < 0.4 < 0.85 < centre("cloth")[1]
