"""A form that is received: its files are written into the job's folder as they come."""

import asyncio
from typing import BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from diffcam_jax.service.intake import Intake
from diffcam_jax.service.refusals import Refusal
from diffcam_jax.service.store import PARTS

_SLOWEST = 300.0  # seconds for all of a form
_FIELD = 100_000  # bytes of a field that is no file


class Form:
    """A form in parts.

    Args:
        boundary: between the parts.
        intake: says where files are written.

    Attributes:
        names: of the files that were sent, as their sender has them.
        settings: what was sent as such.
        complete: whether the end was received.
    """

    def __init__(self, boundary: bytes, intake: Intake) -> None:
        self.names: dict[str, str] = {}
        self.settings, self.complete = bytearray(), False
        self._intake = intake
        self._file: BinaryIO | None = None
        self._part, self._seen = "", set()
        self._field, self._value, self._disposition = bytearray(), bytearray(), b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": self._write,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Refusal: the form is damaged, or has a part that is unknown, too large or sent twice.
            OSError: there is no room on the disk.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Refusal(400, f"the form is damaged ({error}); send it again") from error

    def close(self) -> None:
        """Closes the file that is being written, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._disposition = b""

    def _end_header(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        if self._part not in (*PARTS, "settings"):
            raise Refusal(
                400, f"the form has a part {self._part[:40]!r}; send photo, mask, edited, settings"
            )
        if self._part in self._seen:
            raise Refusal(400, f"the form has two parts {self._part}; send one")
        self._seen.add(self._part)
        if self._part in PARTS:
            self.names[self._part] = options.get(b"filename", b"").decode("utf-8", "replace")
            self._file = self._intake.path(self._part).open("xb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._part == "settings":
            self.settings += data[start:end]
            if len(self.settings) > _FIELD:
                raise Refusal(413, f"the settings are too large; the limit is {_FIELD:,} bytes")

    def _end_part(self) -> None:
        # A page sends a file that was not chosen as an empty one without a name.
        unchosen = self._file is not None and not self.names[self._part] and not self._file.tell()
        self.close()
        if unchosen:
            self._intake.path(self._part).unlink()

    def _end(self) -> None:
        self.complete = True


async def receive(request: Request, form: Form) -> None:
    """Receives all of a form; the disk is written to by other threads.

    Raises:
        Refusal: see `Form.feed`; or the form is cut off, or takes too long.
        OSError: there is no room on the disk.
    """
    try:
        async with asyncio.timeout(_SLOWEST):
            async for chunk in request.stream():
                if chunk:
                    await run_in_threadpool(form.feed, chunk)
    except TimeoutError as error:
        raise Refusal(408, f"the form took longer than {_SLOWEST:g} s; send less") from error
    if not form.complete:
        raise Refusal(400, "the form is cut off; send all of it")


def boundary(request: Request) -> bytes:
    """What lies between the parts of a request's form.

    Raises:
        Refusal: the request has no form.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    found = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(found) <= 70:
        raise Refusal(415, "send a form: curl -F photo=@me.jpg -F settings=...")
    return found
