"""The endpoints of the HTTP service."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from diffcam_jax.service import multipart, views
from diffcam_jax.service.context import Context
from diffcam_jax.service.intake import Intake
from diffcam_jax.service.refusals import Error, Refusal, come_again
from diffcam_jax.service.settings import decode
from diffcam_jax.service.store import SHEET, Job

router = APIRouter(tags=["edits"])

_WHY = {
    400: "the form is damaged",
    401: "the server has a token, and the request does not know it",
    403: "the request comes from a page of another site",
    404: "there is no such edit, or no longer",
    408: "the form takes too long",
    409: "the edit has not ended well, or not yet",
    413: "the form is too large",
    415: "the request has no form",
    422: "a setting is wrong, or a file is nothing that can be edited",
    429: "this client asks for edits too often; see Retry-After",
    503: "as many edits wait as may; see Retry-After",
    507: "the disk of the server is full",
}
_KINDS = {
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".json": "application/json",
}
_RESULTS = [kind for suffix, kind in _KINDS.items() if suffix != ".json"]
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_FORM = {
    "type": "object",
    "required": ["photo", "settings"],
    "properties": {
        "photo": {
            "type": "string",
            "format": "binary",
            "description": "The photograph: AVIF, BMP, GIF, JPEG, PNG, TIFF or WEBP. Or a clip: a "
            "video, or an animated GIF, PNG or WEBP; then only attributes, face, method, tune, "
            "raw_strength and aligned have a meaning.",
        },
        "mask": {
            "type": "string",
            "format": "binary",
            "description": "A grey picture of the photograph's size: where the edit may act.",
        },
        "edited": {
            "type": "string",
            "format": "binary",
            "description": "The photograph as another program has edited it. Then only what this "
            "edit changed is taken over, in the places of the attributes, if any are given.",
        },
        "settings": {
            "type": "string",
            "description": 'JSON object: attributes {name: strength}, face ("largest", "all" or a '
            "number from 1), method, mask_mode, tune (0 to 100 steps), raw_strength, aligned, "
            "stages, strip, first_frame. Only attributes is required.",
            "example": '{"attributes": {"smiling": 1}}',
        },
    },
}


def why(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an endpoint, for its description."""
    return {code: {"model": Error, "description": _WHY[code]} for code in (*statuses, 401, 403)}


