"""How large requests, photographs and clips may be, and how often a client may ask for an edit."""

import collections
import dataclasses
import ipaddress
import threading
import time
from collections.abc import Callable

_CLIENTS = 4096  # that are remembered; the one that was silent for longest is forgotten first


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        request_bytes: largest accepted body of a request.
        pixels: largest accepted width x height of a picture.
        per_minute: how many edits a client may ask for in a minute.
        clip_frames: most frames of a clip.
    """

    request_bytes: int = 50_000_000
    pixels: int = 50_000_000
    per_minute: int = 30
    clip_frames: int = 300


class Rate:
    """A bucket of tokens for each client: full at first, refilled evenly.

    Args:
        per_minute: size of a bucket, and how many tokens it gains in a minute.
        clock: seconds of any origin.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = per_minute, clock
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> float:
        """Takes a token.

        Args:
            client: its address.

        Returns:
            0 if there was one, else the seconds until there is.
        """
        client, now = _household(client), self._clock()
        with self._lock:
            tokens, then = self._buckets.pop(client, (float(self._size), now))
            tokens = min(tokens + (now - then) * self._size / 60, self._size)
            wait = 0.0 if tokens >= 1 else (1 - tokens) * 60 / self._size
            self._buckets[client] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > _CLIENTS:
                self._buckets.popitem(last=False)
        return wait


def _household(client: str) -> str:
    """Addresses of IPv6 by the 64 bits that a provider gives out: the rest is the client's own."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:
        return client
    return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
