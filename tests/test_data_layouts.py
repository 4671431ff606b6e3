"""Layouts of folders: splits, FFHQ, CelebA-HQ, labels, and pairs."""

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.data import layouts
from diffcam_jax.data.builders import open_prepared
from diffcam_jax.data.prepare import prepare
from diffcam_jax.errors import UserError
from tests.test_data_prepare import write


def test_further_files_move_none_to_the_other_split():
    names = [f"some/{i}.png" for i in range(4000)]
    first = layouts.splits(names[::2])
    assert first == layouts.splits(names)[::2]
    assert first == layouts.splits([name.replace(".png", ".jpg") for name in names[::2]])
    assert 70 <= first.count("test") <= 130  # 100 expected, standard deviation 10
    assert set(layouts.splits(names, 0.0)) == {"train"}


def test_what_systems_put_beside_pictures_does_not_count(tmp_path):
    for name in ("a.png", "sub/b.jpg", "@eaDir/a.png", "sub/__MACOSX/c.png", ".cache/d.png"):
        write(tmp_path / name)
    write(tmp_path / "$RECYCLE.BIN/e.png")
    (tmp_path / "sub/._b.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    assert layouts.list_names(tmp_path) == ["a.png", "sub/b.jpg"]
    assert [record.name for record in layouts.list_records(tmp_path)[0]] == ["a.png", "sub/b.jpg"]


def test_ffhq_is_recognised(tmp_path):
    for number in (0, 999, 1000, 64999, 65000, 69999):
        for kind in ("images1024x1024", "in-the-wild-images", "thumbnails128x128"):
            write(tmp_path / f"{kind}/{number // 1000 * 1000:05d}/{number:05d}.png")
    folder = layouts.pictures_folder(tmp_path)
    assert folder.name == "images1024x1024"
    assert layouts.pictures_folder(tmp_path, aligned=False).name == "in-the-wild-images"
    records, _ = layouts.list_records(folder)
    assert [record.name for record in records][:3] == [
        "00000/00000.png",
        "00000/00999.png",
        "01000/01000.png",
    ]
    assert [record.split for record in records] == ["train"] * 4 + ["test"] * 2
    assert layouts.splits(["00000/65000.png", "64000/64000.png"], 0.0) == [
        "train",
        "train",
    ]  # not FFHQ's folders


def test_celeba_hq_brings_its_attributes(tmp_path):
    for number in range(3):
        write(tmp_path / f"CelebA-HQ-img/{number}.jpg")
    write(tmp_path / "CelebAMask-HQ-mask-anno/0/00000_hair.png")
    lines = [
        "3",
        "Bald Smiling",
        *(f"{i}.jpg  {1 if i == 1 else -1}  {1 if i else -1}" for i in range(3)),
    ]
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(lines) + "\n")
    recipe = prepare(tmp_path, "celeba", 16, tmp_path / "out", test_share=0.0)
    assert recipe["label_names"] == ["Bald", "Smiling"] and recipe["several_labels"]
    examples = list(open_prepared(tmp_path / "out", "celeba").splits["train"])
    assert [example["label"].tolist() for example in examples] == [[0, 0], [1, 1], [0, 1]]
    lines[3] = "1.jpg 1 2"
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"line 4: not a file name and 2 times"):
        prepare(tmp_path, "other", 16, tmp_path / "out")


def test_labels_of_a_table(tmp_path):
    for i in range(4):
        write(tmp_path / f"src/{i % 2}/{i}.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.png,young\n1/1.png, old \n2.png,young\n\n3.png,old\n")
    recipe = prepare(tmp_path / "src", "mine", 16, tmp_path / "out", labels=table, test_share=0.0)
    assert recipe["label_names"] == ["old", "young"]
    examples = open_prepared(tmp_path / "out", "mine").splits["train"]
    assert {example["name"].decode(): int(example["label"]) for example in examples} == {
        "0/0.png": 1,
        "0/2.png": 1,
        "1/1.png": 0,
        "1/3.png": 0,
    }
    recipe = prepare(tmp_path / "src", "by", 16, tmp_path / "out", labels="folders", test_share=0.0)
    assert recipe["label_names"] == ["0", "1"]
    for text, match in (
        ("0.png,a,b\n", "line 1: 3 columns"),
        ("0.png,a\n0.png,b\n", "line 2: 0.png has two classes"),
        ("0.png,a\n1.png,a\n", "2 of 4 pictures have no label, the first is 0/2.png"),
        ("file,label\n", "no labels in it"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=match):
            prepare(tmp_path / "src", "wrong", 16, tmp_path / "out", labels=table)
    with pytest.raises(UserError, match="cannot be read"):
        prepare(tmp_path / "src", "wrong", 16, tmp_path / "out", labels=tmp_path / "none.csv")


def test_pairs_go_by_name(tmp_path):
    for i in range(5):
        write(tmp_path / f"a/{i}.png", seed=1)
        write(tmp_path / f"b/{i}.bmp", seed=2)
    (tmp_path / "b/3.bmp").unlink()
    (tmp_path / "b/4.bmp").write_text("hello")
    recipe = prepare(
        tmp_path / "a", "pairs", 64, tmp_path / "out", pairs=tmp_path / "b", test_share=0.0
    )
    assert recipe["counts"] == {"train": 3} and recipe["left_out"] == 2
    for example in open_prepared(tmp_path / "out", "pairs").splits["train"]:
        stem = example["name"].decode().removesuffix(".png")
        np.testing.assert_array_equal(
            example["image"], np.asarray(Image.open(tmp_path / f"a/{stem}.png"))
        )
        np.testing.assert_array_equal(
            example["target"], np.asarray(Image.open(tmp_path / f"b/{stem}.bmp"))
        )
    write(tmp_path / "c/x.png")
    with pytest.raises(UserError, match="not one picture"):
        prepare(tmp_path / "a", "none", 64, tmp_path / "out", pairs=tmp_path / "c")
