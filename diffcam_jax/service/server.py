"""The application: endpoints, page, guard and workers put together, and served."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

import diffcam_jax
from diffcam_jax.errors import UserError
from diffcam_jax.service import api, documents, refusals
from diffcam_jax.service.context import Context
from diffcam_jax.service.guard import Guard

_ABOUT = """
Edits faces in photographs and clips: one thing changes, every other pixel stays.

Ask for an edit with `POST /api/edits`, look at it with `GET /api/edits/{id}` until it is done, and
fetch `/result`. Whatever goes wrong is answered with a status of 4xx or 5xx and `{"error": "..."}`;
429 and 503 say in Retry-After when to come again.
"""


def build(context: Context) -> FastAPI:
    """The application.

    Args:
        context: its parts. Their workers are ended with it.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(context.queue.close)

    app = FastAPI(
        title="diffcam",
        version=diffcam_jax.__version__,
        description=_ABOUT,
        openapi_url=documents.SCHEMA,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={422: {"model": refusals.Error, "description": "the request is wrong"}},
    )
    app.state.context = context
    app.add_middleware(Guard, context=context)
    refusals.install(app)
    documents.install(app)
    app.include_router(api.router)
    return app


class Server(uvicorn.Server):
    """Serves an application, and tells when it does.

    Args:
        app: see `build`.
        ready: called once connections are accepted.
    """

    def __init__(self, app: FastAPI, ready: Callable[[], None]) -> None:
        # Streams of pages that are open do not keep a server from ending.
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=3,
            )
        )
        self._ready = ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the server; it is already ending where somebody asks again."""
        if not self.should_exit:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept connections."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; who connects waits until the server begins.

    Args:
        host: name or address of this computer.
        port: 0 takes any that is free.

    Raises:
        UserError: there is no such address here, or its port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError(f"--host {host} is no address of this computer ({error})") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)  # only then is the port this server's alone
    except OSError as error:
        bound.close()
        raise UserError(
            f"cannot use port {port} of {host} ({error.strerror}); choose another --port, 0 takes "
            "any that is free"
        ) from error
    return bound


def address(bound: socket.socket) -> str:
    """Where people reach a socket, as http://HOST:PORT/."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # any address of this computer
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
