"""Workers of a Ray cluster that edit photographs, and the loop that gives them their work.

The work is done at least once: what a worker that died had taken is done again, by it after its
restart or by another. Results do not depend on how often, because their names and contents follow
from the photograph and the settings alone.
"""

import dataclasses
import functools
import json
import os
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffcam_jax.command.side_by_side import side_by_side
from diffcam_jax.errors import UserError
from diffcam_jax.programs import cluster_files, cluster_manifest
from diffcam_jax.programs.cluster_files import Place, Stamp
from diffcam_jax.programs.cluster_manifest import Row
from diffcam_jax.programs.edit_request import Request

# How often a batch is begun again when its worker dies. Then each of its photographs is a batch of
# its own, so that the one that kills workers is found, and no other fails with it.
_RETRIES, _RETRIES_ALONE = 1, 3
_MOST_DEATHS = 20  # photographs in a row: then it is not the photographs
_CORES = 4  # of a worker, by default

Batch = tuple[str, Sequence[tuple[str, Stamp]]]


class Job(NamedTuple):
    """What every worker is told.

    Attributes:
        src: where the photographs are.
        out: where results go.
        request: the edit.
        settings: everything that decides a result, see `cluster_manifest.digest`.
        editor: arguments of `Editor.from_checkpoints` besides the configuration.
        first_frame: see `read_photo`.
        strip: whether metadata is left out.
    """

    src: Place
    out: Place
    request: Request
    settings: dict[str, Any]
    editor: dict[str, Any]
    first_frame: bool
    strip: bool


class Worker:
    """Edits batches of photographs; an actor of Ray."""

    def __init__(self, threads: int) -> None:
        """A worker that edits so many photographs at a time."""
        self._threads, self._editor = threads, None

    def ready(self, job: Job) -> None:
        """Loads the networks, once.

        Raises:
            UserError: the installation of this machine is broken.
        """
        from diffcam_jax.command.compilation import keep_compiled_programs
        from diffcam_jax.command.device import check_device
        from diffcam_jax.editor.editor import Editor

        if self._editor is None:
            check_device()
            keep_compiled_programs(ahead=True)
            self._editor = Editor.from_checkpoints(job.request.config, **job.editor)

    def edit(self, job: Job, part: str, photos: Sequence[tuple[str, Stamp]]) -> list[Row]:
        """Edits photographs and writes results, then the part of the manifest that lists them.

        Args:
            job: the same in every call.
            part: name of the part.
            photos: names and stamps.

        Returns:
            A row for each, without its report.

        Raises:
            UserError: nothing can be written.
        """
        self.ready(job)
        edited = functools.partial(_edited, self._editor, job)
        rows = [row() for _, row in side_by_side(edited, photos, self._threads)]
        cluster_manifest.write(job.out, part, rows)
        return [row._replace(report="") for row in rows]


def _edited(editor: Any, job: Job, item: tuple[str, Stamp]) -> Row:
    """Edits a photograph and writes its result."""
    from diffcam_jax.faces.photo import decode_photo, encode_photo, without_metadata

    (name, stamp), start = item, time.perf_counter()
    settings = cluster_manifest.digest(job.settings, stamp)
    try:
        data = cluster_files.read(job.src, name, stamp.size)
        photo = decode_photo(data, Path(name), first_frame=job.first_frame)
        photo = without_metadata(photo) if job.strip else photo
        found = editor.edit(photo.pixels, job.request.strengths, **job.request.choices)
        data = encode_photo(dataclasses.replace(photo, pixels=found.image))
    except Exception as error:  # one of a million must not stop the others
        reason = str(error) if isinstance(error, UserError) else repr(error)
        return failure(name, settings, reason)
    result = cluster_files.result_of(name)
    cluster_files.put(job.out, result, data)
    seconds = round(time.perf_counter() - start, 3)
    report = json.dumps({**found.report, "settings": job.settings})
    notes = "\n".join(photo.source.notes)
    return Row(name, result, "", notes, settings, report, seconds, time.time_ns())


def failure(photo: str, settings: str, reason: str) -> Row:
    """The row of a photograph that has no result."""
    return Row(photo, "", reason, "", settings, "", 0.0, time.time_ns())


# ---------------------------------------------------------------- the cluster


class Share(NamedTuple):
    """What a worker takes of its machine, and how many there are."""

    workers: int
    cpus: int
    gpus: int


