"""Where a package's files can be downloaded, according to the indexes that pip is configured with.

Pip is asked for its configuration and, when that names no index, for its built-in default; no host
is named here. An index answers with PEP 691 JSON or PEP 503 HTML. Nothing is installed and no
package code runs: pip is only asked for settings. Written by hand, because unearth and pypi-simple
do not read pip's configuration, which is the larger half of this module, and pypi-simple knows no
local folders of packages.
"""

import ast
import contextlib
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

import requests
from requests.adapters import HTTPAdapter, Retry

from diffcam_jax.files.json_text import decode

_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
)
_PAGE_LIMIT = 64 << 20  # bytes; the longest index pages are a few MB


@dataclass(frozen=True)
class PipSettings:
    """Pip's settings that matter for downloads.

    Attributes:
        indexes: addresses of package indexes, in pip's order.
        find_links: folders or pages of links to packages.
        cert: path of the trusted certificates.
        client_cert: path of the client certificate.
        proxy: address of the proxy.
        timeout: seconds to wait for an answer.
        trusted_hosts: hosts whose certificate is not verified.
    """

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout: float = 15.0
    trusted_hosts: tuple[str, ...] = ()

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds to wait for a connection and for an answer.

        The first is bounded, so that a missing network is noticed soon even with a long pip
        timeout.
        """
        return min(self.timeout, 10.0), self.timeout

    def pages(self, package: str) -> list[str]:
        """The addresses that may list a package's files, local ones first."""
        normalised = re.sub(r"[-_.]+", "-", package).lower()
        pages = [
            *self.find_links,
            *(f"{index.rstrip('/')}/{normalised}/" for index in self.indexes),
        ]
        return sorted(pages, key=lambda page: local_path(page) is None)


@functools.cache
def _pip_command() -> tuple[str, ...]:
    if importlib.util.find_spec("pip"):
        return (sys.executable, "-m", "pip")
    if on_path := shutil.which("pip") or shutil.which("pip3"):
        return (on_path,)
    # Environments without pip still have the wheel that Python would install it from, and pip can
    # run from inside it.
    ensurepip = importlib.util.find_spec("ensurepip")
    for folder in ensurepip.submodule_search_locations if ensurepip else ():
        for wheel in sorted(Path(folder, "_bundled").glob("pip-*.whl"), reverse=True):
            return (sys.executable, str(wheel / "pip"))
    return ()


def _ask_pip(*arguments: str) -> str:
    if not _pip_command():
        return ""
    environment = {**os.environ, "COLUMNS": "1000", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        answer = subprocess.run(
            [*_pip_command(), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout


def pip_settings() -> PipSettings:
    """Reads pip's configuration: its files, then the environment.

    Returns:
        The settings; the index is pip's built-in default when none is configured.
    """
    found: dict[str, dict[str, str]] = {}
    for line in _ask_pip("config", "list").splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        with contextlib.suppress(SyntaxError, ValueError):  # a message of pip, not a setting
            found.setdefault(section, {})[name] = str(ast.literal_eval(value))
    environment = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and value
    }
    merged = found.get("global", {}) | found.get("download", {}) | environment
    indexes: list[str] = []
    if merged.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
        indexes = [
            *(merged.get("index-url") or _default_index()).split(),
            *merged.get("extra-index-url", "").split(),
        ]
    return PipSettings(
        indexes=tuple(indexes),
        find_links=tuple(merged.get("find-links", "").split()),
        cert=merged.get("cert"),
        client_cert=merged.get("client-cert"),
        proxy=merged.get("proxy"),
        timeout=float(merged.get("timeout") or merged.get("default-timeout") or 15),
        trusted_hosts=tuple(merged.get("trusted-host", "").split()),
    )


def _default_index() -> str:
    stated = re.search(
        r"--index-url.*?\(default:?\s+(\S+?)\)", _ask_pip("download", "--help"), re.DOTALL
    )
    return stated.group(1) if stated else ""


class _Session(requests.Session):
    """A session in which pip's certificate settings take precedence over the environment's."""

    def __init__(self, settings: PipSettings):
        super().__init__()
        self._settings = settings

    def merge_environment_settings(self, url, proxies, stream, verify, cert):
        merged = super().merge_environment_settings(url, proxies, stream, verify, cert)
        parts = urlsplit(url)
        if {parts.hostname, parts.netloc.rpartition("@")[2]} & set(self._settings.trusted_hosts):
            merged["verify"] = False
        elif self._settings.cert:
            merged["verify"] = self._settings.cert
        return merged


def open_session(settings: PipSettings) -> requests.Session:
    """Opens an HTTP session with pip's certificate, proxy and trusted hosts.

    A failed connection is retried twice.
    """
    session = _Session(settings)
    retries = Retry(total=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    if settings.proxy:
        session.proxies = {"http": settings.proxy, "https": settings.proxy}
    if settings.client_cert:
        session.cert = settings.client_cert
    return session


def local_path(address: str) -> Path | None:
    """The path of a file: address or of a plain path; None for a remote address."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    if parts.scheme in ("http", "https"):
        return None
    return Path(address).expanduser()


class _Links(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.base, self.addresses = page, []

    def handle_starttag(self, tag, attrs):
        target = dict(attrs).get("href")
        if target and tag == "base":
            self.base = urljoin(self.base, target)
        elif target and tag == "a":
            self.addresses.append(urljoin(self.base, target))


def file_addresses(
    page: str, filename: str, session: requests.Session, timeout: float | tuple[float, float]
) -> list[str]:
    """The addresses under which one index page or folder offers a file.

    Args:
        page: an index page of a package, or a folder or page of links; remote or local.
        filename: the wheel or sdist wanted.
        session: from `open_session`.
        timeout: seconds to wait for a connection and for an answer.

    Returns:
        Addresses or paths, without hash fragment.

    Raises:
        OSError: the page cannot be read (`requests` errors are OSErrors).
    """
    folder = local_path(page)
    if folder is None:
        addresses = _remote_links(page, session, timeout)
    else:
        if (folder / filename).is_file():
            return [str(folder / filename)]
        listing = folder / "index.html" if folder.is_dir() else folder
        addresses = (
            _html_links(listing.resolve().as_uri(), listing.read_bytes())
            if listing.is_file()
            else []
        )
    addresses = [urldefrag(address).url for address in addresses]
    return [
        address
        for address in addresses
        if unquote(urlsplit(address).path.rpartition("/")[2]) == filename
    ]


def _remote_links(
    page: str, session: requests.Session, timeout: float | tuple[float, float]
) -> list[str]:
    body = bytearray()
    with session.get(page, headers={"Accept": _ACCEPT}, timeout=timeout, stream=True) as answer:
        if answer.status_code == requests.codes.not_found:
            return []
        answer.raise_for_status()
        for block in answer.iter_content(1 << 16):
            body += block
            if len(body) > _PAGE_LIMIT:
                raise OSError(f"its index page is longer than {_PAGE_LIMIT >> 20} MiB")
    if "json" not in answer.headers.get("Content-Type", ""):
        return _html_links(answer.url, bytes(body))
    try:
        return [urljoin(answer.url, file["url"]) for file in decode(bytes(body))["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError("its index page is not PEP 691 JSON") from error


def _html_links(page: str, body: bytes) -> list[str]:
    links = _Links(page)
    links.feed(body.decode("utf-8", "replace"))
    return links.addresses
