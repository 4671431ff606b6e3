"""Servers for tests: the real application behind a real socket, with a small real editor."""

import contextlib
import functools
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import jax
import numpy as np
from PIL import Image

from diffcam_jax.editor.editor import Editor
from diffcam_jax.service import server
from diffcam_jax.service.context import Context
from diffcam_jax.service.limits import Limits
from diffcam_jax.service.queue import Queue, Work
from diffcam_jax.service.store import JobStore
from diffcam_jax.service.work import worker
from tests import small_editor

SMILE = {"attributes": {"smiling": 1}, "aligned": True}


@functools.cache
def editor() -> Editor:
    return small_editor.editor()


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


@functools.cache
def photo() -> bytes:
    """A file that the small editor can edit as it is."""
    side = small_editor.SIDE
    return encoded(small_editor.photograph(size=(side, side)))


def context(
    root: Path,
    work: Sequence[Work] | None = None,
    waiting: int = 20,
    lifetime: float = 3600.0,
    limits: Limits = Limits(per_minute=10_000),
    **choices,
) -> Context:
    """The parts of a server.

    Args:
        root: of its results.
        work: what its workers do, by default one edits.
        waiting: how many jobs may wait.
        lifetime: of a job, in seconds.
        limits: of requests.
        **choices: token, loopback.
    """
    store = JobStore(root, lifetime)
    workers = [worker(editor(), jax.devices()[0], store, limits)] if work is None else work
    return Context(Queue(store, workers, waiting), editor(), limits, **choices)


@contextlib.contextmanager
def serve(parts: Context) -> Iterator[httpx.Client]:
    """Serves on a free port of this computer; gives a client that calls it."""
    ready = threading.Event()
    bound = server.bind("127.0.0.1", 0)
    running = server.Server(server.build(parts), ready.set)
    thread = threading.Thread(target=running.run, args=([bound],))
    thread.start()
    try:
        assert ready.wait(30)
        with httpx.Client(base_url=server.address(bound), timeout=60, trust_env=False) as client:
            yield client
    finally:
        running.should_exit = True
        thread.join(30)
        bound.close()
    assert not thread.is_alive()


def form(settings=SMILE, content: bytes | None = None, name: str = "me.png", **others: bytes):
    """What `httpx.post` takes to ask for an edit."""
    text = settings if isinstance(settings, str) else json.dumps(settings)
    files = {"photo": (name, photo() if content is None else content)}
    files |= {part: (f"{part}.png", data) for part, data in others.items()}
    return {"files": files, "data": {"settings": text}}


def ended(client: httpx.Client, id: str, seconds: float = 120) -> dict:
    """Waits until an edit has ended; its description."""

    def state() -> dict | None:
        seen = client.get(f"/api/edits/{id}").json()
        return seen if seen["state"] in ("done", "failed") else None

    return until(state, seconds)


def until(found: Callable, seconds: float = 30):
    """Waits for a value that is not false."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def refused(response: httpx.Response, status: int, *words: str) -> httpx.Response:
    """Checks that a response is a refusal as all of them are."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    line = response.json()["error"]
    assert line and line.isprintable() and len(line) <= 400
    for word in words:
        assert word in line
    return response
