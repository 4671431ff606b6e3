"""Jobs on disk: each is a folder of its own, and outlives the server.

DIR/.lock             held by the server that uses the folder
DIR/.temporary        of whatever else the server receives; emptied when it starts
DIR/ID/photo          what was sent, under fixed names: photo, and perhaps mask and edited
DIR/ID/job.json       the job; written last, so that a folder without it is an upload that ended
DIR/ID/result.png     the edited photograph; and mask.png, report.json, before.png, stages/NAME.png
DIR/ID/result.mp4     or .mkv, .gif, .webp: the edited clip; and result_sheet.png, report.json
DIR/ID/work           what an interrupted edit of a clip goes on from

An ID is 128 random bits and the only key to a job. Nothing that comes from outside is ever part of
a path, except IDs and names of stages, which are compared with a pattern.
"""

import dataclasses
import json
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import write_atomically

State = Literal["waiting", "running", "done", "failed"]
ENDED = ("done", "failed")
PARTS = ("photo", "mask", "edited")  # what may be sent
# What a job leaves beside its stages; before.png is the photograph as a browser shows it.
RESULTS = ("result.png", "mask.png", "report.json", "before.png")
CLIPS = ("result.mp4", "result.mkv", "result.gif", "result.webp")
SHEET = "result_sheet.png"  # some frames of a clip, and what became of them
# A job during which the server ended so often is not tried again.
MOST_ATTEMPTS = 2

_ABANDONED = 3600.0  # seconds after which no upload goes on any more
_ID = re.compile(r"[0-9a-f]{32}")
_PICTURE = re.compile(r"[a-z][a-z_]{0,30}(_[0-9]{1,3})?")


@dataclasses.dataclass
class Job:
    """One edit that was asked for.

    Attributes:
        id: 32 hexadecimal digits.
        name: of the photograph's or the clip's file, for people.
        settings: as JSON, see `settings.Settings`.
        state: of the job.
        created, ended: seconds since 1970; `ended` is 0 while the job has not ended.
        attempts: how often it was begun.
        error: why it failed, one line.
        inputs: which files were sent: "photo", "mask", "edited".
        frames: of a clip, perhaps estimated; 0 for a photograph.
    """

    id: str
    name: str
    settings: dict[str, Any]
    state: State = "waiting"
    created: float = 0.0
    ended: float = 0.0
    attempts: int = 0
    error: str = ""
    inputs: tuple[str, ...] = ("photo",)
    frames: int = 0


_FIELDS = tuple(field.name for field in dataclasses.fields(Job))


