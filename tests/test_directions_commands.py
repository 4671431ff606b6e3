"""Labels and commands of directions on a converted generator: what they make, and bad input in one
line.
"""

import jax
import numpy as np
import pytest

from diffcam_jax.directions import load_directions, space
from diffcam_jax.directions.__main__ import main
from diffcam_jax.directions.ganspace import ganspace_directions
from diffcam_jax.directions.labels import read_labels
from diffcam_jax.errors import UserError
from diffcam_jax.files import codes as code_files
from diffcam_jax.files import model_folder
from tests.test_directions_fit import SIZE, network

# ---------------------------------------------------------------- labels


def test_labels_by_index_and_by_file(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("index, wings,age\n2,1,30\n\n0,,12.5\n1,0,-1e2\n")
    labels = read_labels(path, 3)
    np.testing.assert_array_equal(labels["wings"], [np.nan, 0, 1])
    np.testing.assert_array_equal(labels["age"], [12.5, -100, 30])
    assert list(read_labels(path, 3, ["age"])) == ["age"]
    path.write_text("\ufefffile,wings\nphotos/b.png,1\na.jpg,0\n")
    np.testing.assert_array_equal(read_labels(path, 2, names=["a", "b"])["wings"], [0, 1])


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("index,wings\n0,1\n1,0\n", ["wing"], "has no column 'wing'; did you mean wings"),
        ("index,wings\n0,1\n", [], "has no row for 1 of 2 codes, the first is 1"),
        ("index,wings\n0,1\n1,big\n", [], "line 3: 'big' in column wings is not a number"),
        ("index,wings\n0,1\n1,nan\n", [], "'nan' in column wings is not a number"),
        ("index,wings\n0,1\n2,1\n", [], "line 3: there is no code '2' among the 2"),
        ("index,wings\n0,1\n0,1\n", [], "is already in line 2"),
        ("index,wings\n0,1,5\n1,1\n", [], "line 2: 3 cells, the header has 2"),
        ("index,wings,wings\n0,1,1\n1,1,1\n", [], "a name of its own"),
        ("file,wings\na,1\nb,1\n", [], "the codes have no names"),
        ("code,wings\n0,1\n1,1\n", [], 'must be "index" or "file"'),
        ("", [], 'must be "index" or "file"'),
        ("\udcff\udcfe", [], "not a CSV file"),
        (None, [], "no such file"),
    ],
)
def test_bad_labels(tmp_path, content, columns, message):
    path = tmp_path / "labels.csv"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=message):
        read_labels(path, 2, columns)


