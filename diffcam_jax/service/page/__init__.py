"""The web page, on Gradio: a photograph in, sliders, the result beside the original.

layout      components and what happens when one of them is used
session     what one visitor has open, with undo and redo
photograph  opening a photograph: faces, boxes, the painted mask
edits       an edit as a job of the service, followed until it has ended
batch       many photographs
clip        one clip
archive     zip files of photographs, in and out
links       settings in the page's address
status      what is told while an edit runs
"""

import os
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def mount(app: Any, context: Any) -> Any:
    """Puts the page at the root of a service.

    Args:
        app: the FastAPI application of the service, whose own paths come first.
        context: of the service: queue, directions and limits.

    Returns:
        The application.
    """
    folder = context.store.temporary / "page"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from diffcam_jax.service.page import batch, clip, events, layout

    domain = context.editor.domain
    lifetime = max(int(context.store.lifetime), 60)
    with gr.Blocks(title="diffcam_jax", delete_cache=(min(lifetime, 600), lifetime)) as blocks:
        gr.Markdown("# Change one thing in a photograph, and nothing else")
        with gr.Tab("One photograph"):
            controls = layout.one_photograph(context.directions, domain)
        with gr.Tab("Many photographs"):
            many = batch.many_photographs(domain)
        with gr.Tab("Clip"):
            moving = clip.one_clip(context.limits.clip_frames, domain)
        page = events.wire(controls, context, folder)
        batch.wire(many, controls.form, page)
        clip.wire(moving, controls.form, page)
        blocks.load(page.arrive, None, controls.form, api_visibility="private")
    fonts = ["ui-sans-serif", "system-ui", "sans-serif"]
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        max_file_size=context.limits.request_bytes,
        ssr_mode=False,
        footer_links=[],
        enable_monitoring=False,
        theme=gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"]),
        css_paths=_HERE / "page.css",
        js=(_HERE / "page.js").read_text(),
    )
