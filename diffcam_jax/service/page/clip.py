"""The tab for a clip: one edit in all of its frames, some of them side by side, and a player."""

import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from diffcam_jax.errors import UserError
from diffcam_jax.files.domain import Domain
from diffcam_jax.service import clips
from diffcam_jax.service.page import status
from diffcam_jax.service.page.edits import Visit, link_or_copy, run
from diffcam_jax.service.page.links import Form
from diffcam_jax.service.store import SHEET, Job


@dataclasses.dataclass(frozen=True)
class Controls:
    """The components of the tab."""

    clip: gr.File
    edit: gr.Button
    told: gr.HTML
    video: gr.Video
    picture: gr.Image
    sheet: gr.Image
    save: gr.DownloadButton
    save_report: gr.DownloadButton

    @property
    def shown(self) -> list[Any]:
        """What an edit changes on the page."""
        pictures = [self.video, self.picture, self.sheet]
        return [self.told, *pictures, self.save, self.save_report]


@dataclasses.dataclass(frozen=True)
class Edited:
    """A clip that has been edited.

    Attributes:
        result: the clip.
        sheet: some frames before and after.
        report: of the edit, a file.
    """

    result: Path
    sheet: Path
    report: Path


def one_clip(most_frames: int, domain: Domain) -> Controls:
    """Draws the tab for a clip.

    Args:
        most_frames: of a clip.
        domain: what kind of pictures are edited.
    """
    whom = ": of the largest face or, if so chosen, of all" if domain.of_faces else ""
    gr.Markdown(
        f"Every frame of the clip gets the edit that is set on the first tab{whom}. A clip has at "
        f"most {most_frames} frames; `edit.py` takes longer ones."
    )
    clip = gr.File(
        label="Clip: a video, or an animated GIF, PNG or WebP", elem_id="clip", height=150
    )
    button = gr.Button("Edit the clip", variant="primary", elem_id="edit-clip")
    told = gr.HTML(status.idle("Drop a clip."), elem_id="told-clip")
    still = {"interactive": False, "buttons": []}
    result = {"label": "Result", "visible": False, "height": 560}
    video = gr.Video(elem_id="video", **result, **still)
    picture = gr.Image(type="filepath", elem_id="animation", **result, **still)
    sheet = gr.Image(label="Before and after", type="filepath", elem_id="sheet", **still)
    with gr.Row():
        save = gr.DownloadButton("Download the clip", interactive=False, elem_id="save-clip")
        save_report = gr.DownloadButton(
            "Download the report", interactive=False, elem_id="save-clip-report"
        )
    return Controls(clip, button, told, video, picture, sheet, save, save_report)


def wire(controls: Controls, form: Sequence[Any], page: Any) -> None:
    """Connects the components.

    Args:
        controls: of this tab.
        form: components of the settings.
        page: of the first tab, which reads the settings.
    """

    async def edit(path: str | None, request: gr.Request, *values: Any) -> AsyncIterator[list[Any]]:
        unchanged = [gr.skip()] * (len(controls.shown) - 1)
        try:
            if not path:
                raise UserError("Drop a clip first.")
            given = page.unseen(values)
            yield [status.waiting(0, None), *unchanged]
            async for told, edited in edit_clip(page.visit(request), Path(path), given):
                yield [told, *(unchanged if edited is None else _shown(edited))]
        except UserError as error:
            yield [status.problem(str(error)), *unchanged]

    controls.edit.click(
        edit,
        [controls.clip, *form],
        controls.shown,
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=None,
    )


async def edit_clip(
    visit: Visit, path: Path, form: Form
) -> AsyncIterator[tuple[str, Edited | None]]:
    """Edits a visitor's clip.

    Args:
        visit: who asks.
        path: of the clip.
        form: what the controls say.

    Yields:
        What to tell, and the edited clip once there is one.

    Raises:
        UserError: it is no clip, or cannot be edited.
    """
    if not clips.is_one(path, path.name):
        raise UserError(f"{path.name}: is no clip; photographs are edited on the first tab")
    settings = {k: v for k, v in form.asked().items() if k != "mask_mode"}

    def keep(job: Job) -> Edited:
        store, folder = visit.context.store, visit.folder / secrets.token_hex(16)
        folder.mkdir(parents=True)
        source = store.edited(job)
        kept = Edited(
            folder / f"{path.stem}{source.suffix}",
            folder / f"{path.stem}_sheet.png",
            folder / f"{path.stem}.json",
        )
        link_or_copy(source, kept.result)
        link_or_copy(store.result(job, SHEET), kept.sheet)
        link_or_copy(store.result(job, "report.json"), kept.report)
        return kept

    async for told, edited in run(visit, path, path.name, settings, keep):
        if edited is not None:
            told = status.clip_done(json.loads(edited.report.read_text()))
        yield told, edited


def _shown(edited: Edited) -> list[Any]:
    moves = edited.result.suffix in (".gif", ".webp")
    result, nothing = str(edited.result), gr.update(value=None, visible=False)
    shown = gr.update(value=result, visible=True)
    return [
        nothing if moves else shown,
        shown if moves else nothing,
        str(edited.sheet),
        gr.update(value=result, interactive=True),
        gr.update(value=str(edited.report), interactive=True),
    ]
