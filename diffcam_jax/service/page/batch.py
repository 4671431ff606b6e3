"""The tab for many photographs: a table with the state of each, and an archive of the results."""

import asyncio
import base64
import dataclasses
import html
import io
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import read_photo, to_8_bits
from diffcam_jax.files.domain import Domain
from diffcam_jax.service.page import archive, status
from diffcam_jax.service.page.edits import Busy, Visit, edit
from diffcam_jax.service.page.photograph import refuse_clip
from diffcam_jax.service.page.session import Session

_THUMBNAIL = 72  # pixels
_RETRY = 2.0  # seconds until a full queue is asked again


@dataclasses.dataclass
class _Row:
    """One photograph of many; its thumbnails are data of the page."""

    name: str
    path: Path
    state: str = "waits"
    reason: str = ""
    before: str = ""
    after: str = ""


@dataclasses.dataclass(frozen=True)
class Controls:
    """The components of the tab."""

    photos: gr.File
    edit: gr.Button
    told: gr.HTML
    table: gr.HTML
    save: gr.DownloadButton


def many_photographs(domain: Domain) -> Controls:
    """Draws the tab for many photographs.

    Args:
        domain: what kind of pictures are edited.
    """
    told = "Every photograph gets the edit that is set on the first tab."
    if domain.of_faces:
        told += (
            " Faces are found by themselves; where there are several, the largest one or, if so "
            "chosen, all are edited."
        )
    gr.Markdown(told)
    photos = gr.File(
        label="Photographs, or a zip of them", file_count="multiple", elem_id="photos", height=150
    )
    button = gr.Button("Edit all", variant="primary", elem_id="edit-all")
    told = gr.HTML(status.idle("Drop photographs."), elem_id="told-all")
    table = gr.HTML("", elem_id="table")
    save = gr.DownloadButton("Download all as zip", interactive=False, elem_id="save-all")
    return Controls(photos, button, told, table, save)


def wire(controls: Controls, form: Sequence[Any], page: Any) -> None:
    """Connects the components.

    Args:
        controls: of this tab.
        form: components of the settings.
        page: of the first tab, which reads the settings.
    """

    async def edit_all(
        paths: list[str] | None, request: gr.Request, *values: Any
    ) -> AsyncIterator[list[Any]]:
        try:
            if not paths:
                raise UserError("Drop photographs first.")
            given = page.unseen(values)
            if given.tune == page.domain.tune:
                given = dataclasses.replace(given, tune=page.domain.tune_quickly)
            visit = page.visit(request)
            async for told, rows, ready in _edit_all(visit, [Path(p) for p in paths], given):
                save = gr.update(value=ready and str(ready), interactive=ready is not None)
                yield [told, _table(rows), save]
        except UserError as error:
            yield [status.problem(str(error)), gr.skip(), gr.skip()]

    controls.edit.click(
        edit_all,
        [controls.photos, *form],
        [controls.told, controls.table, controls.save],
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=None,
    )


async def _edit_all(
    visit: Visit, paths: list[Path], form: Any
) -> AsyncIterator[tuple[str, list[_Row], Path | None]]:
    limits = visit.context.limits
    folder = visit.folder / secrets.token_hex(16)
    folder.mkdir(parents=True)
    found = archive.photographs(paths, folder, 4 * limits.request_bytes)
    rows = [_Row(name, path) for name, path in found]
    done: dict[str, Path] = {}
    for number, row in enumerate(rows):
        row.state = "is edited"
        yield status.step(number, len(rows), ""), rows, None
        try:
            async for told, step in _edit_one(visit, row, form):
                if step is None:
                    yield status.step(number, len(rows), told), rows, None
                    continue
                stem = Path(row.name).stem or "photograph"
                for suffix in (".png", ".json"):
                    done[stem + suffix] = step.folder / (stem + suffix)
                row.state, row.after = "done", _thumbnail(step.folder / f"{stem}.png")
                row.before = _thumbnail(step.folder / "before.png")
        except UserError as error:
            row.state, row.reason = "failed", str(error)
    ready = folder / "edited.zip"
    failed = {row.name: row.reason for row in rows if row.state == "failed"}
    await asyncio.to_thread(archive.pack, ready, done, failed)
    told = f"{len(rows) - len(failed)} edited, {len(failed)} failed."
    yield status.idle(told), rows, ready


async def _edit_one(visit: Visit, row: _Row, form: Any) -> AsyncIterator[tuple[str, Any]]:
    """Edits a photograph, and waits for room where others are before it."""
    refuse_clip(row.path, row.name)
    session = Session(row.path, row.name)
    while True:
        try:
            async for told, step in edit(visit, session, form):
                yield told, step
            return
        except Busy as busy:
            yield status.idle(str(busy)), None
            await asyncio.sleep(_RETRY)


def _thumbnail(path: Path) -> str:
    picture = Image.fromarray(to_8_bits(read_photo(path).pixels))
    picture.thumbnail((_THUMBNAIL * 2, _THUMBNAIL * 2))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _table(rows: list[_Row]) -> str:
    def picture(data: str, text: str) -> str:
        alt = html.escape(text, quote=True)
        return f'<img src="{data}" alt="{alt}" height="{_THUMBNAIL}">' if data else ""

    body = "".join(
        f"<tr><td>{html.escape(row.name)}</td><td>{picture(row.before, 'before')}</td>"
        f"<td>{picture(row.after, 'after')}</td><td>{row.state}</td>"
        f"<td>{html.escape(row.reason)}</td></tr>"
        for row in rows
    )
    head = "".join(
        f'<th scope="col">{title}</th>'
        for title in ("Photograph", "Before", "After", "State", "Reason")
    )
    return f'<table class="photographs"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