class JobStore:
    """The folder of all jobs; one server uses it at a time (`files.locks.held`).

    Args:
        root: of the folder; made with access for its owner only.
        lifetime: seconds that a job is kept after it has ended.

    Attributes:
        temporary: a folder for files in passing.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, root: Path, lifetime: float) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root, self.lifetime = root.resolve(), lifetime
        self.temporary = self.root / ".temporary"
        self.temporary.mkdir(exist_ok=True, mode=0o700)

    def new_folder(self) -> tuple[str, Path]:
        """A new ID and its folder, into which what was sent is written before `add`."""
        id = secrets.token_hex(16)
        folder = self.root / id
        folder.mkdir(mode=0o700)
        return id, folder

    def add(self, id: str, name: str, settings: Mapping[str, Any], frames: int = 0) -> Job:
        """A job whose files lie in its folder; its fields are those of `Job`."""
        inputs = tuple(part for part in PARTS if (self.root / id / part).is_file())
        job = Job(id, name, dict(settings), created=time.time(), inputs=inputs, frames=frames)
        self.save(job)
        return job

    def save(self, job: Job) -> None:
        """Writes a job's state, whole or not at all.

        Raises:
            OSError: the disk is full, or the job was removed.
        """
        if not (self.root / job.id).is_dir():
            raise FileNotFoundError(job.id)
        content = json.dumps(dataclasses.asdict(job), indent=1)
        write_atomically(self.root / job.id / "job.json", content.encode())

    def find(self, id: str) -> Job | None:
        """The job with this ID; None if there is none, or it is no ID."""
        path = self.root / id / "job.json" if _ID.fullmatch(id) else None
        if path is None or not _is_own(path):
            return None
        try:
            content = decode(path.read_bytes())
            # Another version may have known more, or less: its jobs are not lost.
            known = {name: content[name] for name in _FIELDS if name in content}
            job = Job(**known | {"id": id, "inputs": tuple(known.get("inputs", ("photo",)))})
        except (OSError, ValueError, TypeError):
            return None
        return job if _is_sound(job) else None

    def folder(self, job: Job) -> Path:
        """Where the files of a job are."""
        return self.root / job.id

    def result(self, job: Job, name: str) -> Path | None:
        """A file of the result; None if there is none.

        Args:
            job: that is done.
            name: of `RESULTS`, `CLIPS`, `SHEET`, or of a stage.
        """
        folder = self.folder(job)
        if name in (*RESULTS, *CLIPS, SHEET):
            path = folder / name
        elif _PICTURE.fullmatch(name):
            path = folder / "stages" / f"{name}.png"
        else:
            return None
        return path if _is_own(path) else None

    def edited(self, job: Job) -> Path | None:
        """The edited photograph or clip of a job that is done."""
        found = (self.result(job, name) for name in ("result.png", *CLIPS))
        return next(filter(None, found), None)

    def stages(self, job: Job) -> list[str]:
        """The names of the stages that were kept."""
        found = sorted(path.stem for path in (self.folder(job) / "stages").glob("*.png"))
        return [name for name in found if _PICTURE.fullmatch(name)]

    def remove(self, id: str) -> None:
        """Removes a job with all of its files; nothing happens if there is none."""
        if _ID.fullmatch(id):
            shutil.rmtree(self.root / id, ignore_errors=True)

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        found = (self.find(path.name) for path in self.root.iterdir())
        return sorted((job for job in found if job is not None), key=lambda job: job.created)

    def expires(self, job: Job) -> float | None:
        """When an ended job is removed, in seconds since 1970; None before it has ended."""
        return job.ended + self.lifetime if job.state in ENDED else None

    def sweep(self, now: float) -> list[str]:
        """Removes what has reached its lifetime, and uploads that never became jobs.

        Args:
            now: seconds since 1970.

        Returns:
            The IDs that were removed.
        """
        removed = []
        for path in self.root.iterdir():
            if not _ID.fullmatch(path.name):
                continue
            job = self.find(path.name)
            try:
                ends = self.expires(job) if job else path.stat().st_mtime + _ABANDONED
            except OSError:
                continue
            if ends is not None and now >= ends:
                self.remove(path.name)
                removed.append(path.name)
        return removed

    def recover(self) -> list[Job]:
        """The jobs that wait, after a server has ended in any way; called once, before any new one.

        A job that was running is begun again, unless the server ended during it more than once. An
        upload that never became a job is removed: nobody sends the rest of it.
        """
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(mode=0o700, exist_ok=True)
        for path in self.root.iterdir():
            if _ID.fullmatch(path.name) and self.find(path.name) is None:
                self.remove(path.name)
        waiting = []
        for job in self.all():
            if job.state in ENDED:
                continue
            if job.attempts >= MOST_ATTEMPTS:
                job.state, job.ended = "failed", time.time()
                job.error = "the server ended twice during this edit; try a smaller file"
            else:
                job.state = "waiting"
                waiting.append(job)
            self.save(job)
        return waiting


def _is_sound(job: Job) -> bool:
    """Whether the fields of a job are what the server itself writes."""
    times, texts = (job.created, job.ended), (job.name, job.error)
    return (
        job.state in get_args(State)
        and all(type(time) in (int, float) and 0 <= time < 1e12 for time in times)
        and type(job.attempts) is type(job.frames) is int
        and all(isinstance(text, str) for text in texts)
        and isinstance(job.settings, dict)
        and all(part in PARTS for part in job.inputs)
    )


def _is_own(path: Path) -> bool:
    """Whether a path is a file that lies where it seems to lie: no link leads out of the folder."""
    try:
        return path.is_file() and path.resolve() == path
    except OSError:
        return False
