"""Edits whose correct result is known: the parts of a pair, folders that are resumed, batches."""

import dataclasses
import functools
import itertools
import zlib

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from diffcam_jax.data import edit_pairs, known_edits
from diffcam_jax.data.drawn import draw_dataset
from diffcam_jax.data.edit_pair_source import KnownEdits, open_pairs
from diffcam_jax.data.edit_pairs import (
    CONFIG,
    Pair,
    covered,
    make_pairs,
    photographed,
    toy_pairs,
)
from diffcam_jax.data.ghost_blends import draw_edits, toy_ghost_networks
from diffcam_jax.data.known_edits import write
from diffcam_jax.editing.diffcam import diff_cam
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from tests.test_data_ghosts import folders  # noqa: F401


def pictures(seed, size=32):
    """A face and its edit: the same but for a square."""
    rng = np.random.default_rng(seed)
    face = rng.integers(0, 256, (size, size, 3), np.uint8)
    truth = face.copy()
    truth[8:16, 8:16] = 255 - truth[8:16, 8:16]
    return face, truth


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_objects_are_in_front_of_both(seed):
    face, truth = pictures(seed)
    before, after = covered(face, truth, np.random.default_rng(seed))
    in_front = (before != face).any(-1)
    np.testing.assert_array_equal(before[in_front], after[in_front])
    np.testing.assert_array_equal(after[~in_front], truth[~in_front])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_one_camera_takes_both(seed):
    """Equal faces stay equal, so all that two photographs differ in is the edit.

    The same numbers give the same photograph.
    """
    face, truth = pictures(seed)
    same = photographed(face, face, np.random.default_rng(seed))
    np.testing.assert_array_equal(*same)
    again = photographed(face, truth, np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0], same[0])
    assert again[0].shape == again[1].shape == (32, 32, 3) and again[1].dtype == np.uint8


@pytest.fixture(scope="module")
def pairs():
    return toy_pairs(6, 32)


def encode(images):
    """Some code that depends on every picture alone."""
    return jnp.broadcast_to(images.mean((1, 2, 3))[:, None, None], (len(images), 18, 8))


def test_what_a_pair_is_made_of(pairs, monkeypatch):
    """With a camera that changes nothing I is the face, and the truth is its edit.

    I', T and M are those of the code half way to the one that was found.
    """
    for name in ("OBJECTS", "CAMERA"):
        monkeypatch.setattr(edit_pairs, name, lambda picture, rng: picture)
    toy, names = toy_ghost_networks(), ["x", "y"]
    codes, faces = (
        np.stack([pair.code for pair in pairs[:2]]),
        np.stack([pair.edited for pair in pairs[:2]]),
    )
    made = make_pairs(
        toy, encode, names, faces, codes, 4, dataclasses.replace(CONFIG, error=(0.5, 0.5))
    )

    keys = [jax.random.fold_in(jax.random.key(4), zlib.crc32(name.encode())) for name in names]
    edits, strengths = (
        jnp.concatenate(x)
        for x in zip(*(draw_edits(key, toy, 1, CONFIG) for key in keys), strict=True)
    )
    shifts = strengths[:, None, None] * toy.directions[edits]

    @jax.jit
    def expected(toy, codes, found, shifts):
        def drawn(w):
            picture = toy.generator(w, method="synthesis", size=32)
            return jnp.round(jnp.clip(picture * 127.5 + 127.5, 0, 255))

        original, truth, inverted, edited = map(
            drawn, (codes, codes + shifts, found, found + shifts)
        )
        units = inverted / 127.5 - 1, edited / 127.5 - 1
        mask = diff_cam(toy.classifier, *units, toy.classes[edits]).mask
        return original, inverted, edited, truth, 255 * mask, found + shifts

    found = (codes + encode(jnp.asarray(faces / 127.5 - 1, jnp.float32))) / 2
    own = expected(toy, jnp.asarray(codes), found, shifts)
    for name, ours, theirs in zip(Pair._fields, zip(*made, strict=True), own, strict=True):
        # A level of a picture may round the other way; the map is stretched to its extremes, its
        # mask is more sensitive.
        np.testing.assert_allclose(
            np.stack(ours).astype(float), theirs, atol={"code": 1e-5, "mask": 6}.get(name, 1.01)
        )
    assert np.stack([pair.mask for pair in made]).max() == 255


def test_a_pair_depends_on_its_name_only(pairs):
    toy = toy_ghost_networks()
    codes = np.stack([pair.code for pair in pairs[:3]])
    faces = np.stack([pair.original for pair in pairs[:3]])
    make = functools.partial(make_pairs, toy, encode)
    whole = make(["a", "b", "c"], faces, codes, 3)
    turned = make(["c", "a", "b"], faces[[2, 0, 1]], codes[[2, 0, 1]], 3)
    for one, other in zip(whole, (turned[1], turned[2], turned[0]), strict=True):
        np.testing.assert_array_equal(one.original, other.original)
        np.testing.assert_array_equal(one.truth, other.truth)
    assert (make(["a", "b", "d"], faces, codes, 3)[2].truth != whole[2].truth).any()


