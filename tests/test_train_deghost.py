"""Training of the deghosting network: parameters, losses, presets, export, and overfitting."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.deghost import get_config
from diffcam_jax.data.ghost_blends import draw_edits, make_ghosts, toy_ghost_networks
from diffcam_jax.data.toy import ToyPictures
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.nn.vgg import VGG16
from diffcam_jax.pretrained import store
from diffcam_jax.train import deghost
from diffcam_jax.train.blends import GhostConfig, StoredBlends
from diffcam_jax.train.deghost_losses import ADVERSARIAL, Losses, choices
from diffcam_jax.train.deghost_networks import (
    deghosting_network,
    discriminating_network,
    with_prior,
)
from tests.random_variables import random_variables


class Fixed:
    """The same batch for training and evaluation."""

    def __init__(self, **batch):
        self.held_out = batch

    def __getitem__(self, step):
        return self.held_out


def toys(count, size=16, seed=0):
    pictures = ToyPictures(count, size, seed)
    return np.stack([pictures[i]["image"] for i in range(count)])


def pictures_only(count=4):
    return Fixed(image=toys(count, seed=9))


def pairs(count=4, size=16):
    """Targets, and the same with a square of another colour."""
    target = toys(count, size)
    image = target.copy()
    image[:, 4:10, 4:10] = 255 - image[:, 4:10, 4:10]
    return Fixed(image=image, target=target)


def small(**overrides):
    """The debug configuration, smaller still: 8 -> 16 pixels."""
    config = get_config("debug")
    config.update_from_flattened_dict({"model.in_size": 8, "model.out_size": 16, **overrides})
    return config


def compiled(trainer):
    return [
        jax.jit(lambda state, batch, i=i, phase=phase: phase.step(state, batch, state.phase_key(i)))
        for i, phase in enumerate(trainer.phases)
    ]


@pytest.fixture(scope="module")
def trained():
    """Two steps of the debug configuration: the state before, the one after, the numbers."""
    trainer = deghost.build(small(), pictures_only(), None)
    assert [(phase.name, phase.every) for phase in trainer.phases] == [("train", 1), ("r1", 2)]
    before = trainer.create()
    state, numbers = before, {}
    for step, name in zip(compiled(trainer), ("train", "r1"), strict=True):
        state, numbers[name] = step(state, {"image": toys(2)})
    return trainer, before, state, numbers


def moved(before, after):
    return {
        "/".join(str(part.key) for part in path[:2])
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True
        )
        if not np.array_equal(a, b)
    }


def test_what_is_trained(trained):
    _, before, after, numbers = trained
    names = moved(before.nets["deghoster"].params, after.nets["deghoster"].params)
    assert {"up_0/conv", "to_image/conv2", "fusion_0/kernel", "rrdb/conv_first"} <= names
    assert not any(name.startswith("generator") for name in names)  # the prior
    assert moved(before.nets["discriminator"].params, after.nets["discriminator"].params)
    for name in ("generator", "classifier"):
        assert before.nets[name].opt_state is None and not moved(
            before.nets[name].variables, after.nets[name].variables
        )
    # Adam's two moments and no more: none for the prior.
    params = dict(before.nets["deghoster"].params)
    prior = params.pop("generator")
    numbers_kept = sum(
        leaf.size for leaf in jax.tree.leaves(before.nets["deghoster"].opt_state) if leaf.ndim
    )
    assert (
        numbers_kept == 2 * sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim)
        and prior
    )
    assert moved(before.ema["deghoster"], after.ema["deghoster"]) == names
    assert int(after.skipped) == 0 and all(
        np.isfinite(list(found.values())).all() for found in numbers.values()
    )
    assert set(numbers["train"]) == {
        "loss",
        "mse",
        "adversarial",
        "grad_norm",
        "d_loss",
        "d_grad_norm",
    }


def test_what_people_look_at(trained, tmp_path):
    trainer, _, state, _ = trained
    found = trainer.evaluate(state)
    assert (
        set(found) == {"psnr_restored", "psnr_fused", "score"}
        and found["score"] == found["psnr_restored"]
    )
    assert 5 < found["psnr_fused"] < 60 and found == trainer.evaluate(state)
    rows = trainer.samples(state)["restored"]
    assert rows.shape == (2 * 16, 3 * 16, 3) and rows.dtype == np.uint8
    np.testing.assert_array_equal(rows[:16, :16], toys(1, seed=9)[0])
    trainer.export(state, tmp_path)
    module, variables = model_folder.load(tmp_path).network("deghoster")
    assert (module.in_size, module.out_size) == (8, 16)
    np.testing.assert_array_equal(
        variables["params"]["to_image"]["conv2"]["kernel"],
        state.ema["deghoster"]["to_image"]["conv2"]["kernel"],
    )
    assert (
        "--deghoster {workdir} --generator FOLDER_OF_A_GENERATOR_OF_16_PIXELS"
        in trainer.next_command
    )


def test_the_losses_by_hand():
    """Each network's gradient is that of its own loss, written out here."""
    sizes = {"model.in_size": 4, "model.out_size": 8, "model.train_prior": True}
    config = small(adversarial="minimax", adversarial_weight=0.3, pixel_weight=2.0, **sizes)
    data = pairs(2, 8)
    trainer, batch = deghost.build(config, data, None), data.held_out
    state = trainer.create()
    image, target = (
        jnp.asarray(batch[name], jnp.float32) / 127.5 - 1 for name in ("image", "target")
    )
    deghoster, _ = deghosting_network(config.model)
    judge = discriminating_network(config, deghoster).module
    reduced = image.reshape(2, 4, 2, 4, 2, 3).mean((2, 4))
    noise = state.nets["deghoster"].collections
    old = {name: state.nets[name].params for name in ("deghoster", "discriminator")}

    def restoration(params, judging):
        fake = deghoster.apply({"params": params, **noise}, reduced)
        sure = jax.nn.sigmoid(judge.apply({"params": judging}, fake))
        return 2 * jnp.mean((fake - target) ** 2) + 0.3 * jnp.log(1 - sure).mean(), fake

    def opinion(params, fake):
        real, false = (jax.nn.sigmoid(judge.apply({"params": params}, x)) for x in (target, fake))
        return -jnp.log(real).mean() - jnp.log(1 - false).mean()

    @jax.jit
    def by_hand(old):
        own = jax.value_and_grad(restoration, has_aux=True)
        (loss, fake), grads = own(old["deghoster"], old["discriminator"])
        d_loss, d_grads = jax.value_and_grad(opinion)(old["discriminator"], fake)
        return loss, optax.tree.norm(grads), d_loss, optax.tree.norm(d_grads)

    _, found = compiled(trainer)[0](state, batch)
    ours = [found[name] for name in ("loss", "grad_norm", "d_loss", "d_grad_norm")]
    np.testing.assert_allclose(ours, by_hand(old), rtol=2e-3)
    logits = jnp.array([-1.0, 2.0])
    np.testing.assert_allclose(
        ADVERSARIAL["nonsaturating"](logits), -np.log(1 / (1 + np.exp(-logits))), rtol=1e-5
    )


