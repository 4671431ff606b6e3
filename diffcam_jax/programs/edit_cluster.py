"""`edit.py --ray`: any number of photographs, edited by the workers of a Ray cluster.

    python edit.py --ray auto --src s3://bucket/photographs --out s3://bucket/edited \
        --attribute smiling=1

Results appear as PNG under the photographs' names, and their reports in `manifest.parquet`, see
`cluster_manifest`. A run that was killed is run again, and does what is not done.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diffcam_jax.command import arguments
from diffcam_jax.directions import Edit
from diffcam_jax.errors import UserError
from diffcam_jax.programs import (
    cluster_files,
    cluster_manifest,
    cluster_workers,
    edit_request,
    edit_results,
)
from diffcam_jax.programs.cluster_files import Stamp
from diffcam_jax.programs.cluster_workers import Batch, Job

_BATCH = 16  # photographs that are done again at most when a worker dies
_SHOWN = 20  # failures; all of them are in the manifest


def run(options: argparse.Namespace, directions: Mapping[str, Edit]) -> int:
    """Edits what the flags ask for on a cluster.

    Args:
        options: see `edit_flags.parse`.
        directions: by name.

    Returns:
        The exit code: 1 when a photograph failed.

    Raises:
        UserError: the flags do not fit together, or the cluster, the source or the output cannot
            be used.
    """
    _check(options)
    ray = _package()
    strengths = edit_request.parse_strengths(options.attribute, directions)
    request = edit_request.read(options, strengths, single=False)
    src = cluster_files.open_place("--src", options.src)
    out = cluster_files.open_place("--out", str(options.out))
    if cluster_files.overlap(src, out):
        raise UserError(f"--src {src.uri}, --out {out.uri}: one lies in the other; choose another")
    photos = cluster_files.photographs(src)

    settings = edit_results.settings_of(options, request, directions, Path(src.uri))
    settings["photo"] = src.uri
    held = cluster_manifest.check(out, src)
    done = {} if options.force else cluster_manifest.done(out, held)
    todo = [
        (name, stamp)
        for name, stamp in photos.items()
        if done.get(name) != cluster_manifest.digest(settings, stamp)
    ]
    failed: dict[str, str] = {}
    if todo:
        job = Job(
            src,
            out,
            request,
            settings,
            {
                "directions": directions,
                "domain": arguments.domain(options)[0],
                **arguments.networks(options),
            },
            options.first_frame,
            options.strip,
        )
        failed = _edit(ray, options, job, todo)
    cluster_manifest.merge(out)
    edit_results.tell(out.uri, len(todo) - len(failed), len(photos) - len(todo), failed)
    print(_table(failed), end="", file=sys.stderr)
    return 1 if failed else 0


def _check(options: argparse.Namespace) -> None:
    """Flags that say something else than what a cluster does."""
    if options.src is None:
        raise UserError("--ray: add --src FOLDER or --src s3://bucket/photographs")
    refused = {
        "PHOTO": options.photos,
        "--edited": options.edited,
        "--stages": options.stages,
        "--part": options.part != (1, 1),
        "--demo": options.demo,
    }
    for name, given in refused.items():
        if given:
            raise UserError(f"{name} goes not together with --ray; leave one of them out")
    if options.ray not in ("local", "auto") and not options.ray.startswith("ray://"):
        raise UserError(f"--ray {options.ray}: give local, auto or ray://HOST:PORT")


def _package() -> Any:
    try:
        import pyarrow  # noqa: F401
        import ray
    except ImportError as error:
        raise UserError(
            f"--ray needs further packages ({error}): pip install 'diffcam_jax[ray]'"
        ) from error
    return ray


def _edit(
    ray: Any, options: argparse.Namespace, job: Job, todo: Sequence[tuple[str, Stamp]]
) -> dict[str, str]:
    """Edits photographs on the cluster; returns the reasons of those that failed, by name."""
    failed: dict[str, str] = {}
    cluster_workers.connect(ray, options.ray, options.jobs)
    try:
        cluster_manifest.claim(job.out, job.src)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = cluster_workers.share(nodes, options.jobs)
        batches = list(_batches(todo, share.workers))
        with tqdm(None, "photographs", len(todo), unit="photo") as bar:
            for rows in cluster_workers.edit_all(ray, job, share, batches):
                failed |= {row.photo: row.reason for row in rows if not row.result}
                bar.update(len(rows))
                bar.set_postfix(failed=len(failed), refresh=False)
    except ConnectionError as error:
        raise UserError(
            f"--ray {options.ray}: the cluster was lost ({error}); run the same command again"
        ) from error
    finally:
        ray.shutdown()
    return failed


def _batches(todo: Sequence[tuple[str, Stamp]], workers: int) -> Iterator[Batch]:
    """The photographs in batches, each with a name that follows from its photographs.

    Every worker gets some batches, so that none is idle while the others are busy.
    """
    size = max(1, min(_BATCH, len(todo) // (4 * workers)))
    for start in range(0, len(todo), size):
        batch = todo[start : start + size]
        names = "\n".join(name for name, _ in batch)
        yield hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16], batch


def _table(failed: Mapping[str, str]) -> str:
    """The first failures, in two columns."""
    shown = sorted(failed.items())[:_SHOWN]
    width = max((len(name) for name, _ in shown), default=0)
    lines = [f"{name:{width}}  {why.removeprefix(f'{name}: ')}\n" for name, why in shown]
    if len(failed) > _SHOWN:
        lines.append(f"... and {len(failed) - _SHOWN} more, see {cluster_manifest.WHOLE}\n")
    return "".join(lines)