# ---------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A converted StyleGAN v1 with a w of its own in every layer, codes of it, and labels by a
    planted direction.
    """
    root = tmp_path_factory.mktemp("own")
    generator = network("a w per layer")
    model_folder.save(root / "generator", {"generator": generator}, {}, {"kind": "stylegan1"})
    codes = space.draw(generator, jax.random.key(3), 200)
    names = [f"{i:03d}" for i in range(200)]
    code_files.save(
        root / "codes.safetensors", codes, space.generator_hash(generator), "encoder", names
    )
    planted = codes[:, 2, 0] + codes[:, 3, 1]
    other = codes[:, 2, 0] - codes[:, 3, 1]
    rows = [
        f"{n}.png,{int(a > np.median(planted))},{b:.4f}" for n, a, b in zip(names, planted, other)
    ]
    (root / "labels.csv").write_text("\n".join(["file,wings,tail", *rows]))
    return root


def test_fit_on_labels_of_inverted_codes(folder, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    command = [
        "fit",
        "--generator",
        str(folder / "generator"),
        "--labels",
        str(folder / "labels.csv"),
        "--out",
        str(out),
    ]
    command += ["--codes", str(folder / "codes.safetensors"), "--layers", "2", "4"]
    assert main([*command, "--attributes", "wings", "--still", "tail", "--length", "1.5"]) == 0
    text = capsys.readouterr().out
    assert "wings: accuracy" in text and "next: python -m diffcam_jax.directions validate" in text
    made = load_directions(out)
    assert (
        list(made) == ["wings"]
        and made["wings"].layers == (2, 4)
        and made["wings"].array.shape == (6, SIZE)
    )
    assert "conditioned on tail" in made["wings"].method and made["wings"].normalisation.startswith(
        "1.5"
    )
    assert made["wings"].array[2, 0] > 0 and made["wings"].array[3, 1] > 0
    assert main([*command, "--plain"]) == 0
    assert list(load_directions(out)) == ["wings", "tail"]


def test_labels_of_drawn_samples(folder, tmp_path):
    generator = network("a w per layer")
    codes = space.draw(generator, jax.random.key(4), 60)
    (tmp_path / "l.csv").write_text(
        "\n".join(["index,a", *(f"{i},{v}" for i, v in enumerate(codes[:, 2, 0]))])
    )
    out = tmp_path / "mine.safetensors"
    command = [
        "fit",
        "--generator",
        str(folder / "generator"),
        "--labels",
        str(tmp_path / "l.csv"),
        "--out",
        str(out),
    ]
    assert main([*command, "--samples", "60", "--seed", "4"]) == 0
    array = load_directions(out)["a"].array
    assert array[2, 0] > 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sefa", "--layers", "2", "9"], "choose from 0 to 6"),
        (["ganspace", "--layers", "4", "4"], "choose from 0 to 6"),
        (["ganspace", "--count", "500"], "have 1 to 96"),
        (["sefa", "--count", "17"], "choose from 1 to 16"),
        (
            ["fit", "--labels", "LABELS", "--codes", "CODES", "--layers", "0", "7"],
            "choose from 0 to 6",
        ),
        (
            ["fit", "--labels", "LABELS", "--codes", "CODES", "--attributes", "wing"],
            "did you mean wings",
        ),
        (
            ["fit", "--labels", "LABELS", "--codes", "CODES", "--still", "tails"],
            "did you mean tail",
        ),
        (
            ["fit", "--labels", "LABELS", "--codes", "CODES", "--count", "5"],
            "at least 10 are needed",
        ),
        (["fit", "--labels", "LABELS", "--codes", "LABELS"], "not a readable safetensors file"),
        (["fit", "--labels", "LABELS"], "the codes have no names"),
        (["fit", "--codes", "CODES"], "--codes needs --labels"),
        (
            ["fit", "--attributes", "smilling"],
            "no scorer is called 'smilling'; did you mean smiling",
        ),
        (["fit", "--ratio", "0.7"], "at most 0.5"),
        (["fit", "--samples", "3"], "give at least 20"),
        (["fit", "--labels", "LABELS", "--truncation", "nan"], "above 0"),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, capsys, command, message):
    places = {"LABELS": folder / "labels.csv", "CODES": folder / "codes.safetensors"}
    command = [str(places.get(word, word)) for word in command]
    arguments = [
        *command,
        "--generator",
        str(folder / "generator"),
        "--out",
        str(tmp_path / "out.safetensors"),
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert list(tmp_path.iterdir()) == []


def test_codes_of_another_generator(folder, tmp_path, capsys):
    model_folder.save(
        tmp_path / "other", {"generator": network("stylegan2")}, {}, {"kind": "stylegan2"}
    )
    command = [
        "fit",
        "--generator",
        str(tmp_path / "other"),
        "--labels",
        str(folder / "labels.csv"),
    ]
    command += [
        "--codes",
        str(folder / "codes.safetensors"),
        "--out",
        str(tmp_path / "o.safetensors"),
    ]
    assert main(command) == 2
    assert "another generator" in capsys.readouterr().err
    np.save(tmp_path / "b.npy", np.ones((1, 512)))
    take = [
        "import",
        str(tmp_path / "b.npy"),
        "--name",
        "b",
        "--out",
        str(tmp_path / "o.safetensors"),
    ]
    assert main([*take, "--generator", str(tmp_path / "other")]) == 2
    assert "1 rows of 512 numbers, the generator reads 6 of 16" in capsys.readouterr().err


def test_unsupervised_commands(folder, tmp_path):
    out = tmp_path / "found.safetensors"
    place = ["--generator", str(folder / "generator"), "--out", str(out)]
    assert main(["sefa", "--count", "2", "--layers", "1", "3", *place]) == 0
    found = load_directions(out)
    np.testing.assert_allclose(
        np.linalg.norm(found["sefa_1"].array, axis=1), [0, 3, 3, 0, 0, 0], atol=1e-4
    )
    assert main(["ganspace", "--count", "2", "--samples", "500", "--layers", "0", "4", *place]) == 0
    found = load_directions(out)["ganspace_1"]
    components = ganspace_directions(
        space.draw(network("a w per layer"), jax.random.key(1), 500), 2
    )
    np.testing.assert_allclose(found.array[:4], components.step(1)[:4], atol=1e-4)
    assert not found.array[4:].any() and found.generator == space.generator_hash(
        network("a w per layer")
    )
