"""How long the stages of an edit take: what earlier edits of this server took, stage by stage."""

import dataclasses
import threading
import time

# Seconds of a stage before anything was measured: of a laptop, once everything is compiled.
_FIRST = {
    "find faces": 0.5,
    "invert": 0.7,
    "look": 1.5,
    "draft": 0.7,
    "tuning": 9.0,
    "blend": 3.0,
    "write": 0.7,
}
_MEMORY = 0.5  # weight of the newest measurement


class Estimator:
    """Running means of the stages' seconds; shared by all workers."""

    def __init__(self) -> None:
        self._seconds = dict(_FIRST)
        self._lock = threading.Lock()

    def learn(self, stage: str, seconds: float) -> None:
        """Takes a measurement in."""
        with self._lock:
            before = self._seconds.get(stage, seconds)
            self._seconds[stage] = before + _MEMORY * (seconds - before)

    def of(self, stage: str) -> float:
        """Expected seconds of a stage."""
        with self._lock:
            return self._seconds.get(stage, 0.0)

    def of_face(self) -> float:
        """Expected seconds of all that is done to one face."""
        return sum(self.of(stage) for stage in _FIRST if stage not in ("find faces", "write"))

    def of_job(self) -> float:
        """Expected seconds of an edit of one face."""
        return self.of("find faces") + self.of_face() + self.of("write")


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        stage: what is being done.
        done, steps: of this stage.
        share: of the whole job that is done, in [0, 1).
        seconds_left: expected.
    """

    stage: str
    done: int
    steps: int
    share: float
    seconds_left: float


class Track:
    """The progress of one job; a listener of `command.progress`.

    Args:
        estimator: that learns from this job, and says what is left.
    """

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self._stage, self._done, self._steps = "find faces", 0, 1
        self._face, self._faces = 0, 1
        self._begun = self._entered = time.monotonic()

    def __call__(self, stage: str, done: int = 0, steps: int = 1) -> None:
        """Hears of a stage, or of the next of several faces."""
        if stage == "face":
            self._face, self._faces = done, steps
            return
        now = time.monotonic()
        if stage != self._stage:
            self._estimator.learn(self._stage, now - self._entered)
            self._entered = now
        self._stage, self._done, self._steps = stage, done, steps

    def end(self) -> None:
        """The last stage has ended well."""
        self._estimator.learn(self._stage, time.monotonic() - self._entered)

    def now(self) -> Progress:
        """How far the job is at this moment."""
        estimator, order = self._estimator, list(_FIRST)
        elapsed = time.monotonic() - self._entered
        expected = estimator.of(self._stage)
        if self._done > 0:  # steps of a stage tell more than earlier edits
            expected = elapsed * self._steps / self._done
        # A stage that takes longer than it ever did goes on for a while yet.
        left = max(expected - elapsed, 0.3 * elapsed)
        place = order.index(self._stage) if self._stage in order else 0
        left += sum(estimator.of(stage) for stage in order[place + 1 :])
        if self._stage != "write":
            left += estimator.of_face() * (self._faces - self._face - 1)
        spent = time.monotonic() - self._begun
        share = min(spent / max(spent + left, 1e-6), 0.99)
        return Progress(self._stage, self._done, self._steps, round(share, 3), round(left, 1))
