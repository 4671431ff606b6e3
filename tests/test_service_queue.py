"""Order, room, cancellation, failure and the end of a server, with real threads and folders."""

import errno
import threading

import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.service.queue import Full, Queue
from diffcam_jax.service.store import JobStore
from tests.service_world import until


class Steps:
    """A worker that takes a step of its job whenever it is allowed to."""

    def __init__(self) -> None:
        self.done, self.begun = [], []
        self._allowed = threading.Semaphore(0)

    def __call__(self, job, progress) -> None:
        self.begun.append(job.id)
        progress("invert", 0, 1)
        self._allowed.acquire(timeout=30)
        progress("blend", 0, 1)
        self.done.append(job.id)

    def allow(self, steps: int = 1) -> None:
        self._allowed.release(steps)


@pytest.fixture
def store(tmp_path) -> JobStore:
    return JobStore(tmp_path, 3600.0)


@pytest.fixture
def start(store):
    """Makes queues, and ends them."""
    made = []

    def start(*workers, waiting=10) -> Queue:
        made.append(Queue(store, workers, waiting))
        return made[-1]

    yield start
    for queue in made:
        queue.close(5.0)


def submit(queue: Queue) -> str:
    id, folder = queue.store.new_folder()
    (folder / "photo").write_bytes(b"photo")
    queue.submit(queue.store.add(id, "me.png", {}))
    return id


def state(queue: Queue, id: str) -> str | None:
    job = queue.find(id)
    return job and job.state


def test_jobs_are_done_in_the_order_in_which_they_came(start):
    steps = Steps()
    queue = start(steps)
    ids = [submit(queue) for _ in range(5)]
    until(lambda: steps.begun)
    assert [queue.position(id) for id in ids] == [None, 0, 1, 2, 3]
    left = [queue.seconds_left(id) for id in ids]
    assert left == sorted(left) and left[0] > 0
    assert queue.counts() == {"waiting": 4, "running": 1}
    assert queue.progress(ids[0]).stage == "invert" and queue.progress(ids[1]) is None
    steps.allow(5)
    until(lambda: queue.counts() == {"waiting": 0, "running": 0})
    assert steps.done == ids and [state(queue, id) for id in ids] == ["done"] * 5
    assert queue.seconds_left(ids[0]) is None and queue.position("none") is None


def test_several_workers_share_the_work(start):
    one, two = Steps(), Steps()
    queue = start(one, two)
    for _ in range(2):
        submit(queue)
    until(lambda: one.begun and two.begun)
    assert queue.counts() == {"waiting": 0, "running": 2}
    one.allow(1), two.allow(1)


def test_no_more_wait_than_may(start, store):
    steps = Steps()
    queue = start(steps, waiting=2)
    submit(queue)
    until(lambda: steps.begun)
    ids = [submit(queue) for _ in range(2)]
    with pytest.raises(Full) as full:
        queue.check_room()
    assert full.value.seconds > 0
    before = {path.name for path in store.root.iterdir()}
    with pytest.raises(Full):
        submit(queue)
    assert {path.name for path in store.root.iterdir()} == before
    queue.cancel(ids[0])
    assert state(queue, submit(queue)) == "waiting"
    steps.allow(3)


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_at_its_next_step(start):
    steps = Steps()
    queue = start(steps)
    running, waiting, last = (submit(queue) for _ in range(3))
    until(lambda: steps.begun == [running])
    queue.cancel(waiting)
    assert queue.find(waiting) is None and not (queue.store.root / waiting).exists()
    queue.cancel(running)
    assert queue.find(running) is None, "nobody sees it any more"
    steps.allow(2)
    until(lambda: state(queue, last) == "done")
    assert steps.done == [last] and not (queue.store.root / running).exists()
    queue.cancel(last)
    queue.cancel(last)
    assert queue.find(last) is None