def connect(ray: Any, address: str, jobs: int | None) -> None:
    """Starts Ray on this machine, or connects to a cluster.

    Args:
        ray: the package.
        address: "local", "auto" or ray://HOST:PORT.
        jobs: workers that are asked for, for which a local Ray has room.

    Raises:
        UserError: there is no cluster there that can be used.
    """
    own = {"num_cpus": max(os.cpu_count() or 1, jobs or 1), "include_dashboard": False}
    own = own if address == "local" else {}
    try:
        if address == "auto":
            _check_health()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is told below, or concerns Ray itself
            ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"--ray {address}: no cluster can be reached ({reason}); start one with ray start "
            "--head, or use --ray local"
        ) from error


def _check_health() -> None:
    """Whether this machine's cluster runs: Ray itself waits for one that has ended.

    Raises:
        ConnectionError: it does not.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    if subprocess.run(command, capture_output=True).returncode:
        raise ConnectionError("ray health-check finds none")


def share(nodes: Sequence[dict[str, float]], jobs: int | None) -> Share:
    """How the machines of a cluster are shared out.

    With GPUs, a worker for each. Without, one for every four cores of a machine, or as many as are
    asked for, with equal shares of the cores.

    Args:
        nodes: resources of each machine as Ray names them.
        jobs: how many workers; None for as many as there is room for.
    """
    machines = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    if gpus := sum(gpu for _, gpu in machines):
        least = min(cpu // gpu for cpu, gpu in machines if gpu)
        return Share(jobs or gpus, max(1, min(_CORES, least)), 1)
    machines = [(cpu, 0) for cpu, _ in machines if cpu] or [(1, 0)]
    smallest, total = min(machines)[0], sum(cpu for cpu, _ in machines)
    if jobs is not None:
        return Share(jobs, max(1, min(smallest, total // jobs)), 0)
    cpus = min(_CORES, smallest)
    return Share(sum(cpu // cpus for cpu, _ in machines), cpus, 0)


def edit_all(ray: Any, job: Job, each: Share, batches: Sequence[Batch]) -> Iterator[list[Row]]:
    """Edits all batches on a cluster, in any order.

    A worker has one batch at a time, so that nothing else dies with it.

    Args:
        ray: the package, connected.
        job: what the workers are told.
        each: what a worker takes.
        batches: name of the part and photographs of each.

    Yields:
        The rows of a batch.

    Raises:
        UserError: no worker can start, or nothing can be written.
    """
    told = ray.put(job)
    actor = ray.remote(Worker).options(
        num_cpus=each.cpus, num_gpus=each.gpus, max_restarts=-1, max_task_retries=_RETRIES_ALONE
    )
    idle = [actor.remote(each.cpus) for _ in range(min(each.workers, len(batches)))]
    _wait_for_one(ray, idle, told)
    waiting, running, deaths = deque(batches), {}, 0
    while waiting or running:
        while waiting and idle:
            part, photos = waiting.popleft()
            retries = _RETRIES if len(photos) > 1 else _RETRIES_ALONE
            worker = idle.pop()
            given = worker.edit.options(max_task_retries=retries).remote(told, part, photos)
            running[given] = worker, (part, photos)
        (ended,), _ = ray.wait(list(running))
        worker, (part, photos) = running.pop(ended)
        try:
            rows, deaths = _result(ray, ended), 0
            idle.append(worker)
        except ray.exceptions.RayError as error:
            ray.kill(worker)
            idle.append(actor.remote(each.cpus))
            if len(photos) > 1:
                waiting.extend((f"{part}_{i}", [one]) for i, one in enumerate(photos))
                continue
            deaths += 1
            if deaths == _MOST_DEATHS:
                raise UserError(
                    f"workers died with the last {deaths} photographs; see the logs of Ray, and "
                    "give them more memory"
                ) from error
            rows = [_killer(job, *photos[0])]
            cluster_manifest.write(job.out, part, rows)
        yield rows


def _killer(job: Job, name: str, stamp: Stamp) -> Row:
    reason = f"its worker died {_RETRIES_ALONE + 1} times; see the logs of Ray"
    return failure(name, cluster_manifest.digest(job.settings, stamp), reason)


def _wait_for_one(ray: Any, workers: Sequence[Any], told: Any) -> None:
    """Waits until a worker has its networks; others may start later, when machines are added."""
    asked = [worker.ready.remote(told) for worker in workers]
    (first, *_), _ = ray.wait(asked)
    try:
        _result(ray, first)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"workers cannot start ({reason}); install the same diffcam_jax on every machine of "
            "the cluster"
        ) from error


def _result(ray: Any, ended: Any) -> Any:
    """What a call returned; what it raised is raised, and a `RayError` if its worker died."""
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        raised = isinstance(error.cause, Exception)
        raise (error.cause if raised else RuntimeError(str(error))) from error
