"""The components of the page and how they are arranged."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import gradio as gr

from diffcam_jax.directions import Edit
from diffcam_jax.files.domain import MOST_STEPS, Domain
from diffcam_jax.service.page import links, status
from diffcam_jax.service.page.photograph import PREVIEW

# Sliders of faces in groups, by name of the attribute; what is in none of them follows in OTHER.
GROUPS = {
    "Expression": (
        "smiling",
        "mouth_open",
        "surprise",
        "frown",
        "brow_raise",
        "squint",
        "eyes_closed",
    ),
    "Age and gender": ("old", "gender", "beard", "baldness"),
    "Hair": ("hair_color", "black_hair", "blond_hair", "red_hair", "grey_hair", "bangs"),
    "Face and skin": (
        "bushy_eyebrows",
        "brow_height",
        "eye_size",
        "eye_makeup",
        "face_width",
        "skin_tone",
        "skin_undertone",
    ),
    "Glasses, pose and light": ("eyeglasses", "yaw", "pitch", "light_side"),
}
# What a slider is called, and what its two ends mean.
LABELS = {
    "smiling": ("smile", "less", "more"),
    "mouth_open": ("open mouth", "more closed", "more open"),
    "surprise": ("surprise", "less", "more"),
    "frown": ("frown", "less", "more"),
    "brow_raise": ("raised brows", "lower", "higher"),
    "squint": ("squint", "less", "more"),
    "eyes_closed": ("closed eyes", "more open", "more closed"),
    "old": ("age", "younger", "older"),
    "gender": ("gender", "more feminine", "more masculine"),
    "beard": ("beard", "less", "more"),
    "baldness": ("baldness", "more hair", "less hair"),
    "hair_color": ("hair", "darker", "lighter"),
    "black_hair": ("black hair", "less", "more"),
    "blond_hair": ("blond hair", "less", "more"),
    "red_hair": ("red hair", "less", "more"),
    "grey_hair": ("grey hair", "less", "more"),
    "bangs": ("bangs", "less", "more"),
    "bushy_eyebrows": ("eyebrows", "thinner", "bushier"),
    "brow_height": ("place of the brows", "lower", "higher"),
    "eye_size": ("eyes", "smaller", "larger"),
    "eye_makeup": ("eye makeup", "less", "more"),
    "face_width": ("face", "narrower", "wider"),
    "skin_tone": ("skin", "darker", "lighter"),
    "skin_undertone": ("undertone of the skin", "redder", "yellower"),
    "eyeglasses": ("glasses", "taken off", "put on"),
    "yaw": ("turn of the head", "to the left", "to the right"),
    "pitch": ("tilt of the head", "down", "up"),
    "light_side": ("light", "from the left", "from the right"),
}
OTHER = "Other"


def welcome(domain: Domain) -> str:
    """What is told before there is a photograph."""
    if domain.of_faces:
        return "Drop a photograph, or take one of the two portraits."
    return "Drop a photograph."


@dataclasses.dataclass(frozen=True)
class Controls:
    """The components that events refer to; named after what they hold."""

    photo: gr.File
    hopper: gr.Button
    collins: gr.Button
    faces: gr.Image
    face: gr.Radio
    sliders: dict[str, gr.Slider]
    at_once: gr.Checkbox
    method: gr.Radio
    tune: gr.Slider
    aligned: gr.Checkbox
    brush: gr.ImageEditor
    mask_mode: gr.Radio
    edited: gr.File
    edit: gr.Button
    undo: gr.Button
    redo: gr.Button
    reset: gr.Button
    told: gr.HTML
    result: gr.ImageSlider
    show_mask: gr.Checkbox
    stages: gr.Gallery
    save: gr.DownloadButton
    save_report: gr.DownloadButton
    report: gr.JSON
    link: gr.Textbox

    @property
    def form(self) -> list[Any]:
        """What `links.Form` is read from, in its order."""
        own = (self.face, self.method, self.mask_mode, self.tune, self.aligned)
        return [*self.sliders.values(), *own]

    @property
    def shown(self) -> list[Any]:
        """What an edit changes on the page."""
        return [
            self.told,
            self.result,
            self.stages,
            self.save,
            self.save_report,
            self.report,
            self.link,
            self.undo,
            self.redo,
        ]


def one_photograph(directions: Mapping[str, Edit], domain: Domain) -> Controls:
    """Draws the tab for one photograph.

    Args:
        directions: that have sliders.
        domain: what kind of pictures they edit. What only faces have is hidden for others.
    """
    made: dict[str, Any] = {}
    with gr.Row(elem_classes="columns"):
        # The style sheet puts the result to the right of both others, or between them on a phone.
        with gr.Column(elem_classes="input"):
            _draw_input(made, domain)
        with gr.Column(elem_classes="result"):
            _draw_result(made, welcome(domain))
        with gr.Column(elem_classes="choices"):
            gr.Markdown("At 1 an attribute changes as much as it usually does.")
            with gr.Group():
                made["sliders"] = _draw_sliders(directions, domain)
            _draw_choices(made, domain)
    return Controls(**made)


def _draw_input(made: dict[str, Any], domain: Domain) -> None:
    made["photo"] = gr.File(label="Photograph", elem_id="photo", height=140)
    with gr.Row(visible=domain.of_faces, elem_id="samples"):
        made["hopper"] = gr.Button("Grace Hopper", min_width=90, size="sm", elem_id="hopper")
        made["collins"] = gr.Button("Eileen Collins", min_width=90, size="sm", elem_id="collins")
    made["faces"] = gr.Image(
        label="Faces: click one to choose it" if domain.of_faces else "The part that is edited",
        elem_id="faces",
        interactive=False,
        visible=False,
        height=260,
        format="jpeg",
        buttons=[],
    )
    made["face"] = gr.Radio(
        [("the face", "1")], value="1", label="Face to edit", elem_id="face", visible=False
    )


def _draw_sliders(directions: Mapping[str, Edit], domain: Domain) -> dict[str, gr.Slider]:
    groups, labels = (GROUPS, LABELS) if domain.of_faces else ({}, {})
    grouped = {name for names in groups.values() for name in names}
    rest = tuple(name for name in directions if name not in grouped)
    groups = {**groups, OTHER if groups else "Attributes": rest}
    sliders = {}
    for number, (title, names) in enumerate(groups.items()):
        present = [name for name in names if name in directions]
        if not present:
            continue
        with gr.Accordion(title, open=number == 0):
            for name in present:
                label = labels.get(name, (name.replace("_", " "), "less", "more"))
                sliders[name] = _slider(name, label, *directions[name].range)
    return {name: sliders[name] for name in directions}


def _slider(name: str, words: tuple[str, str, str], low: float, high: float) -> gr.Slider:
    label, less, more = words
    return gr.Slider(
        low,
        high,
        value=0.0,
        step=0.05,
        label=label,
        info=f"{low:g} {less}, {high:g} {more}",
        elem_id=f"slider-{name}",
    )


def _draw_choices(made: dict[str, Any], domain: Domain) -> None:
    made["at_once"] = gr.Checkbox(True, label="Edit as soon as a slider rests", elem_id="at-once")
    with gr.Row():
        made["edit"] = gr.Button("Edit", min_width=90, variant="primary", elem_id="edit")
        made["undo"] = gr.Button("Undo", min_width=90, interactive=False, elem_id="undo")
        made["redo"] = gr.Button("Redo", min_width=90, interactive=False, elem_id="redo")
        made["reset"] = gr.Button("Reset", min_width=90, elem_id="reset")
    with gr.Accordion("Where the edit may act", open=False, elem_id="where"):
        made["brush"] = gr.ImageEditor(
            label="Paint over the photograph",
            elem_id="brush",
            type="numpy",
            image_mode="RGBA",
            sources=(),
            transforms=(),
            layers=False,
            brush=gr.Brush(default_size=40, colors=["#ff8c00"], color_mode="fixed"),
            canvas_size=(PREVIEW, PREVIEW),
            format="png",
        )
        made["mask_mode"] = gr.Radio(
            [("only where I paint", "intersection"), ("also where I paint", "union")],
            value="intersection",
            label="The painted place",
            elem_id="mask-mode",
        )
    with gr.Accordion("An edit made elsewhere", open=False, elem_id="elsewhere"):
        made["edited"] = gr.File(
            label="The same photograph, edited by another program", elem_id="edited", height=140
        )
        gr.Markdown(
            "Only what really changed is taken over; every other pixel stays the photograph's. "
            "Sliders that are not 0 name the attributes that count; with none, all changes count."
        )
    with gr.Accordion("Method", open=False, elem_id="more"):
        made["method"] = gr.Radio(
            list(links.METHOD_NAMES), value="diffcam", label="How the place of the edit is found"
        )
        made["tune"] = gr.Slider(
            0, MOST_STEPS, value=domain.tune, step=1, label="Steps of tuning", info="0: none"
        )
        made["aligned"] = gr.Checkbox(
            False, label="The photograph already is an FFHQ crop", visible=domain.of_faces
        )


def _draw_result(made: dict[str, Any], told: str) -> None:
    made["told"] = gr.HTML(status.idle(told), elem_id="told")
    made["result"] = gr.ImageSlider(
        label="Before and after",
        elem_id="result",
        type="filepath",
        interactive=False,
        image_mode=None,
        max_height=760,
        buttons=["fullscreen"],
    )
    made["show_mask"] = gr.Checkbox(False, label="Show where the edit acts", elem_id="show-mask")
    with gr.Row():
        made["save"] = gr.DownloadButton("Download", interactive=False, elem_id="save")
        made["save_report"] = gr.DownloadButton(
            "Download the report", interactive=False, elem_id="save-report"
        )
    made["link"] = gr.Textbox(
        label="Link to these settings", interactive=False, buttons=[], elem_id="link"
    )
    with gr.Accordion("Stages", open=False, elem_id="stages-panel"):
        made["stages"] = gr.Gallery(
            label="Stages of the edit", columns=3, elem_id="stages", interactive=False
        )
    with gr.Accordion("Report", open=False):
        made["report"] = gr.JSON(label="Report", elem_id="report")