@pytest.mark.weights
def test_the_perceptual_loss_looks_through_conv4_3_before_its_relu():
    sizes = {"model.in_size": 16, "model.out_size": 32}
    config = small(perceptual_weight=0.8, adversarial_weight=0.0, **sizes)
    data = pairs(2, 32)
    trainer = deghost.build(config, data, None)
    state, deghoster = trainer.create(), deghosting_network(config.model)[0]
    task = Losses(config, choices(config), deghoster, None, StoredBlends())
    params = {"deghoster": state.nets["deghoster"].params}
    loss, (numbers, _) = jax.jit(task.loss)(state, params, data.held_out, jax.random.key(0))
    tree = store.load_pretrained("lpips")[0]["vgg16"]["trunk"]
    fake, target = jax.random.uniform(jax.random.key(0), (2, 2, 32, 32, 3), minval=-1)

    @jax.jit
    def features(x):
        x = ((x + 1) / 2 - jnp.array([0.485, 0.456, 0.406])) / jnp.array([0.229, 0.224, 0.225])
        return VGG16(("conv4_3",)).apply({"params": tree}, x)["conv4_3"]

    expected = jnp.mean((features(fake) - features(target)) ** 2, (1, 2, 3))
    vgg = state.nets["vgg"]
    trunk = lambda x: [VGG16(("conv4_3",)).apply(vgg.variables, x)["conv4_3"]]  # noqa: E731
    ours = jax.jit(lambda a, b: losses.perceptual(a, b, trunk))(fake, target)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    assert features(fake).min() < 0 and vgg.opt_state is None and "conv5_1" not in vgg.params
    assert loss == pytest.approx(float(numbers["mse"] + 0.8 * numbers["perceptual"]), rel=1e-5)
    assert {"lpips_restored", "lpips_fused"} <= set(trainer.evaluate(state))


def test_presets_and_overrides():
    config = get_config()
    found = {}
    for config.variant in ("official", "paper"):
        found[config.variant] = choices(config)
    assert (
        found["official"]["perceptual_weight"] == 0.01
        and found["paper"]["perceptual_weight"] == 0.8
    )
    assert (found["official"]["adversarial"], found["paper"]["adversarial"]) == (
        "nonsaturating",
        "minimax",
    )
    assert (found["official"]["resize"], found["paper"]["resize"]) == ("nearest", "bilinear")
    config.perceptual_weight, config.ghost.resize = 0.5, "nearest"
    assert choices(config) == found["paper"] | {
        "perceptual_weight": 0.5,
        "resize": "nearest",
    }
    official = get_config("official")
    sizes, _ = deghosting_network(official.model)
    assert (sizes.in_size, sizes.out_size, sizes.blocks, sizes.rrdb_width) == (128, 1024, 23, 64)
    assert (official.r1_gamma, official.ema, official.batch_size, official.steps) == (
        0,
        0,
        4,
        200_000,
    )
    left = deghost.build(small(r1_every=0), pictures_only(), None).phases
    assert [phase.name for phase in left] == ["train"]


