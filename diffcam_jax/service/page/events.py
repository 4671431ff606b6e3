"""What happens when something on the page is used."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from diffcam_jax.errors import UserError
from diffcam_jax.faces import samples
from diffcam_jax.faces.photo import as_mask, read_photo, write_photo
from diffcam_jax.service.page import links, photograph, status
from diffcam_jax.service.page.edits import Visit, edit
from diffcam_jax.service.page.layout import Controls, welcome
from diffcam_jax.service.page.links import Form
from diffcam_jax.service.page.session import Session, Step

_STAGES = (
    "aligned",
    "inverted",
    "edited",
    "cam_mask",
    "out_of_domain",
    "mask",
    "fused",
    "deghosted",
)
# Called in the browser when a slider moves: the edit begins once it has rested for a while.
SOON = "(at_once) => at_once && window.diffcamSoon()"
# The settings in the address bar, so that a bookmark or a copied address has them.
REMEMBER = """(link) => {
  if (link) history.replaceState(null, "", link);
  return link && new URL(link, location.href).href;
}"""


def wire(controls: Controls, context: Any, folder: Path) -> "Page":
    """Connects the components.

    Args:
        controls: of the tab for one photograph.
        context: of the service.
        folder: of the visitors' pictures.

    Returns:
        The functions behind the components.
    """
    session = gr.State(Session())
    page = Page(controls, context, folder)
    opened = [
        session,
        controls.photo,
        controls.faces,
        controls.face,
        controls.brush,
        *controls.shown,
    ]
    quiet = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    controls.photo.upload(page.open, [controls.photo, *controls.form], opened, **quiet)
    for button, sample in ((controls.hopper, samples.hopper), (controls.collins, samples.collins)):
        button.click(page.opening(sample), controls.form, opened, **quiet)
    controls.faces.select(page.choose, session, controls.face, **quiet)
    controls.face.change(page.box, [session, controls.face], controls.faces, **quiet)
    for slider in controls.sliders.values():
        slider.input(None, controls.at_once, None, js=SOON)
    changing = [session, *controls.shown]
    controls.edit.click(
        page.edit,
        [session, controls.brush, controls.edited, controls.show_mask, *controls.form],
        changing,
        trigger_mode="always_last",
        **quiet,
    )
    for button, by in ((controls.undo, -1), (controls.redo, +1)):
        button.click(
            page.moving(by), [session, controls.show_mask], [*changing, *controls.form], **quiet
        )
    controls.reset.click(page.reset, None, controls.form, **quiet)
    controls.show_mask.change(page.view, [session, controls.show_mask], controls.result, **quiet)
    controls.link.change(None, controls.link, controls.link, js=REMEMBER)
    return page


class Page:
    """The functions behind the components, with what they share."""

    def __init__(self, controls: Controls, context: Any, folder: Path) -> None:
        self.controls, self.context, self.folder = controls, context, folder
        self.names, self.domain = list(controls.sliders), context.editor.domain

    def form(self, values: tuple) -> Form:
        """What the controls say."""
        strengths = tuple(zip(self.names, (float(v or 0) for v in values), strict=False))
        face, method, mask_mode, tune, aligned = values[len(self.names) :]
        return Form(strengths, face, method, mask_mode, int(tune or 0), bool(aligned))

    def unseen(self, values: tuple) -> Form:
        """What the controls say for files in which nobody has chosen a face.

        Raises:
            UserError: nothing is to be changed.
        """
        given = self.form(values)
        if not any(value for _, value in given.strengths):
            raise UserError("Move a slider on the first tab first: it says what to change.")
        return dataclasses.replace(given, face="all" if given.face == "all" else "1")

    def visit(self, request: gr.Request) -> Visit:
        """Who asks."""
        return Visit(self.context, self.folder, request.client.host)

    def arrive(self, request: gr.Request) -> list[Any]:
        """The page was opened, perhaps by a link to settings."""
        form = links.read(dict(request.query_params), self.context.directions, self.domain.tune)
        values = self._values(form)
        values[len(self.names)] = gr.update(choices=["1", form.face], value=form.face)
        return values

    def opening(self, sample: Callable[[], Path]) -> Callable:
        """The function that opens one of the portraits."""

        def open_sample(*values: Any) -> list[Any]:
            return self.open(str(sample()), *values)

        return open_sample

    def open(self, path: str | None, *values: Any) -> list[Any]:
        """A photograph was dropped, or a sample chosen."""
        if path is None:
            return [gr.skip()] * (5 + len(self.controls.shown))
        name = Path(path).name
        # Emptied at once, so that the next photograph can be dropped.
        emptied = gr.update(value=None, label=f"Photograph: {name}. Drop another one")
        try:
            most = self.context.limits.pixels
            session = photograph.open_photograph(Path(path), name, most, self.folder, self.domain)
        except UserError as error:
            nothing = self._nothing(status.problem(str(error)))
            return [Session(), gr.update(value=None), *self._no_faces(), *nothing]
        choices = photograph.face_choices(session)
        wanted = self.form(values).face
        face = wanted if wanted in [value for _, value in choices] else "1"
        boxed = photograph.boxed(session, face, self.domain)
        count = len(session.quads)
        return [
            session,
            emptied,
            gr.update(value=boxed, visible=True),
            gr.update(choices=choices, value=face, visible=count > 1),
            {"background": session.preview, "layers": [], "composite": None},
            *self._nothing(self._opened(count), session),
        ]

    def _opened(self, count: int) -> str:
        """What is told of a photograph in which so many parts can be edited."""
        if not self.domain.of_faces:
            return status.idle("Move a slider.")
        if count:
            return status.idle(f"{count} face{'s' * (count > 1)} found. Move a slider.")
        return status.problem(
            "No face was found; take a picture that shows more of the face, or say under Method "
            "that it is an FFHQ crop."
        )

    def choose(self, session: Session, event: gr.SelectData) -> Any:
        """A face was clicked on."""
        found = photograph.face_at(session, *(float(x) for x in event.index[:2]))
        return gr.skip() if found is None else found

    def box(self, session: Session, face: str) -> Any:
        """Another face was chosen."""
        return photograph.boxed(session, face, self.domain)

    async def edit(
        self,
        session: Session,
        brush: dict[str, Any] | None,
        edited: str | None,
        show_mask: bool,
        request: gr.Request,
        *values: Any,
    ) -> AsyncIterator[list[Any]]:
        """An edit was asked for."""
        form = self.form(values)
        unchanged = [gr.skip()] * (len(self.controls.shown) - 1)
        if session.photo is None:
            yield [session, status.problem(welcome(self.domain)), *unchanged]
            return
        try:
            mask = photograph.painted_mask(session, brush)
            elsewhere = Path(edited) if edited else None
            yield [session, status.waiting(0, None), *unchanged]
            visit = self.visit(request)
            async for told, step in edit(visit, session, form, mask, elsewhere):
                if step is None:
                    yield [session, told, *unchanged]
                    continue
                session.add(step)
                yield [session, *self._shown(session, told, show_mask)]
        except UserError as error:
            yield [session, status.problem(str(error)), *unchanged]

    def moving(self, by: int) -> Callable:
        """The function that goes back or forth."""

        def move(session: Session, show_mask: bool) -> list[Any]:
            step = session.move(by)
            if step is None:
                return [
                    session,
                    *[gr.skip()] * (len(self.controls.shown) + len(self.controls.form)),
                ]
            told = status.idle("The edit before." if by < 0 else "The edit after.")
            return [
                session,
                *self._shown(session, told, show_mask),
                *self._values(step.settings),
            ]

        return move

    def reset(self) -> list[Any]:
        """All settings are wanted at their defaults."""
        return self._values(Form(tuple((name, 0.0) for name in self.names)))

    def _values(self, form: Form) -> list[Any]:
        """What the controls show for settings."""
        own = form.face, form.method, form.mask_mode, form.tune, form.aligned
        return [*(value for _, value in form.strengths), *own]

    def view(self, session: Session, show_mask: bool) -> Any:
        """The pictures of the slider: before, and after or where."""
        step = session.shown
        return gr.skip() if step is None else self._pictures(step, session, show_mask)

    def _pictures(self, step: Step, session: Session, show_mask: bool) -> tuple[str, str]:
        before = step.folder / "before.png"
        if not show_mask:
            return str(before), str(step.folder / f"{_stem(session)}.png")
        where = step.folder / "where.png"
        if not where.exists():
            mask = as_mask(read_photo(step.folder / "mask.png").pixels)
            write_photo(where, photograph.overlay(read_photo(before).pixels, mask))
        return str(before), str(where)

    def _shown(self, session: Session, told: str, show_mask: bool) -> list[Any]:
        step, stem = session.shown, _stem(session)
        stages = [(str(p), p.stem.replace("_", " ")) for p in _stages(step)]
        return [
            told,
            self._pictures(step, session, show_mask),
            stages,
            gr.update(value=str(step.folder / f"{stem}.png"), interactive=True),
            gr.update(value=str(step.folder / f"{stem}.json"), interactive=True),
            step.report,
            "/?" + links.query(step.settings, self.domain.tune),
            gr.update(interactive=session.place > 0),
            gr.update(interactive=session.place + 1 < len(session.steps)),
        ]

    def _nothing(self, told: str, session: Session | None = None) -> list[Any]:
        """Before the first edit: the photograph on both sides, where there is one."""
        off = gr.update(interactive=False)
        empty = gr.update(value=None, interactive=False)
        both = None if session is None else (str(session.before), str(session.before))
        return [told, both, None, empty, empty, None, "", off, off]

    def _no_faces(self) -> list[Any]:
        return [gr.update(value=None, visible=False), gr.update(visible=False), None]


def _stem(session: Session) -> str:
    return Path(session.name).stem or "photograph"


def _stages(step: Step) -> list[Path]:
    """The pictures of the stages, face by face, in the order of the edit."""
    found = {}
    for path in (step.folder / "stages").glob("*.png"):
        name, _, number = path.stem.rpartition("_")
        numbered = number.isdecimal()
        stage = name if numbered else path.stem
        if stage in _STAGES:
            found[int(number) if numbered else 0, _STAGES.index(stage)] = path
    return [found[key] for key in sorted(found)]
