"""The evaluation of invertibility decomposition on toy networks: its numbers, computed again from
the pictures that it kept.
"""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from configs.eval import editing
from configs.eval import invertibility as configuration
from diffcam_jax.data.occluders import HELD_OUT
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import decompositions, edits, invertibility, runner, settings
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.codes import Coded
from diffcam_jax.evaluation.pictures import Item
from diffcam_jax.evaluation.store import Key, opened

FACES = ("generated_0000", "generated_0001")
BEHIND = [f"{face}_{kind}" for face in FACES for kind in HELD_OUT]


def config(**changes):
    made = configuration.get_config("debug")
    made.invertibility.systems = (
        "diffcam",
        "both",
    )  # every system is a program of its own to compile
    made.update(changes)
    settings.check(made)
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, and where it lies."""
    folder = tmp_path_factory.mktemp("run")
    return runner.evaluate(config(), folder, [], "command"), folder


@pytest.fixture
def store(finished):
    with opened(finished[1]) as found:
        yield found


def picture(store, subject, name):
    return store.load_picture(Key(invertibility.NAME, subject, name)).astype(np.float64)


def rows(document, title):
    (table,) = [table for table in document.sections[0].tables if table.title == title]
    return [dict(zip(table.columns, row)) for row in table.rows]


def shown(cell):
    return float(cell.split()[0])


def test_masks_are_compared_with_the_truth(finished, store):
    document, _ = finished
    assert document.problems == {}
    found = {(row["object"], row["mask"]): row for row in rows(document, "Out-of-domain masks")}
    assert len(found) == 2 * (len(HELD_OUT) + 2)
    for (kind, label), row in found.items():
        subject = {"network": "mask", "difference": "difference"}[label]
        names = {"any of these": BEHIND, "no object": FACES}.get(
            kind, [f"{face}_{kind}" for face in FACES]
        )
        masks = [picture(store, subject, name)[..., 0] > 127 for name in names]
        assert row["pictures"] == str(len(names))
        assert shown(row["area"]) == pytest.approx(np.mean(masks), abs=6e-4)
        if kind == "no object":
            assert row["IoU"] == row["coverage"] == "-"
            continue
        truths = [picture(store, "truth", name)[..., 0] > 127 for name in names]
        iou = np.mean([(m & t).sum() / (m | t).sum() for m, t in zip(masks, truths)])
        coverage = np.mean([(m & t).sum() / t.sum() for m, t in zip(masks, truths)])
        assert shown(row["IoU"]) == pytest.approx(iou, abs=6e-4)
        assert shown(row["coverage"]) == pytest.approx(coverage, abs=6e-4)


def test_the_three_pictures_of_a_decomposition(finished, store):
    found = {(row["pictures of"], row["drawn"]): row for row in rows(finished[0], "Reconstruction")}
    assert len(found) == 6
    for subject, label in decompositions.PICTURES.items():
        pairs = [(picture(store, "object", name), picture(store, subject, name)) for name in BEHIND]
        mse = np.mean([np.square((a - b) / 127.5).mean() for a, b in pairs])
        assert shown(found["faces behind objects", label]["MSE"]) == pytest.approx(mse, abs=1e-4)
    for name in BEHIND:
        mask = picture(store, "mask", name) / 255
        photograph, aligned, kept = (
            picture(store, subject, name) for subject in ("object", "aligned", "kept")
        )
        drawn = (aligned > 0) & (
            aligned < 255
        )  # what lies beyond is clamped in the file, and was blended before
        assert (
            drawn.any() and np.abs(kept - mask * photograph - (1 - mask) * aligned)[drawn].max() < 2
        )


def test_edits_are_measured_against_the_photograph(finished, store):
    found = rows(finished[0], "Edits")
    assert [row["system"] for row in found] == ["diffcam", "both"] * 2
    edited = [f"generated_0000_{kind}" for kind in ("hand", "cap")]
    for row in found[2:]:
        pairs = [
            (picture(store, "object", n), picture(store, f"{row['system']} a", n)) for n in edited
        ]
        equal = [(a == b).all(-1) for a, b in pairs]
        truths = [picture(store, "truth", name)[..., 0] > 127 for name in edited]
        assert shown(row["untouched pixels"]) == pytest.approx(np.mean(equal), abs=6e-4)
        of_object = np.mean([e[t].mean() for e, t in zip(equal, truths)])
        assert shown(row["untouched pixels of the object"]) == pytest.approx(of_object, abs=6e-4)
        assert shown(row["MSE"]) == pytest.approx(
            np.mean([np.square((a - b) / 127.5).mean() for a, b in pairs]), abs=6e-4
        )
    # The stand-in of the judge calls the mean of a channel the attribute's score.
    before = [picture(store, "object", n)[..., 0].mean() for n in edited]
    before += [store.get(Key("scores", "original", f"toy_{i:04d}"))["a"] for i in range(2)]
    after = [picture(store, "both a", n)[..., 0].mean() for n in edited]
    moved = np.mean(np.subtract(after, before[:2])) / np.std(before)
    assert shown(found[3]["own score moved"]) == pytest.approx(moved, abs=6e-4)


def test_a_second_run_repeats_nothing(finished, monkeypatch):
    first, folder = finished
    measured = (folder / "metrics.jsonl").read_bytes()

    def never(*arguments):
        raise AssertionError("measured again")

    for place, name in (
        (decompositions, "held_out"),
        (decompositions, "_decompose"),
        (edits, "edit_batch"),
    ):
        monkeypatch.setattr(place, name, never)
    again = runner.evaluate(config(), folder, [], "command")
    assert again.sections == first.sections and (folder / "metrics.jsonl").read_bytes() == measured


def test_pictures_that_must_not_be_shown_are_in_no_sheet(finished, store):
    bench = Bench(config(), store)

    def sheets(shown):
        one = Coded(
            Item("generated_0000_hand", lambda: np.zeros((64, 64, 3), np.uint8), shown=shown),
            np.zeros(1),
            0.0,
        )
        return [
            figure.name for figure in invertibility._sheets(bench, {"photographs": [one]}, [one])
        ]

    assert sheets(True) == ["invertibility_pictures", "invertibility_masks"] and sheets(False) == []


def test_objects_depend_on_names_alone(finished, store, tmp_path):
    name = "generated_0000_cap"
    with opened(tmp_path) as other:
        bench = Bench(config(), other)
        (face,) = [
            item
            for item in bench.items(bench.config.invertibility)
            if item.name == "generated_0000"
        ]
        (item,) = decompositions.paste(bench, [face])["cap"]
        truth = decompositions.truth_of(bench, name, 64)[0]
        np.testing.assert_array_equal(item.read(), picture(store, "object", name))
        np.testing.assert_array_equal(truth, picture(store, "truth", name)[..., 0] > 127)
        np.testing.assert_array_equal(item.code(), face.code())
        changed = (item.read() != face.read()).any(-1)
    assert (
        changed[truth].mean() > 0.9 and not changed[~binary_dilation(truth, np.ones((3, 3)))].any()
    )


def test_the_largest_difference_is_where_something_was_pasted():
    drawn = np.random.default_rng(0).integers(90, 110, (2, 64, 64, 3)).astype(np.uint8)
    pictures, block = drawn.copy(), np.zeros((2, 64, 64), bool)
    block[0, 8:24, 30:46] = block[1, 40:56, 4:20] = True
    pictures[block] = 250
    found = decompositions.largest(pictures, drawn, block[0].mean())
    assert found.mean((1, 2)) == pytest.approx(block.mean((1, 2)), rel=0.02)
    assert ((found & block).sum((1, 2)) / (found | block).sum((1, 2)) > 0.9).all()


def test_the_generators_own_picture_is_that_of_the_code(finished, store):
    """Also beside a system that draws from features that were moved."""
    bench = Bench(config(), store)
    codes = np.random.default_rng(1).standard_normal((4, 10, 8)).astype(np.float32)
    photographs = bench.world.draw(codes, 64)
    found = edits.edit(bench, photographs, codes, "a", 1.0, ("whole", "invertibility"), "product")
    expected = bench.world.draw(codes + bench.world.directions["a"].array, 64)
    whole = np.stack([one.picture for one in found["whole"]])
    assert np.abs(whole.astype(int) - expected).max() <= 1
    assert (
        np.abs(
            np.stack([one.picture for one in found["invertibility"]]).astype(int) - expected
        ).max()
        > 1
    )


@pytest.mark.parametrize("name", ["invertibility", "editing"])
def test_without_an_alignment_network_one_line_says_so(tmp_path, name):
    made = config(aligner="")
    made.editing = editing.settings("debug")
    made.editing.systems = ("whole", "both")
    made.protocols = (name,)
    with pytest.raises(UserError, match=r"no alignment network.*--config\.aligner=DIR"):
        runner.evaluate(made, tmp_path, [], "command")
    assert not (tmp_path / "pictures").exists()


def test_beside_other_protocols_it_is_left_out_without_an_alignment_network(tmp_path):
    made = config(aligner="")
    made.protocols = ("reconstruction", "invertibility")
    with opened(tmp_path) as store:
        (section,) = invertibility.run(Bench(made, store))
    assert "--config.aligner=DIR" in section.text[0] and not section.tables
