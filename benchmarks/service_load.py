"""A load test of the server on this computer: many clients at once, each with an edit of its own.

    python -m benchmarks.service_load [--clients 100] [--edits 2] [-- FLAGS of app.py]

Every client sends a photograph, comes again when it is told to, looks until its edit has ended, and
fetches the result. By default the networks are small and random, so that the server and not the
edit is measured; what stands behind -- goes to app.py, networks of your own for instance, and
--photo names a photograph that they can edit. Prints how many edits were lost, what every request
took, and the largest memory of the server.
"""

import argparse
import collections
import io
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests
from PIL import Image

from tests import small_editor

ROOT = Path(__file__).parent.parent


class Client(threading.Thread):
    """A client and what became of its edits."""

    def __init__(self, server: str, photo: bytes, settings: dict, edits: int) -> None:
        super().__init__()
        self.took = collections.defaultdict(list)
        self.told, self.lost = collections.Counter(), []
        self._server, self._edits = server, edits
        self._form = {"files": {"photo": photo}, "data": {"settings": json.dumps(settings)}}
        self._session = requests.Session()

    def run(self) -> None:
        for _ in range(self._edits):
            begun = time.perf_counter()
            try:
                self._edit()
                self.took["edit"].append(time.perf_counter() - begun)
            except (requests.RequestException, ValueError, KeyError, RuntimeError) as error:
                self.lost.append(f"{type(error).__name__}: {error}"[:200])

    def _call(self, kind: str, method: str, path: str, **given) -> requests.Response:
        begun = time.perf_counter()
        answer = self._session.request(method, self._server + path, timeout=120, **given)
        self.took[kind].append(time.perf_counter() - begun)
        self.told[answer.status_code] += 1
        return answer

    def _edit(self) -> None:
        while (asked := self._call("ask", "POST", "api/edits", **self._form)).status_code != 202:
            if asked.status_code not in (429, 503):
                raise RuntimeError(asked.text)
            time.sleep(int(asked.headers["Retry-After"]))
        path = asked.headers["Location"][1:]
        while (seen := self._call("look", "GET", path).json())["state"] != "done":
            if seen["state"] == "failed":
                raise RuntimeError(seen["error"])
            time.sleep(min(max(seen["seconds_left"] or 0, 0.2), 2))
        content = self._call("fetch", "GET", f"{path}/result").content
        with Image.open(io.BytesIO(content)) as image:
            image.load()


def start(flags: list[str], folder: Path) -> tuple[subprocess.Popen, str]:
    """A server, and its address."""
    command = [sys.executable, str(ROOT / "app.py"), "--port", "0", "--no-browser"]
    command += ["--results", str(folder / "edits"), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    address = re.search(r"http://\S+?:\d+/", process.stdout.readline())
    if address is None:
        raise SystemExit(process.wait())
    return process, address[0]


def peak(process: subprocess.Popen) -> float:
    """Largest resident memory of a process so far, in GiB; of Linux only."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20


def report(clients: list[Client], seconds: float, asked: int) -> None:
    """Prints what was measured."""
    took, told = collections.defaultdict(list), collections.Counter()
    for client in clients:
        told += client.told
        for kind, values in client.took.items():
            took[kind] += values
    lost = [line for client in clients for line in client.lost]
    requested = sum(told.values())
    print(f"{asked} edits in {seconds:.1f} s, {asked / seconds:.1f} a second; lost: {len(lost)}")
    print(f"{requested} requests, {requested / seconds:.0f} a second; statuses {dict(told)}")
    print("| seconds | number | median | 95 % | 99 % | largest |\n|---|---|---|---|---|---|")
    for kind, values in took.items():
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        shown = " | ".join(f"{x:.3f}" for x in (cuts[49], cuts[94], cuts[98], max(values)))
        print(f"| {kind} | {len(values)} | {shown} |")
    for line in lost[:5]:
        print(line)


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--edits", type=int, default=2, help="of each client")
    parser.add_argument("--photo", type=Path, help="instead of an aligned picture of noise")
    parser.add_argument("rest", nargs="*", metavar="-- FLAGS", help="for app.py")
    options = parser.parse_args()
    settings = {"attributes": {"smiling": 1}, "aligned": options.photo is None}
    with tempfile.TemporaryDirectory() as name:
        folder, held = Path(name), io.BytesIO()
        side = small_editor.SIDE
        Image.fromarray(small_editor.photograph(size=(side, side))).save(held, "PNG")
        photo = options.photo.read_bytes() if options.photo else held.getvalue()
        flags = options.rest or small_editor.flags(folder)
        process, address = start(["--per-minute", "100000", *flags], folder)
        try:
            first = Client(address, photo, settings, 1)  # compiles
            first.run()
            clients = [
                Client(address, photo, settings, options.edits) for _ in range(options.clients)
            ]
            begun = time.perf_counter()
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            seconds = time.perf_counter() - begun
            report(clients, seconds, options.clients * options.edits)
            print(f"largest memory of the server: {peak(process):.2f} GiB")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    sys.exit(any(client.lost for client in [first, *clients]))


if __name__ == "__main__":
    main()
