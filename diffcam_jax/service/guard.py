"""What stands before the page and the service: who may come, how much, and from where.

* With a token, a request knows it (`Authorization: Bearer`, or the cookie that a link sets).
* On a loopback address the Host header names this computer: a page elsewhere whose name is suddenly
  said to lie at 127.0.0.1 (DNS rebinding) is refused.
* What changes something comes from no other site than this one.
* Bodies are counted as they come, whatever their Content-Length says.
"""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import time
from urllib.parse import parse_qs, urlsplit

from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffcam_jax.service.context import Context
from diffcam_jax.service.refusals import Refusal, answer, as_refusal

COOKIE = "diffcam_token"
OPEN = ("/health",)  # what needs no token
_READING = ("GET", "HEAD", "OPTIONS")
_DRAIN = 5.0  # seconds for which a body that was refused is still received
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# The link's own page goes on to the start: only so is the cookie sent by a browser that came from
# another site, and the token does not stay in the address.
_WELCOME = '<!doctype html><title>diffcam</title><meta http-equiv="refresh" content="0;url=/">'


class Guard:
    """ASGI middleware.

    Args:
        app: that is guarded.
        context: of the server.
    """

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in, or answers it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = _Exchange(scope, receive, send, self._context.limits.request_bytes)
        try:
            app = self._refused(scope) or self._app
            await app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return
        except Exception as error:
            refusal = as_refusal(error)
            if refusal.status_code == 500:
                logging.exception("%s %s", scope["method"], scope["path"])
            if not exchange.begun:
                await answer(refusal)(scope, exchange.receive, exchange.send)

    def _refused(self, scope: Scope) -> Response | None:
        """The answer to a request that does not come in; None lets it in."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._context.loopback and not is_this_computer(_name(host)):
            raise Refusal(403, "this server is for this computer only; call it 127.0.0.1")
        if scope["method"] not in _READING and not _is_from_here(headers, host):
            raise Refusal(403, "pages of other sites may not change anything here")
        if not self._context.token or scope["path"] in OPEN:
            return None
        if (welcome := self._welcome(scope)) or self._knows_token(headers):
            return welcome
        raise Refusal(
            401,
            "this server needs its token; open the link that it printed, or send it as "
            "Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )

    def _welcome(self, scope: Scope) -> Response | None:
        """The answer to the link with the token: a cookie."""
        if scope["path"] != "/" or scope["method"] != "GET":
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        if not given or not _equal(given, self._context.token):
            return None
        response = HTMLResponse(_WELCOME)
        response.set_cookie(
            COOKIE,
            _digest(self._context.token),
            path="/",
            httponly=True,
            samesite="strict",
            secure=scope["scheme"] == "https",
        )
        return response

    def _knows_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(given.strip(), self._context.token):
            return True
        found = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return _equal(found, _digest(self._context.token))


class _Exchange:
    """A request and its response: counts the one, and adds headers to the other."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._most = receive, send, most
        self._path, self._bytes = scope["path"], 0
        headers = Headers(scope=scope)
        claimed = headers.get("content-length", "")
        self._more = claimed not in ("", "0") or "transfer-encoding" in headers
        self._too_large = claimed.isdecimal() and int(claimed[:20]) > most
        # Whoever waits for a go-ahead sends nothing before it, and gets the refusal at once.
        self._waits = "expect" in headers
        self.begun = False

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            Refusal: there were too many bytes.
        """
        if self._too_large:
            raise self._refusal()
        message = await self._next()
        if self._bytes > self._most:
            raise self._refusal()
        return message

    async def send(self, message: Message) -> None:
        """Passes a part of the response on."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._path.startswith("/api/"):
                headers.setdefault("Cache-Control", "no-store")
            if self._more and not self._waits:
                await self._drain()
        await self._send(message)

    async def _next(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def _drain(self) -> None:
        """Receives the rest: many clients read no answer before all of their request is gone."""
        until, most = time.monotonic() + _DRAIN, self._bytes + 2 * self._most
        with contextlib.suppress(TimeoutError):
            while self._more and self._bytes < most:
                await asyncio.wait_for(self._next(), max(until - time.monotonic(), 0.0))

    def _refusal(self) -> HTTPException:
        return Refusal(
            413, f"the request is too large; the limit is {self._most / 1e6:g} MB in all"
        )


def is_this_computer(name: str) -> bool:
    """Whether a name or an address is one of this computer's own."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_from_here(headers: Headers, host: str) -> bool:
    """Whether a request comes from this site, or from no page at all."""
    if headers.get("sec-fetch-site") in ("same-origin", "none"):  # no page can write this header
        return True
    origin = headers.get("origin")
    return origin is None or _netloc(origin) == host.lower()


def _netloc(origin: str) -> str:
    """Name and port of an origin; "" where it is none, such as "null"."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _equal(given: str, expected: str) -> bool:
    """Compares in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _digest(token: str) -> str:
    """What the cookie holds: it opens this server, and does not tell the token."""
    return hashlib.sha256(f"diffcam cookie {token}".encode()).hexdigest()
