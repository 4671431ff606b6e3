"""Jobs on disk, and how long their stages take."""

import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.service import estimate
from diffcam_jax.service.estimate import Estimator, Track
from diffcam_jax.service.store import MOST_ATTEMPTS, Job, JobStore

HOUR = 3600.0


@pytest.fixture
def store(tmp_path) -> JobStore:
    return JobStore(tmp_path / "edits", HOUR)


def job(store: JobStore, state: str = "waiting", **fields) -> Job:
    id, folder = store.new_folder()
    (folder / "photo").write_bytes(b"photo")
    made = store.add(id, "me.png", {"attributes": {"smiling": 1}})
    made.state = state
    for name, value in fields.items():
        setattr(made, name, value)
    store.save(made)
    return made


def test_a_job_outlives_its_server(store):
    made = job(store)
    again = JobStore(store.root, HOUR)
    assert again.find(made.id) == made and again.all() == [made]
    assert made.inputs == ("photo",) and len(made.id) == 32
    assert store.root.stat().st_mode & 0o077 == 0 and store.folder(made).stat().st_mode & 0o077 == 0


def test_ids_are_never_the_same(store):
    assert len({store.new_folder()[0] for _ in range(200)}) == 200


@settings(deadline=None)
@given(st.text())
def test_only_ids_are_looked_for(tmp_path_factory, id):
    root = tmp_path_factory.getbasetemp() / "looked"
    assert JobStore(root, HOUR).find(id) is None
    JobStore(root, HOUR).remove(id)


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../x", "/etc", "a" * 33, "A" * 32, "a" * 31 + "\n", "\0", "é" * 32]
)
def test_what_is_no_id_leads_nowhere(store, tmp_path, id):
    outside = tmp_path / "x"
    outside.mkdir()
    (outside / "job.json").write_text("{}")
    assert store.find(id) is None
    store.remove(id)
    assert outside.is_dir() and store.root.is_dir()


def test_links_lead_nowhere(store, tmp_path):
    made = job(store, "done")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    folder = store.folder(made)
    (folder / "result.png").symlink_to(secret)
    (folder / "stages").symlink_to(tmp_path)
    assert store.result(made, "result.png") is None
    assert store.result(made, "secret") is None
    linked = "0" * 32
    (store.root / linked).symlink_to(folder)
    assert store.find(linked) is None
    assert store.find(made.id) == made


def test_results_are_found_by_fixed_names(store):
    made = job(store, "done")
    folder = store.folder(made)
    (folder / "stages").mkdir()
    for name in ("result.png", "stages/mask.png", "stages/mask_2.png", "stages/Odd name.png"):
        (folder / name).write_bytes(b"png")
    assert store.result(made, "result.png") == folder / "result.png"
    assert store.result(made, "mask_2") == folder / "stages/mask_2.png"
    assert store.stages(made) == ["mask", "mask_2"]
    for name in ("photo", "job.json", "../photo", "stages/mask", "report.json", "", "mask\0"):
        assert store.result(made, name) is None


def test_jobs_of_another_version_are_not_lost(store):
    made = job(store, "done", ended=5.0)
    path = store.folder(made) / "job.json"
    content = json.loads(path.read_text())
    del content["attempts"]
    path.write_text(json.dumps(content | {"colour": "red", "id": "another"}))
    assert store.find(made.id) == made


def test_what_has_reached_its_lifetime_is_removed(store):
    now = time.time()
    old, young = job(store, "done", ended=now - HOUR - 1), job(store, "failed", ended=now - 1)
    waiting = job(store, created=now - 100 * HOUR)
    upload, _ = store.new_folder()
    assert store.sweep(now) == [old.id]
    assert {found.id for found in store.all()} == {young.id, waiting.id}
    os.utime(store.root / upload, (now - 2 * HOUR,) * 2)
    assert store.sweep(now) == [upload]
    assert store.expires(young) == young.ended + HOUR and store.expires(waiting) is None


