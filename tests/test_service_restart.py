"""The server as a process: killed in the middle of an edit and begun again; and what it refuses."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from diffcam_jax.files.locks import held
from diffcam_jax.programs import app, app_flags
from tests import small_editor
from tests.service_world import SMILE, ended, form, refused, until

ROOT = Path(__file__).parent.parent


class Process:
    """A server of its own, at a free port.

    Attributes:
        client: calls it.
    """

    def __init__(self, home: Path, flags: list[str]) -> None:
        command = [sys.executable, str(ROOT / "app.py"), "--port", "0", "--no-browser", *flags]
        environment = os.environ | {
            "DIFFCAM_HOME": str(home),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        until(lambda: len(self.said) > 1 or self._process.poll() is not None, 120)
        address = re.search(r"http://[\d.]+:\d+/", "\n".join(self.said))
        assert address, self.said
        self.client = httpx.Client(base_url=address[0], timeout=60, trust_env=False)

    def _read(self) -> None:
        for line in self._process.stdout:
            self.said.append(line.decode().strip())

    def interrupt(self) -> None:
        """Somebody who has no patience presses ctrl-c twice."""
        self._process.send_signal(signal.SIGINT)

    def end(self, number: int) -> int:
        """Sends a signal; returns the exit code."""
        self.client.close()
        self._process.send_signal(number)
        code = self._process.wait(60)
        self._reader.join()
        self._process.stdout.close()
        return code


@pytest.fixture
def start(tmp_path):
    """Starts servers on one folder of results, and ends those that are left."""
    flags = [*small_editor.flags(tmp_path), "--results", str(tmp_path / "edits")]
    running = []

    def start() -> Process:
        running.append(Process(tmp_path, flags))
        return running[-1]

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.end(signal.SIGKILL)


def test_a_server_that_is_killed_loses_no_edit(start, tmp_path):
    first = start()
    call, edits = first.client, tmp_path / "edits"
    finished = call.post("/api/edits", **form()).json()["id"]
    kept = call.get(ended(call, finished)["links"]["result"]).content
    # Another method is compiled anew, which leaves time.
    others = [
        call.post("/api/edits", **form(SMILE | {"method": "grad_cam"})).json()["id"]
        for _ in range(3)
    ]
    until(lambda: call.get(f"/api/edits/{others[0]}").json()["state"] == "running")
    # An upload that is under way, and a file in passing.
    address = call.base_url.host, call.base_url.port
    with contextlib.closing(socket.create_connection(address)) as upload:
        upload.sendall(
            b"POST /api/edits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            b'Content-Disposition: form-data; name="photo"; filename="a"\r\n\r\n' + bytes(5000)
        )
        until(lambda: len([path for path in edits.iterdir() if len(path.name) == 32]) == 5)
        (edits / ".temporary" / "left").write_bytes(bytes(100))
        assert call.get(f"/api/edits/{others[0]}").json()["state"] == "running"
        assert first.end(signal.SIGKILL) == -signal.SIGKILL

    second = start()
    call = second.client
    assert {path.name for path in edits.iterdir()} == {".lock", ".temporary", finished, *others}
    assert not (edits / ".temporary" / "left").exists()
    assert call.get(f"/api/edits/{finished}/result").content == kept
    assert [ended(call, id)["state"] for id in others] == ["done"] * 3
    begun = [call.get(f"/api/edits/{id}/report").json()["method"] for id in others]
    assert begun == ["grad_cam"] * 3

    # The page leaves the service's addresses alone.
    refused(call.get("/api/nothing"), 404)
    assert refused(call.put("/api/edits"), 405).headers["allow"] == "POST"
    assert call.get("/").headers["content-type"].startswith("text/html")

    # A page that is open, and an edit that is running, do not keep it from ending.
    call.post("/api/edits", **form(SMILE | {"method": "cam"}))
    with contextlib.closing(socket.create_connection((call.base_url.host, call.base_url.port))):
        second.interrupt()
        code = second.end(signal.SIGINT)
    assert not any("Traceback" in line for line in second.said), second.said
    # 0 where the edit came to its next step in time.
    assert (code, second.said[-1].startswith("stopped")) in ((0, False), (130, True))


# ---------------------------------------------------------------- what it refuses


def fails(capsys, arguments: list[str], *words: str) -> None:
    assert app.main(["--no-browser", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
    for word in words:
        assert word in said.err


def test_a_folder_is_used_by_one_server_at_a_time(tmp_path, capsys):
    with held(tmp_path / ".lock"):
        results = ["--port", "0", "--results", str(tmp_path)]
        fails(capsys, results, "another server is using", "--results")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    fails(capsys, ["--port", "0", "--results", str(tmp_path / "file" / "x")], "cannot use")


def test_a_port_that_is_in_use_is_refused(capsys):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        fails(capsys, ["--port", str(other.getsockname()[1])], "cannot use port", "--port")


def test_other_computers_need_a_token(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DIFFCAM_TOKEN", raising=False)
    fails(capsys, ["--host", "0.0.0.0", "--port", "0"], "--token")
    fails(capsys, ["--host", "0.0.0.0", "--token", "short"], "8 or more letters and digits")
    monkeypatch.setenv("DIFFCAM_TOKEN", "with space 123")
    fails(capsys, ["--port", "0"], "letters and digits")
    monkeypatch.setenv("DIFFCAM_TOKEN", "correcthorse")
    assert app_flags.token(app_flags.parse([])) == "correcthorse"
    assert app_flags.token(app_flags.parse(["--token", "batterystaple"])) == "batterystaple"


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "70000"],
        ["--waiting", "0"],
        ["--lifetime", "0"],
        ["--lifetime", "nan"],
        ["--max-mb", "-1"],
        ["--max-megapixels", "500"],
        ["--per-minute", "0"],
        ["--host", "no.such.host.invalid"],
        ["--port", "0", "--generator", "/nowhere"],
    ],
)
def test_flags_without_a_meaning_are_refused(flags, tmp_path, capsys):
    fails(capsys, [*flags, "--results", str(tmp_path / "edits")], flags[-1])


def test_what_is_not_installed_is_named(capsys, monkeypatch):
    monkeypatch.setattr(app, "_PACKAGES", ("json", "no_such_package"))
    fails(capsys, [], "no_such_package is not installed", "pip install '.[app]'")


def test_help_needs_no_arrays():
    code = "import sys, diffcam_jax.programs.app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    heavy = {"numpy", "jax", "PIL", "filelock", "fastapi", "uvicorn", "gradio"}
    assert not heavy & set(done.stdout.split())
