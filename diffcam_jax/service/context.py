"""What the page and the HTTP service work with."""

import dataclasses
import functools
from collections.abc import Mapping

from diffcam_jax.directions import Edit
from diffcam_jax.editor.editor import Editor
from diffcam_jax.service.limits import Limits, Rate
from diffcam_jax.service.queue import Queue
from diffcam_jax.service.store import JobStore


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """A server's parts.

    Attributes:
        queue: takes the jobs.
        editor: of the first device; says what can be asked for.
        limits: of requests.
        token: that every request must know; "" lets everyone in.
        loopback: whether only programs of this computer can reach the server.
    """

    queue: Queue
    editor: Editor
    limits: Limits = Limits()
    token: str = ""
    loopback: bool = True

    @property
    def store(self) -> JobStore:
        """Where the jobs are kept."""
        return self.queue.store

    @functools.cached_property
    def directions(self) -> Mapping[str, Edit]:
        """The attributes that can be edited: those that the classifier can locate."""
        known = self.editor.classes
        return {name: found for name, found in self.editor.directions.items() if name in known}

    @functools.cached_property
    def rate(self) -> Rate:
        """How often clients have asked for edits."""
        return Rate(self.limits.per_minute)
