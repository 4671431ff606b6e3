"""An edit that was asked for on the page, as a job of the service."""

import asyncio
import json
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.service.context import Context
from diffcam_jax.service.intake import Intake
from diffcam_jax.service.page import status
from diffcam_jax.service.page.session import Session, Step
from diffcam_jax.service.queue import Full, Queue
from diffcam_jax.service.store import ENDED, RESULTS, Job

_LOOK_AGAIN = 0.2  # seconds


class Busy(UserError):
    """The same may be asked for later."""


class Visit(NamedTuple):
    """Who asks for an edit.

    Attributes:
        context: of the service.
        folder: of the visitors' pictures.
        client: the visitor's address.
    """

    context: Context
    folder: Path
    client: str


def submit(
    context: Context,
    photo: Path,
    name: str,
    settings: Mapping[str, Any],
    mask: np.ndarray | None = None,
    edited: Path | None = None,
) -> Job:
    """Lets an edit wait for a worker.

    Args:
        context: of the service.
        photo: file of the photograph or the clip.
        name: of that file, for people.
        settings: see `settings.Settings`.
        mask: painted, uint8 [h, w].
        edited: file of the same photograph edited elsewhere.

    Raises:
        UserError: a file or a setting is wrong, or there is no room on the disk.
        Busy: too many edits wait.
    """
    try:
        with Intake(context) as intake:
            link_or_copy(photo, intake.path("photo"))
            if mask is not None:
                Image.fromarray(mask).save(intake.path("mask"), format="PNG")
            if edited is not None:
                link_or_copy(edited, intake.path("edited"))
            return intake.finish(name, settings)
    except Full as full:
        raise Busy(f"too many edits are waiting; try again in {full.seconds:.0f} seconds") from full
    except OSError as error:
        raise UserError(
            f"the server has no room for this file ({error.strerror}); try again later"
        ) from error


async def follow(queue: Queue, job: Job) -> AsyncIterator[tuple[Job, str]]:
    """The job and what to tell of it, again and again until it has ended.

    Args:
        queue: of the service.
        job: that was submitted.

    Raises:
        UserError: the job was removed.
    """
    while True:
        found = queue.find(job.id)
        if found is None:
            raise UserError("this edit was removed; ask for it again")
        yield found, _told(queue, found)
        if found.state in ENDED:
            return
        await asyncio.sleep(_LOOK_AGAIN)


async def run(
    visit: Visit,
    path: Path,
    name: str,
    settings: Mapping[str, Any],
    keep: Callable[[Job], Any],
    mask: np.ndarray | None = None,
    edited: Path | None = None,
) -> AsyncIterator[tuple[str, Any]]:
    """Has the service edit a file, and removes the edit from it.

    Args:
        visit: who asks.
        path: of the file.
        name: of the file, for people.
        settings: see `submit`, as for the files that follow.
        keep: takes what is wanted out of the folder of the job that is done.
        mask: painted.
        edited: the file edited elsewhere.

    Yields:
        What to tell and None; in the end "" and what was kept.

    Raises:
        UserError: a file or a setting is at fault.
        Busy: too many edits wait, or this visitor asks too often.
    """
    queue = visit.context.queue
    if wait := visit.context.rate.take(visit.client):
        raise Busy(f"that was quick; try again in {wait:.0f} seconds")
    job = submit(visit.context, path, name, settings, mask, edited)
    try:
        async for found, told in follow(queue, job):
            if found.state == "failed":
                raise UserError(found.error)
            if found.state != "done":
                yield told, None
        kept = keep(job)
    finally:  # also when a visitor leaves: nobody waits for this edit any more
        queue.cancel(job.id)
    yield "", kept


async def edit(
    visit: Visit,
    session: Session,
    form: Any,
    mask: np.ndarray | None = None,
    edited: Path | None = None,
) -> AsyncIterator[tuple[str, Step | None]]:
    """Edits a visitor's photograph.

    Args:
        visit: who asks.
        session: with a photograph.
        form: what the controls say, see `links.Form`.
        mask: painted.
        edited: the photograph edited elsewhere; the strengths then only name attributes.

    Yields:
        What to tell, and the edit once it has been made.

    Raises:
        UserError: the photograph or a setting is at fault.
        Busy: too many edits wait, or this visitor asks too often.
    """
    begun, stem = time.monotonic(), Path(session.name).stem or "photograph"

    def keep(job: Job) -> Step:
        return _kept(visit.context.queue, job, form, visit.folder, stem)

    given = session.photo, session.name, form.asked()
    async for told, step in run(visit, *given, keep, mask, edited):
        if step is not None:
            told = status.done(step.report, time.monotonic() - begun)
        yield told, step


def link_or_copy(source: Path, target: Path) -> None:
    """A file under a second name, without a copy of its content where that is possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _told(queue: Queue, job: Job) -> str:
    progress, place = queue.progress(job.id), queue.position(job.id)
    if progress is not None:
        return status.running(progress)
    return status.waiting(place or 0, queue.seconds_left(job.id))


def _kept(queue: Queue, job: Job, form: Any, root: Path, stem: str) -> Step:
    """The result in a folder of this visitor, under names that a download should have."""
    folder, source = root / secrets.token_hex(16), queue.store.folder(job)
    (folder / "stages").mkdir(parents=True)
    names = {"result.png": f"{stem}.png", "report.json": f"{stem}.json"}
    for name in RESULTS:
        link_or_copy(source / name, folder / names.get(name, name))
    for name in queue.store.stages(job):
        link_or_copy(queue.store.result(job, name), folder / "stages" / f"{name}.png")
    return Step(form, folder, json.loads((folder / f"{stem}.json").read_text()))