def test_nobody_sees_a_cancelled_job_while_it_is_removed(tmp_path):
    seen = []

    class Watched(JobStore):
        def remove(self, id: str) -> None:
            seen.append(queue.find(id))
            super().remove(id)
            seen.append(queue.find(id))

    steps = Steps()
    queue = Queue(Watched(tmp_path, 3600.0), [steps], 10)
    id = submit(queue)
    until(lambda: steps.begun)
    queue.cancel(id)
    steps.allow()
    until(lambda: not (tmp_path / id).exists() and len(seen) == 2)
    assert seen == [None, None] and queue.find(id) is None
    assert queue.close(5.0)


def test_a_cancelled_job_whose_state_cannot_be_written_does_not_come_back(tmp_path):
    class Full(JobStore):
        def save(self, job) -> None:
            if job.state == "failed":
                raise OSError(errno.ENOSPC, "No space left on device")
            super().save(job)

    begun, cancelled = threading.Event(), threading.Event()

    def work(job, progress):
        begun.set()
        assert cancelled.wait(30)
        raise UserError("no face")

    queue = Queue(Full(tmp_path, 3600.0), [work], 10)
    id = submit(queue)
    assert begun.wait(30)
    queue.cancel(id)
    cancelled.set()
    until(lambda: queue.counts()["running"] == 0 and not (tmp_path / id).exists())
    assert queue.close(5.0) and queue.find(id) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("no face in me.png"), "no face in me.png"),
        (OSError(errno.ENOSPC, "No space left"), "the disk of the server is full"),
        (ValueError("/secret/path"), "(ValueError); the log of the server says why"),
        (OSError(errno.EACCES, "denied", "/secret"), "(PermissionError); the log"),
        (MemoryError(), "(MemoryError)"),
    ],
)
def test_a_worker_that_raises_goes_on_with_the_next_job(start, error, words):
    calls = []

    def work(job, progress):
        calls.append(job.id)
        if len(calls) == 1:
            raise error

    queue = start(work)
    first, second = submit(queue), submit(queue)
    until(lambda: state(queue, second) == "done")
    job = queue.find(first)
    assert job.state == "failed" and words in job.error and "secret" not in job.error
    assert job.ended > 0 and queue.store.find(first) == job


def test_a_state_that_cannot_be_written_is_remembered(start, store, monkeypatch):
    save, full = store.save, threading.Event()

    def failing(job):
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        save(job)

    monkeypatch.setattr(store, "save", failing)
    steps = Steps()
    queue = start(steps)
    id = submit(queue)
    until(lambda: steps.begun)
    full.set()
    steps.allow()
    until(lambda: state(queue, id) == "done")
    assert store.find(id).state == "running", "the disk knows nothing of it"


def test_a_queue_that_is_closed_leaves_its_jobs_to_the_next(start, store):
    steps = Steps()
    queue = start(steps)
    running, waiting = submit(queue), submit(queue)
    until(lambda: steps.begun)
    assert not queue.close(0.0), "a step is being computed"
    steps.allow()
    assert queue.close(30.0)
    assert steps.done == [] and [state(queue, id) for id in (running, waiting)] == ["waiting"] * 2
    assert store.find(running).attempts == 0
    again = start(after := Steps())
    after.allow(2)
    until(lambda: state(again, waiting) == "done")
    assert after.done == [running, waiting]


def test_lifetimes_end_while_the_queue_works(tmp_path):
    queue = Queue(JobStore(tmp_path, 0.2), [lambda job, progress: None], 10)
    id = submit(queue)
    until(lambda: queue.find(id) is None)
    until(lambda: not (tmp_path / id).exists())
    assert queue.close(5.0)


def test_many_clients_at_once_lose_nothing(start):
    queue = start(*[lambda job, progress: progress("blend")] * 3, waiting=1000)
    ids, lock = [], threading.Lock()

    def client():
        for _ in range(10):
            id = submit(queue)
            with lock:
                ids.append(id)

    threads = [threading.Thread(target=client) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: queue.counts() == {"waiting": 0, "running": 0})
    assert len(ids) == 100 and all(state(queue, id) == "done" for id in ids)
