"""Edits photographs and clips in a browser, and for other programs over HTTP.

    python app.py
    python app.py --port 0 --no-browser --results DIR
    DIFFCAM_TOKEN=$(openssl rand -hex 16) python app.py --host 0.0.0.0
Installed, it is the command `diffcam-app`.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from typing import TYPE_CHECKING

from diffcam_jax.command.allocator import keep_freed_memory
from diffcam_jax.errors import UserError, exit_code
from diffcam_jax.programs import app_flags

if TYPE_CHECKING:
    from diffcam_jax.editor.editor import Editor
    from diffcam_jax.service.store import JobStore

_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "swagger_ui_bundle", "gradio")


def command() -> int:
    """The command line of this process; returns its exit code."""
    keep_freed_memory()
    return main()


def main(arguments: list[str] | None = None) -> int:
    """Runs the server until it is interrupted.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code: 0 or 130 once it was interrupted, 2 for bad input.
    """
    return exit_code(lambda: run(app_flags.parse(arguments)))


def run(options: argparse.Namespace) -> int:
    """Serves what the flags ask for; returns the exit code."""
    # ---------------------------------------------------------------- what is asked for; checked
    # before any network is loaded
    app_flags.check(options)
    token = app_flags.token(options)
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(f"{', '.join(missing)} is not installed; run pip install '.[app]'")
    from diffcam_jax.command.compilation import keep_compiled_programs
    from diffcam_jax.command.device import check_device
    from diffcam_jax.service import page, server
    from diffcam_jax.service.context import Context
    from diffcam_jax.service.guard import is_this_computer
    from diffcam_jax.service.limits import Limits
    from diffcam_jax.service.queue import Queue
    from diffcam_jax.service.work import on_devices, worker

    limits = Limits(
        round(options.max_mb * 1e6),
        round(options.max_megapixels * 1e6),
        options.per_minute,
        options.max_clip_frames,
    )
    with contextlib.ExitStack() as stack:
        bound = stack.enter_context(server.bind(options.host, options.port))
        loopback = is_this_computer(bound.getsockname()[0])
        if not token and not loopback:
            raise UserError(
                f"--host {options.host} lets other computers in; add a --token, or set "
                "DIFFCAM_TOKEN"
            )
        store = stack.enter_context(_claim(options))

        # ------------------------------------------------------------ networks, once a device
        check_device()
        keep_compiled_programs()
        editors = on_devices(_editor(options))
        workers = [worker(editor, device, store, limits) for device, editor in editors]

        # ------------------------------------------------------------ serve
        queue = Queue(store, workers, options.waiting)
        context = Context(queue, editors[0][1], limits, token, loopback)
        app = page.mount(server.build(context), context)
        try:
            server.Server(app, lambda: _announce(server.address(bound), token, options)).run(
                [bound]
            )
        finally:
            if not queue.close(1.0):
                # The interpreter cannot end while a step computes; the next server begins that
                # edit anew.
                print("stopped in the middle of an edit", file=sys.stderr)
                os._exit(130)
    return 0


@contextlib.contextmanager
def _claim(options: argparse.Namespace) -> "Iterator[JobStore]":
    """The folder of results, for this process alone; other files in passing lie in it too."""
    from diffcam_jax.files.cache_dir import cache_dir
    from diffcam_jax.files.locks import held
    from diffcam_jax.service.store import JobStore

    root = options.results or cache_dir() / "edits"
    before = tempfile.tempdir
    with contextlib.ExitStack() as stack:
        try:
            store = JobStore(root, options.lifetime * 3600)
            stack.enter_context(held(store.root / ".lock"))
        except BlockingIOError as error:
            raise UserError(
                f"another server is using {root}; end it, or choose another --results"
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot use {root} ({error.strerror}); choose another --results"
            ) from error
        tempfile.tempdir = str(store.temporary)
        stack.callback(setattr, tempfile, "tempdir", before)
        yield store


def _editor(options: argparse.Namespace) -> "Editor":
    from diffcam_jax.command import arguments
    from diffcam_jax.editing import checkpoints
    from diffcam_jax.editor.editor import Editor
    from diffcam_jax.programs import edit_request

    folders = arguments.networks(options)
    directions, domain = arguments.directions(options), arguments.domain(options)[0]
    config = edit_request.variant(checkpoints.resolve(**folders), None, options.domain is not None)
    return Editor.from_checkpoints(config, directions=directions, domain=domain, **folders)


def _announce(address: str, token: str, options: argparse.Namespace) -> None:
    """Says where the server is, and what to do next."""
    link = f"{address}?token={token}" if token else address
    print(f"{link} edits photographs; {address}api/docs is for programs; ctrl-c ends it")
    print("next: open the first in a browser", flush=True)
    seen = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    if seen and not options.no_browser:
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()
