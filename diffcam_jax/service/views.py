"""What the endpoints return, and how it is made of jobs."""

import datetime
import importlib.metadata
from typing import Literal

from pydantic import BaseModel, Field

import diffcam_jax
from diffcam_jax.service.context import Context
from diffcam_jax.service.store import Job, State


class Progress(BaseModel):
    """How far a running edit is."""

    stage: str = Field(description="What is being done.", examples=["tuning"])
    done: int = Field(description="Steps of this stage that are done.")
    steps: int = Field(description="Steps of this stage.")
    share: float = Field(description="Part of the whole edit that is done, from 0 to 1.")
    seconds_left: float = Field(description="Expected seconds until the edit is done.")


class Links(BaseModel):
    """Where the parts of an edit are; null until it is done."""

    self: str = Field(description="The edit itself.")
    result: str | None = Field(None, description="The edited photograph, PNG, or the edited clip.")
    report: str | None = Field(None, description="The report, JSON.")
    before: str | None = Field(None, description="The photograph before the edit, PNG of 8 bits.")
    sheet: str | None = Field(None, description="Of a clip: frames before and after, PNG.")
    stages: dict[str, str] = Field({}, description="Pictures of the stages by name, PNG.")


class Edit(BaseModel):
    """An edit: what was asked for, and how far it is."""

    id: str = Field(description="The key to this edit. Whoever knows it can see the edit.")
    photo: str = Field(description="Name of the photograph's or the clip's file.")
    state: State = Field(description="A done or failed edit does not change any more.")
    position: int | None = Field(None, description="While it waits: edits that come before it.")
    seconds_left: float | None = Field(None, description="Expected seconds until it has ended.")
    progress: Progress | None = Field(None, description="While it runs.")
    error: str | None = Field(None, description="Why it failed, one line.")
    created: datetime.datetime = Field(description="When it was asked for.")
    expires: datetime.datetime | None = Field(None, description="When its files are removed.")
    links: Links


class Attribute(BaseModel):
    """What can be changed in a face."""

    name: str
    lowest: float = Field(description="The lowest strength that gives clean pictures.")
    highest: float = Field(description="The highest one.")
    part: Literal["mouth", "eyes", "hair", "head", "other"] = Field(
        description="Part of the face where it acts, to show attributes in groups."
    )


class Health(BaseModel):
    """How the server is."""

    state: Literal["ready"] = "ready"
    waiting: int = Field(description="Edits that wait.")
    running: int = Field(description="Edits that are being computed.")
    versions: dict[str, str] = Field(description="Of this package and those that compute.")


_PARTS = {
    "mouth": ("smiling", "mouth_open", "beard"),
    "eyes": (
        "eyes_closed",
        "squint",
        "eye_size",
        "eye_makeup",
        "eyeglasses",
        "bushy_eyebrows",
        "brow_height",
        "brow_raise",
        "frown",
    ),
    "hair": (
        "hair_color",
        "black_hair",
        "blond_hair",
        "red_hair",
        "grey_hair",
        "bangs",
        "baldness",
    ),
    "head": (
        "old",
        "gender",
        "yaw",
        "pitch",
        "surprise",
        "face_width",
        "skin_tone",
        "skin_undertone",
        "light_side",
    ),
}


def _part(name: str) -> str:
    return next((part for part, names in _PARTS.items() if name in names), "other")


def edit(context: Context, job: Job) -> Edit:
    """A job as its owner sees it."""
    queue, store = context.queue, context.store
    progress, expires = queue.progress(job.id), store.expires(job)
    return Edit(
        id=job.id,
        photo=job.name,
        state="running" if progress else job.state,
        position=queue.position(job.id),
        seconds_left=queue.seconds_left(job.id),
        progress=progress and Progress.model_validate(progress, from_attributes=True),
        error=job.error or None,
        created=_time(job.created),
        expires=None if expires is None else _time(expires),
        links=_links(context, job),
    )


def attributes(context: Context) -> list[Attribute]:
    """What can be asked for."""
    return [
        Attribute(
            name=name,
            lowest=direction.range[0],
            highest=direction.range[1],
            part=_part(name),
        )
        for name, direction in context.directions.items()
    ]


def health(context: Context) -> Health:
    """How the server is."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "flax")}
    versions["diffcam_jax"] = diffcam_jax.__version__
    return Health(**context.queue.counts(), versions=versions)


def place(job: Job) -> str:
    """Where a job is on the server."""
    return f"/api/edits/{job.id}"


def _links(context: Context, job: Job) -> Links:
    own = place(job)
    if job.state != "done":
        return Links(self=own)
    names = ("result", "report", "sheet" if job.frames else "before")
    parts = {part: f"{own}/{part}" for part in names}
    stages = {name: f"{own}/stages/{name}" for name in context.store.stages(job)}
    return Links(self=own, stages=stages, **parts)


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(round(seconds), datetime.UTC)
