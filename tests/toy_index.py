"""A package index on this machine that offers one wheel of toy parts, and can misbehave."""

import hashlib
import http.server
import io
import json
import re
import threading
import zipfile

import numpy as np

from diffcam_jax.pretrained import parts as zoo

WHEEL = "toy_parts-1.0-py3-none-any.whl"
NUMBERS = np.arange(4, dtype="<f4")
CONTENT = np.random.default_rng(0).bytes(300_000)


def wheel_bytes() -> bytes:
    members = {
        "toy/__init__.py": "raise SystemExit('package code was run')",
        "toy/raw.bin": CONTENT,
        "toy/numbers.bin": NUMBERS.tobytes(),
        "toy/a.txt": "a",
        "toy/b.txt": "b",
        "../../outside.txt": "must not be unpacked",
        "toy_parts-1.0.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: toy-parts\nVersion: 1.0\n"
        ),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(
                zipfile.ZipInfo(name), content
            )  # with a fixed date, so that every process makes the same
    return file.getvalue()


def numbers_tree(files):
    return {"layer": {"bias": np.frombuffer(files["numbers.bin"], "<f4")}}


def parts(wheel: bytes) -> dict[str, zoo.Part]:
    archive = zoo.Archive("Toy.Parts", "1.0", WHEEL, hashlib.sha256(wheel).hexdigest(), len(wheel))
    about = {
        "description": "a toy",
        "licence": "none needed",
        "origin": "this test",
        "archive": archive,
    }
    table = (
        zoo.Part("raw", "raw.bin", members=("toy/raw.bin",), **about),
        zoo.Part(
            "tree",
            "t.safetensors",
            members=("toy/numbers.bin",),
            convert=numbers_tree,
            kwargs={"n": 4},
            **about,
        ),
        zoo.Part("folder", "folder", members=("toy/a.txt", "toy/b.txt"), **about),
    )
    return {part.name: part for part in table}


class Index(http.server.ThreadingHTTPServer):
    """A package index that offers one file, and can misbehave."""

    def __init__(self, content: bytes, style: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.style, self.cut, self.requests = content, style, 0, []
        self.url = f"http://127.0.0.1:{self.server_port}/simple/"
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    @property
    def downloads(self) -> int:
        return sum(request.endswith(".whl") for request in self.requests)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/simple/toy-parts/":
            file = {"filename": WHEEL, "url": f"../../files/{WHEEL}", "hashes": {}}
            bodies = {
                "json": (
                    "application/vnd.pypi.simple.v1+json",
                    json.dumps({"files": [file]}).encode(),
                ),
                "html": (
                    "text/html",
                    f'<a href="/files/{WHEEL}#sha256=0">x</a><a href="other.whl">y</a>'.encode(),
                ),
                "broken": ("application/vnd.pypi.simple.v1+json", b'{"files": 3}'),
            }
            self.answer(200, *bodies[self.server.style])
        elif self.path == f"/files/{WHEEL}":
            start = int(re.fullmatch(r"bytes=(\d+)-|", self.headers.get("Range", "")).group(1) or 0)
            self.answer(
                206 if start else 200, "application/octet-stream", self.server.content[start:]
            )
        else:
            self.answer(404, "text/plain", b"")

    def answer(self, status: int, kind: str, body: bytes):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "application/octet-stream" and self.server.cut:
            self.server.cut -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *_):
        pass
