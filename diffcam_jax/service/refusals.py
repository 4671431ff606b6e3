"""How the service says no: a status, and one line that people can read."""

import math
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from diffcam_jax.errors import UserError
from diffcam_jax.service.queue import NO_ROOM, Full

_LONGEST = 400  # characters of a line
# What the framework only calls by the status's name.
_PLAIN = {
    404: "there is nothing at this address; /api/docs lists what there is",
    405: "this address does not take this method; the header Allow names those that it takes",
}


class Error(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="One line: what is wrong, and what to do.")


class Refusal(HTTPException):
    """Ends a request with a status and a line."""

    def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, line, headers)


_FAULT = Refusal(500, "the server failed; its log says why")


def come_again(status: int, line: str, seconds: float) -> Refusal:
    """A refusal that holds for some seconds only."""
    wait = max(math.ceil(seconds), 1)
    return Refusal(status, f"{line}; try again in {wait} s", {"Retry-After": str(wait)})


def answer(refusal: HTTPException) -> JSONResponse:
    """The response to a request that is refused."""
    plain = "".join(c if c.isprintable() else " " for c in str(refusal.detail))
    line = " ".join(plain.split())[:_LONGEST]
    return JSONResponse({"error": line}, refusal.status_code, refusal.headers)


def as_refusal(error: Exception) -> HTTPException:
    """What to answer to an exception."""
    if isinstance(error, HTTPException):
        line = _PLAIN.get(error.status_code)
        is_own = isinstance(error, Refusal) or line is None
        return error if is_own else Refusal(error.status_code, line, error.headers)
    if isinstance(error, UserError):
        return Refusal(422, str(error))
    if isinstance(error, Full):
        return come_again(503, "as many edits wait as may", error.seconds)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return Refusal(422, f"{place}: {first['msg']}")
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return Refusal(507, "the disk of the server is full; try again later")
    return _FAULT


def install(app: FastAPI) -> None:
    """Lets an application answer to exceptions so; what is a fault of its own passes on."""

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        refusal = as_refusal(error)
        if refusal is _FAULT:
            raise error
        return answer(refusal)

    for kind in (HTTPException, UserError, Full, RequestValidationError, OSError):
        app.add_exception_handler(kind, refuse)
