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
# Of a clip: seconds of a frame, except for tuning, which all frames of a face share.
_OF_CLIP = {"find faces": 0.2, "draft": 10.0, "tuning": 30.0, "edit": 0.8}
_MEMORY = 0.5  # weight of the newest measurement


class Estimator:
    """Running means of the stages' seconds; shared by all workers.

    Clips have stages of their own; `frames` is their length, and 0 stands for a photograph.
    """

    def __init__(self) -> None:
        clip = {_key(stage, 1): seconds for stage, seconds in _OF_CLIP.items()}
        self._seconds = _FIRST | clip
        self._lock = threading.Lock()

    def learn(self, stage: str, seconds: float, frames: int = 0) -> None:
        """Takes a measurement in."""
        key, seconds = _key(stage, frames), seconds / _parts(stage, frames)
        with self._lock:
            before = self._seconds.get(key, seconds)
            self._seconds[key] = before + _MEMORY * (seconds - before)

    def of(self, stage: str, frames: int = 0) -> float:
        """Expected seconds of a stage."""
        with self._lock:
            return self._seconds.get(_key(stage, frames), 0.0) * _parts(stage, frames)

    def of_face(self) -> float:
        """Expected seconds of all that is done to one face of a photograph."""
        return sum(self.of(stage) for stage in _FIRST if stage not in ("find faces", "write"))

    def of_job(self, frames: int = 0) -> float:
        """Expected seconds of an edit of one face."""
        return sum(self.of(stage, frames) for stage in _stages(frames))


def _stages(frames: int) -> list[str]:
    return list(_OF_CLIP if frames else _FIRST)


def _key(stage: str, frames: int) -> str:
    return f"clip: {stage}" if frames else stage


def _parts(stage: str, frames: int) -> int:
    """How many times the seconds that are known of a stage pass."""
    return frames if frames and stage not in ("draft", "tuning") else 1


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
        frames: of a clip; 0 for a photograph.
    """

    def __init__(self, estimator: Estimator, frames: int = 0) -> None:
        self._estimator, self._frames = estimator, frames
        self._stage, self._first, self._done, self._steps = "find faces", 0, 0, 1
        self._face, self._faces = 0, 1
        self._begun = self._entered = time.monotonic()

    def __call__(self, stage: str, done: int = 0, steps: int = 1) -> None:
        """Hears of a stage, or of the next of several faces."""
        if stage == "face":
            self._face, self._faces = done, steps
            return
        if stage != self._stage or done < self._done:  # another face of a clip is tuned anew
            self.end()
            self._entered, self._first = time.monotonic(), done
        self._stage, self._done, self._steps = stage, done, steps

    def end(self) -> None:
        """The last stage has ended well."""
        seconds = time.monotonic() - self._entered
        if not self._frames:
            self._estimator.learn(self._stage, seconds)
        # Less is told where an interrupted edit goes on.
        elif self._steps > 1 or self._stage == "draft":
            share = (self._done + 1 - self._first) / self._steps
            self._estimator.learn(self._stage, seconds / share, self._steps)

    def now(self) -> Progress:
        """How far the job is at this moment."""
        estimator, order = self._estimator, _stages(self._frames)
        elapsed = time.monotonic() - self._entered
        expected = estimator.of(self._stage, self._frames)
        if self._done > self._first:  # steps of a stage tell more than earlier edits
            ahead = self._steps - self._first
            expected = elapsed * ahead / (self._done - self._first)
        # A stage that takes longer than it ever did goes on for a while yet.
        left = max(expected - elapsed, 0.3 * elapsed)
        place = order.index(self._stage) if self._stage in order else 0
        left += sum(estimator.of(stage, self._frames) for stage in order[place + 1 :])
        if self._stage != "write":
            left += estimator.of_face() * (self._faces - self._face - 1)
        spent = time.monotonic() - self._begun
        share = min(spent / max(spent + left, 1e-6), 0.99)
        return Progress(self._stage, self._done, self._steps, round(share, 3), round(left, 1))
