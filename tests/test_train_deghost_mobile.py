"""Training of the small deghosting network: start, parameters, losses, export, overfitting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.deghost_mobile import get_config
from diffcam_jax.data.ghost_blends import toy_ghost_networks
from diffcam_jax.editing.compose import blend, dilate, feather
from diffcam_jax.editor.editor import PRODUCT_CONFIG
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train.deghost_mobile import build, load_generator, make_network, make_source
from diffcam_jax.train.deghost_mobile_losses import Losses, cropped, psnr_inside
from diffcam_jax.train.state import Net


def config(**overrides):
    chosen = get_config("debug")
    chosen.update_from_flattened_dict(overrides)
    return chosen


@pytest.fixture(scope="module")
def run():
    """A trainer that has learned two pairs: states before and after, numbers, pairs, the step."""
    chosen = config(steps=80, learning_rate=4e-3)
    data = make_source(chosen, 2)
    trainer = build(chosen, data, None)
    before = trainer.create()
    step = jax.jit(lambda state, batch: trainer.phases[0].step(state, batch, state.phase_key(0)))
    state, history = before, []
    for _ in range(chosen.steps):
        state, numbers = step(state, data.held_out)
        state = state.replace(step=state.step + 1)
        history.append({name: float(value) for name, value in numbers.items()})
    return trainer, before, state, history, data, step


def test_it_starts_as_the_blend_and_gets_better(run):
    trainer, before, after, history, *_ = run
    start, end = trainer.evaluate(before), trainer.evaluate(after)
    assert (
        set(start) == {"psnr_restored", "psnr_fused", "score"}
        and start["score"] == start["psnr_restored"]
    )
    assert start["psnr_restored"] == pytest.approx(start["psnr_fused"], abs=1e-4)
    assert (
        end["psnr_fused"] == start["psnr_fused"]
        and end["psnr_restored"] > start["psnr_restored"] + 1
    )
    assert set(history[0]) == {"loss", "pixel", "grad_norm"}
    losses = [numbers["loss"] for numbers in history]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_what_is_trained(run):
    _, before, after, *_ = run
    assert (
        set(before.nets) == {"generator", "deghoster"}
        and before.nets["generator"].opt_state is None
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        before.nets["generator"].variables,
        after.nets["generator"].variables,
    )
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()),
        before.nets["deghoster"].params,
        after.nets["deghoster"].params,
    )
    assert all(jax.tree.leaves(moved))
    assert not jax.tree.leaves(before.nets["deghoster"].collections)
    # Adam's two moments of the network, and nothing of the prior's size.
    size = sum(leaf.size for leaf in jax.tree.leaves(before.nets["deghoster"].params))
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(before.nets["deghoster"].opt_state) if leaf.ndim)
        == 2 * size
    )


def test_the_loss_by_hand(run):
    """The product's mask, blend and paste region, written out.

    The error counts as the region says, and a little beside it.
    """
    _, before, _, _, data, step = run
    batch = {**data.held_out, "mask": np.zeros((2, 32, 32), np.uint8)}
    batch["mask"][0, :3, :3], batch["mask"][1, 30:, :] = 255, 180
    _, numbers = step(before, batch)

    original, edited, truth = (
        batch[name] / np.float32(127.5) - 1 for name in ("original", "edited", "truth")
    )
    own = PRODUCT_CONFIG
    raised = np.clip(
        (batch["mask"] / 255 - own.mask.low) / (own.mask.high - own.mask.low), 0, 1
    ).astype(np.float32)
    mask = np.asarray(feather(dilate(jnp.asarray(raised), own.mask.dilation), own.mask.feather))
    source = edited
    fused = source.clip(-1, 1) * mask[..., None] + original * (1 - mask[..., None])
    raised = np.clip((mask - own.paste.low) / (own.paste.high - own.paste.low), 0, 1)
    region = np.asarray(feather(dilate(jnp.asarray(raised), own.paste.dilation), own.paste.feather))
    assert 0.05 < region.mean() < 1 and 0 < mask.mean() < 0.9

    rounded = (np.sqrt((fused - truth) ** 2 + 1e-4) - 0.01).mean(
        -1
    )  # an untrained network returns the blend
    expected = (rounded * (region + 0.05)).mean()
    assert float(numbers["pixel"]) == pytest.approx(expected, rel=2e-3)
    assert float(numbers["loss"]) == pytest.approx(5 * expected, rel=2e-3)


def test_what_people_look_at_and_what_is_handed_on(run, tmp_path):
    trainer, _, state, _, data, _ = run
    rows = trainer.samples(state)["restored"]
    assert rows.shape == (2 * 32, 4 * 32, 3) and rows.dtype == np.uint8
    np.testing.assert_array_equal(rows[:32, :32], data.held_out["original"][0])
    np.testing.assert_array_equal(rows[:32, -32:], data.held_out["truth"][0])
    content = trainer.export(state, tmp_path)
    module, variables = model_folder.load(tmp_path).network("deghoster")
    assert module.prior == content["generator_sha256"] and len(module.prior) == 64
    assert (module.in_size, module.out_size) == (
        32,
        toy_ghost_networks().generator.module.resolution,
    )
    jax.tree.map(
        lambda half, whole: np.testing.assert_array_equal(half, np.asarray(whole, np.float16)),
        variables["params"],
        state.ema["deghoster"],
    )
    assert content["training"]["learning_rate"] == 4e-3 and content["pairs"] == {"name": "toy"}
    assert "--deghoster {workdir} --generator toy" in trainer.next_command


@pytest.mark.weights
def test_lpips_looks_at_the_pasted_result(run):
    """With an empty mask nothing is pasted, and the distance is 0.

    Else it is that of the blend inside the region.
    """
    _, before, _, _, data, _ = run
    chosen = config(**{"loss.lpips": 1.0, "loss.pixel": 0.0, "crop": 32})
    network, lpips = (
        make_network(chosen.model, load_generator("toy")),
        pretrained.load("lpips").network("lpips_alex"),
    )
    lpips = lpips.replace(variables=jax.tree.map(jnp.asarray, lpips.variables))
    task = Losses(chosen, network, load_generator("toy").module, lpips)
    state = before.replace(nets={**before.nets, "lpips": Net.create(lpips.variables)})

    @jax.jit
    def measured(state, batch):
        views, truth, region = task.views(batch)
        own = lpips.module.apply(lpips.variables, blend(truth, views.fused, region), truth).mean()
        return own, task.loss(state, state.nets["deghoster"].params, batch, jax.random.key(0))[0]

    own, full = measured(state, data.held_out)
    assert float(full) == pytest.approx(float(own), rel=1e-3) and float(own) > 0.01
    empty = {**data.held_out, "mask": np.zeros_like(data.held_out["mask"])}
    assert float(measured(state, empty)[1]) < 1e-9


def test_a_square_around_the_mask():
    x = jnp.arange(16 * 16, dtype=jnp.float32).reshape(1, 16, 16, 1).repeat(3, 0)
    mask = np.zeros((3, 16, 16), np.float32)
    mask[0, 6:9, 8:11] = 1  # in the middle
    mask[1, :2, 14:] = 0.5  # in a corner
    found = cropped(x, jnp.asarray(mask), 4)[..., 0]
    np.testing.assert_array_equal(found[0], x[0, 5:9, 7:11, 0])
    np.testing.assert_array_equal(found[1], x[1, :4, 12:, 0])
    np.testing.assert_array_equal(found[2], x[2, :4, :4, 0])  # no mask at all


def test_psnr_inside_a_region():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, (2, 3, 8, 8, 3)).astype(np.float32)
    region = np.zeros((3, 8, 8), np.float32)
    region[0], region[1, 2:4, 1:6] = 1, 1
    found = np.asarray(psnr_inside(*map(jnp.asarray, (a, b, region))))
    whole = 10 * np.log10(4 / np.mean((a[0] - b[0]) ** 2))
    part = 10 * np.log10(4 / np.mean((a[1, 2:4, 1:6] - b[1, 2:4, 1:6]) ** 2))
    np.testing.assert_allclose(found[:2], [whole, part], rtol=1e-4)
    assert np.isnan(found[2])
    pasted = np.asarray(blend(*map(jnp.asarray, (a, b, region))))
    np.testing.assert_array_equal(pasted[2], a[2])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.source": "known_edits"}, "which pairs"),
        ({"data.source": "folder"}, "choose known_edits or toy"),
        ({"model.in_size": 64}, "give one width for every side"),
        ({"model.prior_side": 32}, "as prior_side one of these"),
        (
            {"model.in_size": 16, "model.widths": (8, 8), "model.prior_side": 8},
            "the pairs have 32 pixels, the network reads 16",
        ),
    ],
)
def test_what_does_not_fit_is_refused(overrides, message):
    chosen = config(**overrides)
    with pytest.raises(UserError, match=message):
        build(chosen, make_source(chosen, 2), None)


def test_pairs_of_another_generator_are_refused():
    chosen = config()
    data = make_source(chosen, 2)
    data.held_out["code"] = data.held_out["code"][:, :5]
    with pytest.raises(UserError, match="codes have 5 rows, the generator reads 8"):
        build(chosen, data, None)
