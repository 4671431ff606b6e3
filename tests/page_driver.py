"""A real server and a real browser, for tests of the page and for its screenshots."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@contextlib.contextmanager
def server(results: Path, *flags: str) -> Iterator[str]:
    """Runs `app.py` and gives its address.

    Args:
        results: folder of its results.
        *flags: further ones.
    """
    command = [sys.executable, "app.py", "--port", "0", "--no-browser", "--results", str(results)]
    log = results.parent / "server.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Whole networks are tuned there: programs have to be quick.
            env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
        )
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), log.read_text()
        yield line.split()[0]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@contextlib.contextmanager
def browser() -> Iterator[object]:
    """Debian's Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which root cannot have
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        try:
            yield found
        finally:
            found.close()


def settled(page, selector: str = "#told", seconds: float = 300) -> str:
    """What the page tells once nothing is under way any more."""
    end, quiet = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        busy = page.locator(f"{selector} progress").count()
        quiet = 0 if busy else quiet + 1
        if quiet == 4:
            return page.inner_text(selector)
        page.wait_for_timeout(250)
    raise AssertionError(f"still busy after {seconds} s: {page.inner_text(selector)}")


def handed(page, box: str, file: Path) -> None:
    """Hands a file to a part of the page that may have been shown only just now.

    On a slow machine such a part can be drawn before it listens, so the file is handed again while
    the part still asks for one, as a person would do.
    """
    from playwright.sync_api import TimeoutError

    for _ in range(12):
        if page.locator(box, has_text="Drop File Here").count():
            with contextlib.suppress(TimeoutError):
                page.set_input_files(f"{box} input[type=file]", file, timeout=5_000)
        with contextlib.suppress(TimeoutError):
            page.locator(box, has_text=file.name).wait_for(timeout=15_000)
            page.wait_for_timeout(500)
            return
    raise AssertionError(f"{file.name} was never taken in by {box}: {page.inner_text(box)}")


def opened(page, photo: Path) -> str:
    """Sends a photograph; what the page tells of it."""
    page.set_input_files("#photo input[type=file]", photo)
    page.locator("#told", has_text="found").wait_for(timeout=120_000)
    page.wait_for_timeout(300)
    return page.inner_text("#told")


def strength(page, name: str) -> object:
    """The number beside an attribute's slider."""
    return page.locator(f"#slider-{name} input[type=number]")


def saved(page, button: str, path: Path) -> Path:
    """Downloads what a button gives."""
    with page.expect_download() as waiting:
        page.click(button)
    waiting.value.save_as(path)
    return path