@pytest.mark.parametrize(
    ("overrides", "data", "message"),
    [
        ({"variant": "mine"}, pairs, "choose official or paper"),
        ({"adversarial": "hinge"}, pairs, "choose nonsaturating or minimax"),
        ({"model.out_size": 64}, pairs, "the pictures have 16 pixels, the network gives 64"),
        ({"model.in_size": 24}, pairs, "two powers of two"),
        ({"ghost.strength": (0.0, 1.0)}, pictures_only, "above 0"),
    ],
)
def test_what_does_not_fit_is_refused(overrides, data, message):
    with pytest.raises(UserError, match=message):
        deghost.build(small(**overrides), data(), None)


def test_a_batch_that_the_discriminator_cannot_group(trained):
    trainer, state = deghost.build(small(), pairs(6), None), trained[1]
    with pytest.raises(UserError, match="a device's microbatch has 6"):
        jax.eval_shape(trainer.phases[0].step, state, pairs(6).held_out, jax.random.key(0))


def test_codes_have_to_be_those_of_the_generator():
    toy, rng = toy_ghost_networks(), np.random.default_rng(0)
    codes = rng.standard_normal((2, 18, 8)).astype(np.float32)
    synthesis = jax.jit(lambda generator, w: generator(w, method="synthesis", size=16))
    drawn = synthesis(toy.generator, jnp.asarray(codes))
    pixels = np.asarray(jnp.round(drawn.clip(-1, 1) * 127.5 + 127.5), np.uint8)
    deghost.build(small(), Fixed(image=pixels, code=codes), None)
    for image, code, message in (
        (255 - pixels, codes, "another generator"),
        (pixels, codes[:, :10], "codes are"),
    ):
        with pytest.raises(UserError, match=message):
            deghost.build(small(), Fixed(image=image, code=code), None)


def test_a_prior_from_a_folder_gives_its_weights_and_widths(tmp_path):
    module = StyleGAN2Generator((6, 5, 4, 3), 7, 2)
    variables = random_variables(module, jnp.zeros((1, 7)))
    model_folder.save(
        tmp_path,
        {"generator": Network(module, jax.tree.map(np.asarray, variables))},
        {},
        {"kind": "g"},
    )
    config = small(**{"model.prior": str(tmp_path), "model.in_size": 16, "model.out_size": 32})
    deghoster, prior = deghosting_network(config.model)
    assert (deghoster.widths, deghoster.latent_size, deghoster.mapping_layers) == (
        (6, 5, 4, 3),
        7,
        2,
    )
    empty = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape),
        jax.eval_shape(deghoster.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3))),
    )
    filled = with_prior(empty, prior)
    assert jax.tree.structure(filled) == jax.tree.structure(empty)
    for name in ("params", "noise"):
        jax.tree.map(np.testing.assert_array_equal, filled[name]["generator"], variables[name])
    config.model.out_size = 64
    with pytest.raises(UserError, match="the prior draws 32 pixels"):
        deghosting_network(config.model)


def test_half_precision_stays_close():
    config = small(adversarial_weight=0.0)
    deghoster, _ = deghosting_network(config.model)
    variables = random_variables(deghoster, jnp.zeros((1, 8, 8, 3)))
    images = jnp.asarray(toys(2) / 127.5 - 1, jnp.float32)
    found = {}
    for config.precision in ("float32", "bfloat16"):
        task = Losses(config, choices(config), deghoster, None, StoredBlends())
        found[config.precision] = np.asarray(jax.jit(task.restore)(variables, images))
    error = np.abs(found["bfloat16"] - found["float32"]).mean() / np.abs(found["float32"]).mean()
    assert found["bfloat16"].dtype == np.float32 and 1e-5 < error < 0.05


@pytest.mark.nightly
def test_it_learns_eight_pictures():
    """Blends of the toy networks, restored: the squared error falls to a tenth."""
    toy, target = toy_ghost_networks(), toys(8)
    codes = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (8, 1, 8)), (8, 18, 8))
    ghost = GhostConfig(classifier_size=16)
    images = jnp.asarray(target / 127.5 - 1, jnp.float32)
    fused = make_ghosts(
        toy, images, codes, *draw_edits(jax.random.key(2), toy, 8, ghost), ghost
    ).fused
    batch = {"image": np.asarray(jnp.round(fused * 127.5 + 127.5), np.uint8), "target": target}
    config = small(adversarial_weight=0.0, ema=0.0, learning_rate=3e-3, steps=300)
    trainer = deghost.build(config, Fixed(**batch), None)
    state, step = trainer.create(), compiled(trainer)[0]
    history = []
    for _ in range(config.steps):
        state, numbers = step(state, batch)
        history.append(numbers["mse"])
    assert history[-1] < history[0] / 10 and history[-1] < 0.02
    found = trainer.evaluate(state)
    assert found["psnr_restored"] > found["psnr_fused"]