class Faces:
    def __init__(self, pairs):
        self._pairs = pairs

    def __len__(self):
        return len(self._pairs)

    def __getitem__(self, index):
        return {"image": self._pairs[index].original, "code": self._pairs[index].code}


def content(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*.npz")
        if not p.name.startswith(".")
    }


def test_a_folder_is_resumed_to_the_same_bytes(pairs, tmp_path, monkeypatch):
    toy = toy_ghost_networks()

    def run(folder, count=5):
        return write(toy, encode, Faces(pairs), "train", count, tmp_path / folder, 7)

    assert run("whole") == 5 and run("all", 99) == 6
    whole = content(tmp_path / "whole")
    assert sorted(whole) == [f"train/{i:06d}.npz" for i in range(5)]

    written, before = trees.write_atomically, []

    def killed(path, data):
        if len(before) == 3:
            raise KeyboardInterrupt
        before.append(path)
        written(path, data)

    monkeypatch.setattr(trees, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        run("cut")
    assert len(content(tmp_path / "cut")) == 3
    monkeypatch.setattr(trees, "write_atomically", written)
    run("cut")
    assert content(tmp_path / "cut") == whole


def marked(number):
    """A pair that can be told by its code."""
    picture = np.full((16, 16, 3), number, np.uint8)
    return Pair(
        picture,
        picture,
        picture,
        picture + 100,
        picture[..., 0],
        np.full((2, 3), number, np.float32),
    )


def test_batches_are_a_function_of_the_step():
    source = KnownEdits([marked(i) for i in range(12)], [marked(99)], {"name": "x"}, 4, seed=1)
    numbers = [source[step]["code"][:, 0, 0].astype(int).tolist() for step in range(6)]
    assert (
        sorted(itertools.chain(*numbers[:3]))
        == sorted(itertools.chain(*numbers[3:]))
        == list(range(12))
    )  # every pass has each pair once
    assert numbers[:3] != numbers[3:] and source.held_out["code"].tolist() == [[[99] * 3] * 2]
    halves = [
        KnownEdits([marked(i) for i in range(12)], [marked(99)], {}, 2, 1, process, 2)
        for process in (0, 1)
    ]
    for name, array in source[4].items():
        np.testing.assert_array_equal(np.concatenate([half[4][name] for half in halves]), array)
    batch = source[0]
    in_front = (batch["original"] != batch["inverted"]).any(-1)
    np.testing.assert_array_equal(batch["original"][in_front], batch["truth"][in_front])
    assert any((source[step]["original"] != source[step]["inverted"]).any() for step in range(6))


def test_what_a_folder_holds(pairs, tmp_path):
    with pytest.raises(UserError, match="no pairs in"):
        open_pairs(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(UserError, match="holds no pairs for training"):
        open_pairs(tmp_path)
    for split, chosen in (("train", pairs[:2]), ("test", pairs[2:3])):
        (tmp_path / split).mkdir()
        for i, pair in enumerate(chosen):
            np.savez(tmp_path / split / f"{i:06d}.npz", **pair._asdict())
    train, test, description = open_pairs(tmp_path)
    assert (len(train), len(test), description["count"]) == (2, 1, 2) and len(
        description["sha256"]
    ) == 64
    for name, array in pairs[1]._asdict().items():
        np.testing.assert_array_equal(getattr(train[1], name), array)
    (tmp_path / "train/000000.npz").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"000000\.npz is damaged"):
        train[0]


def test_the_command(folders, tmp_path, capsys):
    draw_dataset(
        "faces", 4, tmp_path / "data", generator=str(folders / "generator"), test_share=0.25
    )
    flags = [f"--{role}={folders / role}" for role in ("generator", "classifier", "directions")]
    arguments = [
        f"--out={tmp_path / 'out'}",
        "--faces=faces",
        f"--data={tmp_path / 'data'}",
        "--count=2",
        *flags,
    ]
    encoder = f"--encoder={folders / 'encoder'}"
    assert known_edits.main([*arguments, encoder]) == 0
    printed = capsys.readouterr().out
    assert "1 pairs of 64 pixels" in printed and "2 pairs of 64 pixels" in printed
    assert (
        "next: python train.py --config configs/deghost_mobile.py --workdir RUN "
        f"--config.data.folder={tmp_path}" in printed
    )
    train, test, _ = open_pairs(tmp_path / "out")
    assert (len(train), len(test)) == (2, 1) and train[0].code.shape == (10, 512)
    assert train[0].truth.shape == (64, 64, 3) and (train[0].truth != train[0].original).any()
    for wrong, message in (([encoder, "--seed=1"], "another recipe"), ([], "without an encoder")):
        assert known_edits.main([*arguments, *wrong]) == 2
        assert message in capsys.readouterr().err
