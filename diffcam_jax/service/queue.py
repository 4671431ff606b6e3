"""The jobs that wait, and one worker a device that does them in the order in which they came."""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence

from diffcam_jax.command.progress import Listener
from diffcam_jax.errors import UserError
from diffcam_jax.service.estimate import Estimator, Progress, Track
from diffcam_jax.service.store import Job, JobStore

Work = Callable[[Job, Listener], None]
_SWEEP = 20.0  # seconds between two looks for jobs that have reached their lifetime
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Full(Exception):
    """As many jobs wait as may.

    Attributes:
        seconds: until there should be room again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("the queue is full")
        self.seconds = seconds


class Cancelled(Exception):
    """Raised within a job that nobody wants any more."""


class Queue:
    """Jobs and their workers.

    Args:
        store: of the jobs; those that wait there are taken up.
        workers: one a device: does a job, and raises `UserError` where its input is at fault.
        waiting: how many jobs may wait.
    """

    def __init__(self, store: JobStore, workers: Sequence[Work], waiting: int) -> None:
        self.store, self.estimator, self._most = store, Estimator(), waiting
        self._changed = threading.Condition()
        self._waiting: dict[str, Job] = {}  # in the order in which they came
        self._running: dict[str, Track] = {}
        self._cancelled: set[str] = set()
        self._unsaved: dict[str, Job] = {}
        self._closing = threading.Event()
        self._waiting |= {job.id: job for job in store.recover()}
        self._workers = len(workers)
        self._threads = [
            *(threading.Thread(target=self._serve, args=(work,), daemon=True) for work in workers),
            threading.Thread(target=self._sweep, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def find(self, id: str) -> Job | None:
        """The job with this ID; None if there is none, or nobody wants it any more."""
        with self._changed:
            if id in self._cancelled:
                return None
            unsaved = self._unsaved.get(id)
        return unsaved or self.store.find(id)

    def check_room(self) -> None:
        """Whether another job may come; asked before its photograph is received.

        Raises:
            Full: as many wait as may.
        """
        with self._changed:
            if len(self._waiting) >= self._most:
                running = [track.now().seconds_left for track in self._running.values()]
                raise Full(min(running, default=self.estimator.of_job()))

    def submit(self, job: Job) -> None:
        """Lets a job wait for a worker.

        Raises:
            Full: as many wait as may; the job is removed.
        """
        try:
            with self._changed:
                self.check_room()
                self._waiting[job.id] = job
                self._changed.notify()
        except Full:
            self.store.remove(job.id)
            raise

    def cancel(self, id: str) -> None:
        """Ends a job at its next step, and removes it with all of its files."""
        with self._changed:
            running = id in self._running
            self._unsaved.pop(id, None)
            if running:
                self._cancelled.add(id)
            self._waiting.pop(id, None)
        if not running:
            self.store.remove(id)

    def position(self, id: str) -> int | None:
        """How many jobs are before a waiting one; None if it does not wait."""
        with self._changed:
            return self._place(id)

    def progress(self, id: str) -> Progress | None:
        """How far a running job is; None if it does not run."""
        with self._changed:
            track = self._running.get(id)
        return track and track.now()

    def seconds_left(self, id: str) -> float | None:
        """Expected seconds until a job has ended; None if it has."""
        with self._changed:
            running = {key: track.now().seconds_left for key, track in self._running.items()}
            place, waiting = self._place(id), list(self._waiting.values())
        if id in running:
            return running[id]
        if place is None:
            return None
        before = sum(running.values()) + sum(map(self._expected, waiting[:place]))
        return round(before / self._workers + self._expected(waiting[place]), 1)

    def counts(self) -> dict[str, int]:
        """How many jobs wait and run."""
        with self._changed:
            return {"waiting": len(self._waiting), "running": len(self._running)}

    def close(self, seconds: float = 10.0) -> bool:
        """Lets no new job begin, and ends running ones at their next step; they are begun again.

        Args:
            seconds: how long to wait for that step.

        Returns:
            Whether everything has ended.
        """
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def _expected(self, job: Job) -> float:
        return self.estimator.of_job(job.frames)

    def _place(self, id: str) -> int | None:
        return list(self._waiting).index(id) if id in self._waiting else None

    def _serve(self, work: Work) -> None:
        while True:
            with self._changed:
                while not self._closing.is_set() and not self._waiting:
                    self._changed.wait()
                if self._closing.is_set():
                    return
                id = next(iter(self._waiting))
                job = self._waiting.pop(id)
                track = self._running[id] = Track(self.estimator, job.frames)
            try:
                self._do(job, work, track)
            finally:
                with self._changed:
                    self._running.pop(id)
                    dropped = id in self._cancelled
                if dropped:
                    # Until it is gone from the disk, only this mark says that nobody may see it.
                    self.store.remove(id)
                    with self._changed:
                        self._unsaved.pop(id, None)
                        self._cancelled.discard(id)

    def _do(self, job: Job, work: Work, track: Track) -> None:
        def listen(stage: str, done: int = 0, steps: int = 1) -> None:
            if job.id in self._cancelled or self._closing.is_set():
                raise Cancelled
            track(stage, done, steps)

        try:
            job.state, job.attempts = "running", job.attempts + 1
            self.store.save(job)
            work(job, listen)
            track.end()
            job.state = "done"
        except Cancelled:
            # A server that ends is no failure: the next one begins the job anew.
            job.state, job.attempts = "waiting", job.attempts - 1
            if self._closing.is_set():
                self._save(job)
            return
        except UserError as error:
            job.state, job.error = "failed", str(error)
        except Exception as error:
            job.state = "failed"
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                job.error = "the disk of the server is full; try again later"
            else:
                logging.exception("job %s", job.id)
                kind = type(error).__name__
                job.error = f"the edit failed ({kind}); the log of the server says why"
        job.ended = time.time()
        self._save(job)

    def _save(self, job: Job) -> None:
        """Writes how a job ended; where that is impossible, remembers it."""
        try:
            self.store.save(job)
        except OSError as error:
            logging.error("job %s: its state cannot be written: %s", job.id, error)
            self._unsaved[job.id] = job

    def _sweep(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(OSError):
                for id in self.store.sweep(time.time()):
                    self._unsaved.pop(id, None)
            self._closing.wait(min(_SWEEP, self.store.lifetime))
