"""Sources: a batch depends on seed and step alone, whatever the threads and processes.

Every kind gives what it says.
"""

import functools
import sys
from collections import Counter

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict
from PIL import Image

from diffcam_jax.data.drawn import Drawn, Prior, draw_dataset
from diffcam_jax.data.prepare import prepare
from diffcam_jax.data.sources import Source, make_source
from diffcam_jax.errors import UserError
from diffcam_jax.files import model_folder
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.random_variables import random_variables

flags.FLAGS.mark_as_parsed()


def configuration(seed=1, eval_size=3, **data):
    return ConfigDict({"seed": seed, "eval_size": eval_size, "data": data})


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty-four pictures of 80 pixels, some of them in a folder of their own."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        picture = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (80, 80))
        Image.fromarray(picture).save(folder / ("more" if i % 3 == 0 else "") / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    labels = out / "labels.csv"
    labels.write_text(
        "".join(f"{i:02d}.png,{'even' if i % 2 == 0 else 'odd'}\n" for i in range(24))
    )
    prepare(folder, "mine", 64, out, labels=labels, pairs=folder, test_share=0.2)
    return out


def test_toy_pictures_are_a_function_of_seed_and_number():
    source = make_source(configuration(source="toy", size=33, flip=True), 6)
    batch = source[7]
    assert batch["image"].shape == (6, 33, 33, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32 and source.held_out["image"].shape == (3, 33, 33, 3)
    source[2]
    assert_same(source[7], batch)
    assert_same(make_source(configuration(source="toy", size=33, flip=True), 6)[7], batch)
    assert (
        make_source(configuration(seed=2, source="toy", size=33), 6)[7]["image"] != batch["image"]
    ).any()
    few = make_source(configuration(source="toy", size=8, count=8), 8)
    assert (
        len(np.unique(few[0]["image"], axis=0)) == 8
    )  # a pass over all of them, in an order of its own
    assert (few[0]["image"] != few[1]["image"]).any()
    assert_same({"x": np.sort(few[0]["image"], axis=0)}, {"x": np.sort(few[1]["image"], axis=0)})


@pytest.mark.parametrize("kind", ["toy", "folder", "prepared"])
def test_slices_of_processes_and_threads_give_the_same_batch(kind, folder, prepared):
    where = {
        "toy": {},
        "folder": {"folder": str(folder)},
        "prepared": {"folder": str(prepared), "name": "mine"},
    }[kind]
    config = configuration(source=kind, size=32, flip=True, workers=1, **where)
    whole = make_source(config, 8)
    config.data.workers = 4
    parts = [make_source(config, 4, process, 2) for process in range(2)]
    for step in (0, 5):
        batch = whole[step]
        assert batch["image"].shape == (8, 32, 32, 3)
        assert_same(
            {key: np.concatenate([part[step][key] for part in parts]) for key in batch}, batch
        )
    assert_same(parts[1].held_out, whole.held_out)
    assert parts[1].description == whole.description and len(whole.description["sha256"]) == 64


class Numbered:
    """Records that tell their number, and left from right."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        picture = np.full((2, 2, 3), index, np.uint8)
        picture[:, 1] += 100
        return {"image": picture, "target": picture + 1, "label": np.int32(index)}


def test_every_pass_has_every_record_and_flips_take_the_target_along():
    source = Source(Numbered(), {}, {}, 4, seed=3, flip=True, workers=2)
    batches = [source[step] for step in range(50)]
    labels = np.concatenate([batch["label"] for batch in batches])
    for start in range(0, 200, 10):
        assert sorted(labels[start : start + 10]) == list(range(10))
    assert len({tuple(labels[start : start + 10]) for start in range(0, 200, 10)}) > 15
    images = np.concatenate([batch["image"] for batch in batches])
    targets = np.concatenate([batch["target"] for batch in batches])
    np.testing.assert_array_equal(targets, images + 1)
    flipped = images[:, 0, 0, 0] >= 100
    np.testing.assert_array_equal(images[:, 0, 0, 0] % 100, labels)
    assert 70 < flipped.sum() < 130  # 100 expected, standard deviation 7
    assert (
        len(Counter(zip(labels.tolist(), flipped.tolist()))) == 20
    )  # a record is not always mirrored
    plain = Source(Numbered(), {}, {}, 4, seed=3)
    np.testing.assert_array_equal(plain[9]["label"], batches[9]["label"])
    assert (plain[9]["image"][:, 0, 0, 0] < 100).all()


def test_folder_reads_and_averages_its_pictures(folder, capsys):
    source = make_source(
        configuration(eval_size=100, source="folder", folder=str(folder), size=40, test_share=0.3),
        24,
    )
    pictures = np.stack(
        [np.asarray(Image.open(path), np.float64) for path in sorted(folder.rglob("*.png"))]
    )
    expected = pictures.reshape(24, 40, 2, 40, 2, 3).mean((2, 4))
    assert source.description["count"] == 24
    for picture in (*source[0]["image"], *source.held_out["image"]):
        assert np.abs(picture - expected).max((1, 2, 3)).min() <= 0.75
    trained = {picture.tobytes() for step in range(3) for picture in source[step]["image"]}
    assert not trained & {picture.tobytes() for picture in source.held_out["image"]}
    assert capsys.readouterr().err == ""
    make_source(configuration(source="folder", folder=str(folder), size=96, test_share=0.3), 2)
    assert "smaller than 96 pixels" in capsys.readouterr().err


def test_prepared_pictures_come_with_label_and_target(prepared, folder):
    source = make_source(
        configuration(source="prepared", name="mine", folder=str(prepared), size=0), 6
    )
    batch = source[1]
    assert batch["image"].shape == (6, 64, 64, 3) and batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["target"], batch["image"])
    assert set(np.concatenate([source[step]["label"] for step in range(4)])) == {0, 1}
    assert source.description["name"] == "mine" and source.description["count"] == 24
    half = make_source(
        configuration(source="prepared", folder=str(prepared / "pictures/mine/1.0.0"), size=32), 6
    )
    mean = batch["image"].reshape(6, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(half[1]["image"] - mean).max() <= 0.75
    assert "tensorflow" not in sys.modules


def tiny_prior(**options):
    model = StyleGAN2Generator(widths=(4, 4), latent_size=8, mapping_layers=1)
    return Prior(model, random_variables(model, jnp.zeros((1, 8))), jnp.zeros(8), 8, **options)


def test_generator_gives_pictures_of_their_codes():
    prior = tiny_prior(mixing=0.5, seed=5)
    source = Drawn(prior, 8, 3)
    batch = source[2]
    assert batch["code"].shape == (8, 4, 8) and batch["code"].dtype == np.float32
    picture = jax.jit(functools.partial(prior.model.apply, method="synthesis"))(
        prior.variables, batch["code"]
    )
    assert (
        np.abs(np.clip(np.asarray(picture) * 127.5 + 127.5, 0, 255) - batch["image"]).max() <= 0.51
    )
    mixed = [len(np.unique(code, axis=0)) for step in range(5) for code in source[step]["code"]]
    assert set(mixed) == {1, 2} and 8 <= mixed.count(2) <= 32  # 20 expected, standard deviation 3
    parts = [Drawn(prior, 4, 3, process, 2) for process in (0, 1)]
    np.testing.assert_allclose(
        np.concatenate([part[2]["code"] for part in parts]), batch["code"], atol=1e-5
    )
    assert (
        np.abs(
            np.concatenate([part[2]["image"] for part in parts]).astype(int) - batch["image"]
        ).max()
        <= 1
    )
    np.testing.assert_allclose(parts[1].held_out["code"], source.held_out["code"], atol=1e-5)
    seen = {code.tobytes() for step in range(5) for code in source[step]["code"]}
    assert len(seen) == 40 and not seen & {code.tobytes() for code in source.held_out["code"]}
    still = Drawn(prior.replace(mean=jnp.arange(8.0), psi=0.0), 8, 0)
    np.testing.assert_array_equal(still[0]["code"], np.broadcast_to(np.arange(8.0), (8, 4, 8)))
    assert still.held_out == {} and still.description["sha256"] != source.description["sha256"]


def save_tiny_generator(folder):
    prior, mean = tiny_prior(), np.arange(8, dtype=np.float32)
    networks = {"generator": Network(prior.model, prior.variables)}
    model_folder.save(folder, networks, {"latent_avg": mean}, {"kind": "x"})
    return mean


def test_generator_of_a_converted_folder(tmp_path):
    mean = save_tiny_generator(tmp_path)
    config = configuration(source="generator", folder=str(tmp_path), size=0, psi=0.0)
    source = make_source(config, 4)
    assert source[0]["image"].shape == (4, 8, 8, 3) and source.description["name"] == str(tmp_path)
    np.testing.assert_array_equal(source.held_out["code"], np.broadcast_to(mean, (3, 4, 8)))
    for wrong, message in (
        ({"size": 16}, "powers of two from 4 to 8"),
        ({"size": 6}, "draws powers of two"),
    ):
        with pytest.raises(UserError, match=message):
            make_source(
                configuration(
                    **{"source": "generator", "folder": str(tmp_path), "size": 8, **wrong}
                ),
                3,
            )


def test_mirrored_pictures_come_without_codes():
    prior = tiny_prior(seed=5)
    plain, flipped = Drawn(prior, 8, 3), Drawn(prior, 8, 3, flip=True)
    assert flipped[2].keys() == flipped.held_out.keys() == {"image"}
    turned = 0
    for step in range(4):
        for one, other in zip(plain[step]["image"], flipped[step]["image"]):
            mirrored = (other == one[:, ::-1]).all()
            assert mirrored or (other == one).all()
            turned += mirrored
    assert 6 <= turned <= 26  # 16 expected, standard deviation 3


def test_a_drawn_dataset_is_what_the_generator_source_draws(tmp_path):
    save_tiny_generator(tmp_path / "model")
    where = str(tmp_path / "model")
    recipe = draw_dataset("drawn", 40, tmp_path, generator=where, size=8, seed=4, test_share=0.1)
    assert recipe["counts"] == {"train": 36, "test": 4}
    config = configuration(seed=4, eval_size=4, source="generator", folder=where, size=8)
    drawn = make_source(config, 8)
    config.data = ConfigDict({"source": "prepared", "folder": str(tmp_path), "name": "drawn"})
    source = make_source(config, 36)
    np.testing.assert_array_equal(source.held_out["image"], drawn.held_out["image"])
    np.testing.assert_array_equal(source.held_out["code"], drawn.held_out["code"])
    pictures = {code.tobytes(): image for code, image in zip(source[0]["code"], source[0]["image"])}
    for code, image in zip(drawn[2]["code"], drawn[2]["image"]):
        np.testing.assert_array_equal(pictures[code.tobytes()], image)
    config.data.flip = True
    assert make_source(config, 4)[0].keys() == {"image"}


def test_bad_data_is_one_clear_line(tmp_path, folder, prepared):
    def refused(match, **data):
        with pytest.raises(UserError, match=match) as refusal:
            make_source(configuration(**{"size": 32, **data}), 2)[0]
        assert "\n" not in str(refusal.value)

    (tmp_path / "empty").mkdir()
    refused("choose prepared, folder, generator or toy", source="tfds")
    refused("no such folder", source="folder", folder=str(tmp_path / "none"))
    refused("no pictures in it", source="folder", folder=str(tmp_path / "empty"))
    refused("data.folder=FOLDER", source="folder", folder="")
    refused("set config.data.size", source="toy", size=0)
    refused("data.name=NAME", source="prepared")
    refused("there are mine", source="prepared", name="other", folder=str(prepared))
    refused("--size 128", source="prepared", name="mine", folder=str(prepared), size=128)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_bytes((folder / "01.png").read_bytes()[:500])
    refused("leaves such files out", source="folder", folder=str(tmp_path / "bad"))


def test_a_dataset_without_test_pictures_says_so(tmp_path, folder, capsys):
    prepare(folder, "all", 16, tmp_path, test_share=0.0)
    source = make_source(
        configuration(eval_size=100, source="prepared", name="all", folder=str(tmp_path)), 2
    )
    assert len(source.held_out["image"]) == 24 and "no test pictures" in capsys.readouterr().err
    (tmp_path / "pictures/all/1.0.0/dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        make_source(configuration(source="prepared", name="all", folder=str(tmp_path)), 2)
