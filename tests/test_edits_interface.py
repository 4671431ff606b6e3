"""What edits takes any `Edit`: linear directions, flows, and whatever else moves codes."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from configs.eval.editing import get_config
from diffcam_jax.applications import manipulation
from diffcam_jax.data import edit_samples, pairs
from diffcam_jax.directions import Direction, Edit, load_directions, save_directions
from diffcam_jax.directions.__main__ import main as directions_main
from diffcam_jax.directions.acts import WHOLE
from diffcam_jax.directions.edits import conditions, is_linear, linear, steps
from diffcam_jax.directions.importers import read_directions
from diffcam_jax.editing import regions
from diffcam_jax.editing.asked import edits_of
from diffcam_jax.editing.edit import code_ladder, edit_batch
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import edits as evaluated
from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.codes import Coded, move
from diffcam_jax.evaluation.networks import open_world
from diffcam_jax.evaluation.pictures import Item
from diffcam_jax.evaluation.store import Store
from diffcam_jax.programs import edit
from tests import small_editor, small_flow
from tests.fast import fast

ROWS, K = 6, 8
RNG = np.random.default_rng(0)
CODES = RNG.standard_normal((3, ROWS, K)).astype(np.float32)
FACES = {"smiling": np.array([0.1, 0.4, 0.9], np.float32), "yaw": np.zeros(3, np.float32)}
NO_PICTURES = np.zeros((3, 1, 1, 3), np.uint8)


@dataclasses.dataclass(frozen=True, eq=False)
class Bent:
    """An edit that is not linear and needs to know nothing of the face: it shrinks codes."""

    name: str = "bent"
    range: tuple[float, float] = (-2.0, 2.0)
    layers: tuple[int, int] = (0, 2)
    generator: str = ""
    normalisation: str = "a hundredth less"
    method: str = "by hand"
    licence: str = "none"
    classes: tuple[str, ...] = ()
    box: tuple[float, float, float, float] = WHOLE
    score: str = ""
    move: float = 0.0
    ceiling: float = np.inf
    conditions: tuple[str, ...] = ()
    sha256: str = "b" * 64

    def fitted(self, rows, size):
        return self

    def moved(self, codes, strength, condition):
        amount = np.asarray(strength, np.float32)[..., None, None]
        rows = np.arange(codes.shape[1])[:, None]
        inside = (rows >= self.layers[0]) & (rows < self.layers[1])
        return codes * np.where(inside, 1 - amount / 10, 1).astype(np.float32)


def direction(name="smile", rows=ROWS) -> Direction:
    array = np.random.default_rng(len(name)).standard_normal((rows, K)).astype(np.float32)
    return Direction(name, array, (-2.0, 2.0), (0, rows), "", "as it is", "by hand", "none")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    folder = small_flow.write(tmp_path_factory.mktemp("flow"), ROWS, K)
    return read_directions(folder)["smiling"]


# ---------------------------------------------------------------- one interface


def test_all_are_edits(flow):
    assert all(isinstance(edit, Edit) for edit in (direction(), flow, Bent()))
    assert [is_linear([edit]) for edit in (direction(), flow, Bent())] == [True, False, False]
    assert conditions([direction(), flow, flow]) == ["smiling", "yaw"]
    assert hash((direction(), flow))  # a static argument of compiled functions


@pytest.mark.parametrize("rows", [1, 4, ROWS])
def test_a_direction_adds_its_array(rows):
    given, amounts = direction(rows=rows), np.array([0.5, 0.0, -2.0], np.float32)
    expected = CODES.copy()
    for index, amount in enumerate(amounts):
        for row in range(ROWS):
            if rows == 1 or row < rows:
                expected[index, row] += amount * given.array[min(row, rows - 1)]
    np.testing.assert_allclose(given.moved(CODES, amounts), expected, rtol=1e-6)
    np.testing.assert_array_equal(given.moved(CODES, 0.5)[0], given.moved(CODES, amounts)[0])


def test_steps_are_those_of_one_edit_after_the_other(flow):
    chosen = [direction(), flow, Bent()]
    amounts = np.array([[1.0, 0.5, 1.0], [0.3, -1.0, 0.0], [0.0, 0.0, 2.0]], np.float32)
    found = steps(chosen, CODES, amounts, FACES)
    codes = CODES
    for i, edit_ in enumerate(chosen):
        codes = edit_.moved(codes, amounts[:, i], FACES)
        np.testing.assert_allclose(CODES + found[: i + 1].sum(0), codes, atol=1e-3)
    assert not found[:2, 2].any()  # strength 0 changes nothing, to the bit
    assert not found[1][:, [0, *range(4, ROWS)]].any() and found[1, 0, 1:4].all()


def test_what_is_asked_for_is_arrays(flow):
    """Linear edits are handed over as they are; others as what they add to each code."""
    amounts, classes = np.array([[1.0, 0.5]] * 3), np.array([1, 0])
    plain = [direction(), direction("nose")]
    asked = edits_of(plain, amounts, classes, NO_PICTURES, CODES)
    np.testing.assert_array_equal(asked.steps, [one.array for one in plain])
    mixed = edits_of([plain[0], Bent()], amounts, classes, NO_PICTURES, CODES)
    assert mixed.steps.shape == (2, 3, ROWS, K)
    ladder = code_ladder(jnp.asarray(CODES), mixed)
    np.testing.assert_allclose(ladder[1], plain[0].moved(CODES, 1.0), rtol=1e-6)
    np.testing.assert_allclose(ladder[2], Bent().moved(np.asarray(ladder[1]), 0.5, {}), atol=1e-6)
    np.testing.assert_array_equal(ladder[2][:, 2:], ladder[1][:, 2:])


def test_an_editor_takes_any_edit():
    """With an aligned photograph, the published way."""
    own = small_editor.editor()
    own.directions = {"old": own.directions["old"], "smiling": Bent("smiling")}
    pixels = np.ascontiguousarray(small_editor.photograph()[:200, :200])
    result = own.edit(pixels, {"old": 0.5, "smiling": 1.0}, aligned=True, tune=0)
    before = result.latents + 0.5 * own.directions["old"].array
    before[:2] *= 0.9
    np.testing.assert_allclose(result.faces[0].edited_latents, before, atol=1e-5)
    assert result.report["weights"]["directions"]["smiling"] == "b" * 64


def test_linear_edits_alone_where_arrays_are_needed(flow):
    assert linear({"a": direction()}, "this").keys() == {"a"}
    with pytest.raises(UserError, match="this needs linear directions, and b moves"):
        linear({"a": direction(), "b": flow}, "this")


# ---------------------------------------------------------------- applications, data, evaluation


def test_faces_are_manipulated_by_any_edit(flow):
    amounts = np.array([-1.0, 0.0, 2.0], np.float32)
    edits = manipulation.fitted({"bent": Bent(), "smiling": flow}, ROWS, K, "", (1, 3))
    assert [one.layers for one in edits] == [(1, 2), (1, 3)]
    moved = manipulation.manipulate(CODES, edits, amounts, FACES)
    assert moved.shape == (3, 2, 3, ROWS, K)
    np.testing.assert_array_equal(moved[:, :, 1], np.stack([CODES, CODES], 1))
    np.testing.assert_allclose(moved[1, 0, 2, 1], 0.8 * CODES[1, 1], rtol=1e-5)
    np.testing.assert_array_equal(
        moved[..., 3:, :], np.broadcast_to(CODES[:, None, None, 3:], (3, 2, 3, 3, K))
    )
    alone = flow.moved(CODES[2:], 2.0, {name: values[2:] for name, values in FACES.items()})
    np.testing.assert_allclose(moved[2, 1, 2, 1:3], alone[0, 1:3], atol=1e-3)
    with pytest.raises(UserError, match="nothing is left of it"):
        manipulation.fitted({"smiling": flow}, ROWS, K, "", (4, 6))


def test_pairs_for_the_classifier_are_drawn_of_any_edit():
    toy, recipe = edit_samples.toy_generator(), edit_samples.Recipe(size=16, mixing=0.0)
    plain = [
        Direction(n, np.asarray(a), (-2.0, 2.0), (0, 18), "", "", "", "")
        for n, a in zip(toy.names, toy.directions)
    ]
    same = toy.replace(edits=tuple(plain))
    expected = edit_samples.make_sample(toy, recipe, 3)
    found = edit_samples.make_sample(same, recipe, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert same.fingerprint() == toy.fingerprint()
    bent = toy.replace(edits=(plain[0], Bent("b"), plain[2]))
    codes = edit_samples.moved_codes(bent, recipe, 3, [1])
    low, high = recipe.strength
    share = 1 - codes[1, :2] / codes[0, :2]
    assert low / 10 - 1e-3 <= share.min() and share.max() <= high / 10 + 1e-3
    np.testing.assert_array_equal(codes[1, 2:], codes[0, 2:])
    batch = pairs.OnlinePairs(bent, recipe, 4, held_out=2)[1]
    wanted = [edit_samples.make_sample(bent, recipe, 2 + 4 + i) for i in range(4)]
    for i, label in enumerate(batch["label"]):
        assert np.abs(batch["inverted"][i].astype(int) - wanted[i][0]).max() <= 1
        assert np.abs(batch["edited"][i].astype(int) - wanted[i][1 + label]).max() <= 1
    assert bent.fingerprint()["direction_sha256"]["b"] == "b" * 64


@dataclasses.dataclass(frozen=True, eq=False)
class Refusing(Bent):
    def moved(self, codes, strength, condition):
        if codes[0, 0, 0] > 0:
            raise UserError("not this face")
        return super().moved(codes, strength, condition)


def test_a_face_that_an_edit_cannot_move_is_no_sample():
    recipe = edit_samples.Recipe(size=16)
    toy = edit_samples.toy_generator().replace(edits=(Refusing(),) * 3)
    codes = np.stack([edit_samples.moved_codes(toy, recipe, i, [0])[0] for i in range(8)])
    own = np.stack([edit_samples._draw_code(toy, recipe, jnp.asarray(i)) for i in range(8)])
    kept = own[:, 0, 0] <= 0
    assert (codes[:, 0, 0] <= 0).all() and 0 < kept.sum() < 8
    np.testing.assert_array_equal(codes[kept], own[kept])


def test_evaluation_edits_by_any_edit(tmp_path, monkeypatch):
    quick = fast(edit_batch.__wrapped__, static_argnames="config")
    monkeypatch.setattr(evaluated, "edit_batch", quick)
    config = get_config("debug")
    world = open_world(config)
    world = world._replace(directions={**world.directions, "b": Bent("b")})
    store = Store(tmp_path)
    bench = Bench(config, store)
    bench.world = world
    code = RNG.standard_normal(world.directions["a"].array.shape).astype(np.float32)
    one = Coded(Item("x", lambda: np.zeros((1, 1, 3), np.uint8)), code, 0.0)
    np.testing.assert_array_equal(
        move(bench, one, "a", 1.5), np.float32(1.5) * world.directions["a"].array
    )
    added = move(bench, one, "b", 1.0)
    np.testing.assert_allclose(added[:2], -code[:2] / 10, atol=1e-6)
    pictures = world.draw(code[None], world.size)
    given = pictures, code[None], "b", 1.0, ("whole",), "paper"
    found = evaluated.edit(bench, *given, added[None])["whole"][0]
    shown = world.draw((code + added)[None], world.size)[0]
    assert np.abs(found.picture.astype(int) - shown).max() <= 1
    assert (shown != pictures[0]).any()
    store.close()


# ---------------------------------------------------------------- sources


def test_several_sources_at_once(tmp_path):
    save_directions(tmp_path / "mine.safetensors", {"smile": direction()})
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "Pose.npy", np.ones((18, 512)))
    small_flow.write(tmp_path / "flow", ROWS, K)
    sources = [tmp_path / name for name in ("mine.safetensors", "folder", "flow")]
    assert list(read_directions(sources)) == ["smile", "Pose", "smiling"]
    assert list(read_directions(["shipped", sources[0]])) == [*load_directions(), "smile"]
    with pytest.raises(UserError) as refused:
        read_directions(["shipped", sources[2]])
    assert f"shipped and {sources[2]} both have a direction smiling" in str(refused.value)
    np.save(tmp_path / "folder" / "Pose.pt.npy", np.ones((18, 512)))
    (tmp_path / "folder" / "Pose.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"Pose\.npy and .*Pose\.pt would both be"):
        read_directions(tmp_path / "folder")


def fails(capsys, *arguments) -> str:
    assert edit.main(list(map(str, arguments))) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


def test_files_with_numbers_that_are_not_finite(tmp_path, capsys):
    array = np.ones((18, 512), np.float32)
    save_directions(
        tmp_path / "nan.safetensors",
        {"hat": Direction("hat", array * np.nan, (-1.0, 1.0), (0, 18), "", "", "", "")},
    )
    said = fails(capsys, "--list", "--directions", tmp_path / "nan.safetensors")
    assert "nan.safetensors" in said and "hat are not finite" in said
    np.save(tmp_path / "hat.npy", np.where(np.arange(512) == 5, np.inf, array))
    said = fails(capsys, "--list", "--directions", tmp_path / "hat.npy")
    assert "hat.npy: some numbers are not finite" in said


def test_two_sources_of_one_name_are_named(tmp_path, capsys):
    for name in ("one", "two"):
        save_directions(tmp_path / f"{name}.safetensors", {"smile": direction()})
    given = [f"--directions={tmp_path / name}.safetensors" for name in ("one", "two")]
    said = fails(capsys, "--list", *given)
    assert "one.safetensors and " in said and "two.safetensors both" in said
    assert edit.main(["--list", given[0]]) == 0


def test_flows_that_cannot_be_used(tmp_path, flow):
    small_flow.write(tmp_path / "other", small_editor.ROWS, 512, "0" * 64)
    with pytest.raises(UserError, match="smiling were made for another generator"):
        small_editor.Editor(small_editor.networks(), [tmp_path / "other"])
    faces = {**FACES, "yaw": np.array([0, 71, 0], np.float32)}
    with pytest.raises(UserError, match=r"yaw of the face is 71, the flow knows .* -60 to 60"):
        steps([flow], CODES, np.ones((3, 1)), faces)


# ---------------------------------------------------------------- what is known of them


def test_the_list_says_what_matters(tmp_path, capsys):
    small_flow.write(tmp_path / "flow", ROWS, K, "abcdef" * 10, layers=(1, 4))
    save_directions(tmp_path / "mine.safetensors", {"smile": direction()})
    given = ["list", "--directions", str(tmp_path / "flow")]
    given += ["--directions", str(tmp_path / "mine.safetensors")]
    assert directions_main(given) == 0
    told = capsys.readouterr().out
    for part in (
        "smiling          -2 .. +2   1 is the usual move of the score smiling, 0.3",
        "acts on skin, mouth within 0.4 1 0.1 0.9",
        "rows 1 to 3 of generator abcdefabcdef; a flow of random numbers",
        "1 is as it is",
        "the whole head, for its regions are not recorded",
        "rows 0 to 5 of any generator; by hand",
        "licence: none",
    ):
        assert part in told, part
    assert directions_main([*given, "--json"]) == 0
    flow_, plain = json.loads(capsys.readouterr().out)
    assert flow_["conditions"] == ["smiling", "yaw"] and not flow_["linear"]
    assert plain["linear"] and plain["sha256"] == direction().sha256 and plain["ceiling"] is None


def test_regions_are_recorded_by_an_import(tmp_path, capsys):
    np.save(tmp_path / "hat.npy", np.ones((18, 512)))
    out = tmp_path / "mine.safetensors"
    given = ["import", str(tmp_path / "hat.npy"), "--name", "tan", "--out", str(out)]
    assert directions_main(given) == 0
    (plain,) = load_directions(out).values()
    face = regions.Face(np.zeros((256, 256), np.uint8), np.zeros((256, 256), bool), 1.0)
    (note,) = regions.notes(face, plain)
    assert "the whole head may change" in note and "--classes" in note
    where = ["--classes", "skin", "nose", "--box", "0.2", "0.9", "0", "1"]
    assert directions_main([*given, *where]) == 0
    (found,) = load_directions(out).values()
    assert found.classes == ("skin", "nose") and found.box == (0.2, 0.9, 0.0, 1.0)
    assert regions.notes(face, found) == []
    capsys.readouterr()
    assert directions_main([*given, "--classes", "chin"]) == 2
    assert "no face-parsing class is called chin" in capsys.readouterr().err