def test_jobs_wait_again_after_a_server_has_ended(store):
    first, running = job(store, created=1.0), job(store, "running", created=2.0, attempts=1)
    often = job(store, "running", attempts=MOST_ATTEMPTS)
    finished = job(store, "done", ended=time.time())
    upload, folder = store.new_folder()
    (folder / "photo").write_bytes(b"half of a photo")
    store.recover()
    (store.temporary / "left").touch()
    damaged = job(store)
    (store.folder(damaged) / "job.json").write_text("{")
    assert [found.id for found in store.recover()] == [first.id, running.id]
    assert store.find(running.id).state == "waiting" and store.find(running.id).attempts == 1
    assert store.find(often.id).state == "failed" and "twice" in store.find(often.id).error
    assert store.find(finished.id) == finished
    assert not (store.root / upload).exists() and not store.folder(damaged).exists()
    assert list(store.temporary.iterdir()) == []


def test_a_removed_job_does_not_come_back(store):
    made = job(store)
    store.remove(made.id)
    with pytest.raises(FileNotFoundError):
        store.save(made)
    assert list(store.root.iterdir()) == [store.temporary]


# ---------------------------------------------------------------- how long stages take


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(estimate, "time", made)
    return made


def test_what_stages_took_is_expected_again(clock):
    estimator = Estimator()
    for _ in range(12):
        track = Track(estimator)
        for stage, seconds in {"find faces": 1, "invert": 2, "blend": 3, "write": 4}.items():
            track(stage)
            clock.now += seconds
        track.end()
    assert [round(estimator.of(s), 2) for s in ("find faces", "invert", "write")] == [1, 2, 4]
    assert estimator.of("blend") == pytest.approx(3, abs=0.01)


def test_steps_tell_how_much_of_a_stage_is_left(clock):
    track = Track(Estimator())
    track("tuning", 0, 20)
    clock.now += 5
    track("tuning", 5, 20)
    now = track.now()
    assert (now.stage, now.done, now.steps) == ("tuning", 5, 20)
    assert now.seconds_left == pytest.approx(15 + 3 + 0.7, abs=0.1)
    assert now.share == pytest.approx(5 / 23.7, abs=0.01)


def test_further_faces_take_their_time_too(clock):
    estimator = Estimator()
    one, two = Track(estimator), Track(estimator)
    two("face", 0, 2)
    assert two.now().seconds_left - one.now().seconds_left == pytest.approx(
        estimator.of_face(), abs=0.1
    )
    two("face", 1, 2)
    assert two.now().seconds_left == one.now().seconds_left


def test_a_clip_takes_its_time_frame_by_frame(clock):
    estimator = Estimator()
    photograph, wait = estimator.of_job(), [estimator.of_job(frames) for frames in (1, 101, 201)]
    assert 0 < wait[1] - wait[0] == pytest.approx(wait[2] - wait[1])
    for _ in range(12):
        track = Track(estimator, 50)
        stages = ("find faces", 50, 0.1), ("draft", 1, 5), ("tuning", 10, 1), ("edit", 50, 2)
        for stage, steps, seconds in stages:
            for step in range(steps):
                track(stage, step, steps)
                clock.now += seconds
        track.end()
    assert estimator.of_job(100) == pytest.approx(100 * 0.1 + 5 + 10 + 100 * 2, rel=0.01)
    assert estimator.of_job() == photograph


def test_what_an_interrupted_clip_has_done_before_says_nothing_of_its_speed(clock):
    estimator = Estimator()
    before = estimator.of_job(50)
    track = Track(estimator, 50)
    track("edit", 40, 50)
    clock.now += 5
    track("edit", 41, 50)
    assert track.now().seconds_left == pytest.approx(9 * 5)
    assert estimator.of_job(50) == before


def test_the_second_face_of_a_clip_is_tuned_as_long_as_the_first(clock):
    track = Track(Estimator(), 1)
    for _ in range(2):
        for step in range(20):
            track("tuning", step, 20)
            clock.now += 1
    assert track.now().seconds_left < 20


def test_the_share_never_reaches_one(clock):
    track = Track(Estimator())
    track("write")
    for seconds in (0.1, 10, 1e4, 1e6):
        clock.now += seconds
        assert 0 <= track.now().share < 1 and track.now().seconds_left > 0
