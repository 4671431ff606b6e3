"""A few kills of each program that starts quickly; `kills` has the long form."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.programs import edit_results, reports
from diffcam_jax.train.checkpoint import Checkpoints
from tests.hostile.kills import Bench, shares, surroundings
from tests.hostile.kills_trees import half_written, is_temporary


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with surroundings(tmp_path_factory.mktemp("s")) as found:
        yield found


@pytest.mark.parametrize("name", ["fetch", "prepare", "caches"])
def test_a_rerun_after_a_kill_ends_as_an_undisturbed_run(folder, name):
    bench = Bench(name, folder)
    assert len(bench.whole) > 5
    for moment in np.random.default_rng().uniform(0, bench.seconds, 2):
        cut = bench.cut(moment)
        assert not (cut.half or cut.wrong or cut.left or cut.told), cut


def test_an_interrupted_edit_anew_is_no_longer_the_earlier_one(tmp_path):
    photo, settings = tmp_path / "a.jpg", {"stages": False, "strengths": {"smiling": 0.5}}
    out = tmp_path / "out"
    reports.claim(out, photo, False)
    (out / "a.png").write_bytes(b"half a smile")
    report = {"photo": str(photo.resolve()), "settings": settings}
    reports.output.write_json(out / "a.json", report)
    assert edit_results.is_done(out, photo, settings)
    reports.claim(out, photo, False)
    (out / "a.png").write_bytes(b"a whole smile")  # and here the power went
    assert not edit_results.is_done(out, photo, settings)


def test_of_equal_scores_the_earliest_stays_the_best(tmp_path):
    with Checkpoints(tmp_path, 1) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, {"a": jnp.ones(3)}, score=0.5)
        assert checkpoints.best == (0.5, 1)
    with Checkpoints(tmp_path, 1) as checkpoints:
        assert checkpoints.best == (0.5, 1)


def test_what_is_half_written_is_found(tmp_path):
    whole = {"a": "0" * 64}
    for name in ("a", ".b.1.tmp", "c.json"):
        (tmp_path / name).write_bytes(b"half")
    assert half_written(tmp_path, whole, ("*.json",), {}) == ["a"]
    assert is_temporary("home/downloads/x.whl.part") and not is_temporary("out/a.png")


def test_every_task_has_its_share_of_the_kills():
    given = shares(100, ["fetch", "edit", "compile"])
    assert min(given.values()) >= 1 and abs(sum(given.values()) - 100) <= 1