def files(text: str, *kinds: str) -> dict[int | str, dict[str, Any]]:
    """The file that an endpoint gives, for its description."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {200: {"content": content, "description": text}}


def known(request: Request) -> Context:
    """The parts of the server."""
    return request.app.state.context


def found(
    context: Annotated[Context, Depends(known)],
    id: Annotated[str, InPath(description="Of the edit, as it was given when it was asked for.")],
) -> Job:
    """The job that a path names.

    Raises:
        Refusal: there is none.
    """
    job = context.queue.find(id)
    if job is None:
        raise Refusal(404, "there is no such edit; it may have reached its lifetime")
    return job


def done(job: Annotated[Job, Depends(found)]) -> Job:
    """The job that a path names, once it has ended well.

    Raises:
        Refusal: there is none, or it has not.
    """
    if job.state == "failed":
        raise Refusal(409, f"this edit has failed: {job.error}")
    if job.state != "done":
        raise Refusal(409, "this edit is not done yet; ask again later")
    return job


Known = Annotated[Context, Depends(known)]
Found, Done = Annotated[Job, Depends(found)], Annotated[Job, Depends(done)]


@router.post(
    "/api/edits",
    status_code=202,
    summary="Ask for an edit",
    responses=why(400, 408, 413, 415, 422, 429, 503, 507),
    openapi_extra={
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
    },
)
async def create(request: Request, response: Response, context: Known) -> views.Edit:
    """Takes a photograph or a clip, and what to change in it. The answer says where the edit is."""
    # Everything that can be refused without the photograph comes before it.
    boundary = multipart.boundary(request)
    client = request.client.host if request.client else ""
    if wait := context.rate.take(client):
        raise come_again(429, "too many edits were asked for from this address", wait)
    with Intake(context) as intake:
        form = multipart.Form(boundary, intake)
        try:
            await multipart.receive(request, form)
        finally:
            form.close()
        job = await run_in_threadpool(_finish, intake, form)
    response.headers["Location"] = views.place(job)
    return views.edit(context, job)


def _finish(intake: Intake, form: multipart.Form) -> Job:
    settings = decode(form.settings.decode("utf-8", "replace")) if form.settings else {}
    return intake.finish(form.names.get("photo", ""), settings)


@router.get("/api/edits/{id}", summary="How far an edit is", responses=why(404))
def look(job: Found, context: Known) -> views.Edit:
    """Says whether the edit waits, runs, is done or has failed, and where its parts are."""
    return views.edit(context, job)


@router.delete(
    "/api/edits/{id}", status_code=204, summary="Cancel or remove an edit", responses=why(404)
)
def remove(job: Found, context: Known) -> None:
    """Ends the edit if it has not ended, and removes all of its files."""
    context.queue.cancel(job.id)


@router.get(
    "/api/edits/{id}/result",
    summary="The edited photograph or clip",
    response_class=FileResponse,
    responses=files("Of its own size and depth.", *_RESULTS) | why(404, 409),
)
def result(job: Done, context: Known) -> FileResponse:
    """The whole photograph after the edit; 16 bits, transparency and colour profile are kept.

    Of a clip the edited clip with its sound: a video as MP4, or as Matroska where MP4 cannot hold
    the sound; an animation as GIF or WEBP.
    """
    found = context.store.edited(job)
    suffix = found.suffix if found else ""
    return _file(found, f"{PurePosixPath(job.name).stem}_edited{suffix}")


@router.get(
    "/api/edits/{id}/report",
    summary="The report",
    response_class=FileResponse,
    responses=files("See the documentation of edits.", "application/json") | why(404, 409),
)
def report(job: Done, context: Known) -> FileResponse:
    """What was asked for, what was reached, how long it took, and which networks did it."""
    return _file(context.store.result(job, "report.json"), "report.json")


@router.get(
    "/api/edits/{id}/before",
    summary="The photograph before the edit",
    response_class=FileResponse,
    responses=files("The photograph, upright and with 8 bits.", "image/png") | why(404, 409),
)
def before(job: Done, context: Known) -> FileResponse:
    """The photograph as a browser can show it beside the result."""
    return _file(context.store.result(job, "before.png"), "before.png")


@router.get(
    "/api/edits/{id}/sheet",
    summary="Frames of a clip",
    response_class=FileResponse,
    responses=files("The picture.", "image/png") | why(404, 409),
)
def sheet(job: Done, context: Known) -> FileResponse:
    """A few frames of a clip, and below them what became of them."""
    return _file(context.store.result(job, SHEET), "sheet.png")


@router.get(
    "/api/edits/{id}/stages/{name}",
    summary="A stage of the edit",
    response_class=FileResponse,
    responses=files("The picture.", "image/png") | why(404, 409),
)
def stage(
    job: Done,
    context: Known,
    name: Annotated[str, InPath(description="Of the links of the edit.", examples=["mask"])],
) -> FileResponse:
    """A picture of what happened on the way: the crop, the inversion, the mask and others."""
    found = context.store.result(job, name) if name in context.store.stages(job) else None
    return _file(found, f"{name}.png")


@router.get("/api/attributes", summary="What can be changed", responses=why())
def attributes(context: Known) -> list[views.Attribute]:
    """The attributes, with the strengths between which pictures stay clean."""
    return views.attributes(context)


@router.get("/health", summary="How the server is")
def health(context: Known) -> views.Health:
    """Answers once edits can be asked for; needs no token."""
    return views.health(context)


@router.api_route("/health", methods=_METHODS, include_in_schema=False)
@router.api_route("/api/{rest:path}", methods=_METHODS, include_in_schema=False)
def elsewhere(request: Request) -> None:
    """Answers for the page, which would take all other addresses."""
    matches = [(route, route.matches(request.scope)[0]) for route in router.routes]
    methods = {m for route, match in matches if match is Match.PARTIAL for m in route.methods}
    if methods:
        raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
    raise HTTPException(404)


def _file(path: Path | None, name: str) -> FileResponse:
    if path is None:
        raise Refusal(404, "this edit has no such part")
    kind = _KINDS[path.suffix]
    return FileResponse(path, media_type=kind, filename=name, content_disposition_type="inline")
