"""Fetching one file whole: resumed after a cut, tried again after a passing fault, refused when it is not data.

Bytes go to ``<file>.part``; the validator that ties them to the server's file stands in ``<file>.part.json``, so a
later run goes on where this one ended and never joins two different files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import random
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

import httpx

from aroma.errors import DownloadError
from aroma.importers.addresses import through_mirror
from aroma.importers.receipts import PARTIAL_SUFFIX

Progress = Callable[[str], None]
_T = TypeVar("_T")

_CHUNK: Final = 1 << 18
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MARKUP: Final = (b"<!doctype html", b"<html", b"<?xml")


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How patient a download is.

    Attributes:
        tries: Attempts in a row that bring nothing new before giving up.
        first_wait: Seconds before the second attempt; doubled each time, with jitter of half to one and a half.
        longest_wait: Seconds; a server that asks for more (Retry-After) is not waited for.
        timeout: Seconds without a byte after which a connection counts as dead.
    """

    tries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Validators:
    """What ties bytes to one state of the server's file."""

    etag: str | None = None
    last_modified: str | None = None

    def condition(self) -> str | None:
        """Value for If-Range: a strong ETag, else the date; None where there is neither."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return None if self.etag else self.last_modified

    def same_as(self, other: Validators) -> bool:
        """Tell whether both name the same state; without any validator nothing is known to be the same."""
        if self.etag or other.etag:
            return self.etag == other.etag
        return self.last_modified is not None and self.last_modified == other.last_modified


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came: ``part`` holds the checked bytes; ``part`` is None where the server's file is unchanged."""

    part: Path | None
    final_url: str
    validators: Validators
    retrieved_at: str


class _PassingFaultError(Exception):
    """A fault that another attempt may not meet; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


@dataclass
class Fetcher:
    """Fetches files over HTTP with one connection pool."""

    settings: FetchSettings = field(default_factory=FetchSettings)
    progress: Progress = lambda _: None
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            follow_redirects=True,
            timeout=self.settings.timeout,
            headers={"Accept-Encoding": "identity", "User-Agent": "aroma-download"},
        )

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def text(self, url: str) -> str:
        """Return a small text, such as a version.

        Raises:
            DownloadError: It cannot be had.
        """

        def attempt() -> str:
            with _network_faults(url):
                response = self._client.get(through_mirror(url))
            _check_status(url, response, self.settings.longest_wait)
            return response.text

        return self._patiently(url, attempt, lambda: 0)

    def file(self, url: str, path: Path, known: Validators | None = None) -> Fetched:
        """Fetch ``url`` whole into ``<path>.part`` and check it.

        Args:
            url: The provider's address.
            path: Where the file will stand; nothing is written to it here.
            known: Validators of the whole file that stands at ``path`` already.

        Raises:
            DownloadError: It cannot be had whole, is not what its name says, or the disk is full.
        """
        part = path.with_name(path.name + PARTIAL_SUFFIX)
        fetched = self._patiently(url, lambda: self._attempt(url, part, known), lambda: _size(part))
        if fetched.part is not None:
            check_content(fetched.part, path.name, url)
        return fetched

    def _patiently(self, url: str, attempt: Callable[[], _T], reached: Callable[[], int]) -> _T:
        """Try until it works or ``tries`` attempts in a row brought nothing new."""
        most, in_vain = reached(), 0
        while True:
            try:
                return attempt()
            except _PassingFaultError as fault:
                now = reached()
                in_vain = 0 if now > most else in_vain + 1
                most = max(most, now)
                if in_vain >= self.settings.tries:
                    raise DownloadError(
                        f"{url}: {fault}; tried {self.settings.tries} times; try again later"
                    ) from fault
                wait = fault.wait if fault.wait is not None else self._pause(in_vain)
                self.progress(f"{url}: {fault}; again in {wait:.0f} s")
                self.sleep(wait)

    def _pause(self, in_vain: int) -> float:
        doubled: float = self.settings.first_wait * 2.0 ** max(in_vain - 1, 0)
        return min(doubled, self.settings.longest_wait) * random.SystemRandom().uniform(0.5, 1.5)

    def _attempt(self, url: str, part: Path, known: Validators | None) -> Fetched:
        start, tied = _resumable(part, url)
        headers = {}
        if start and (condition := tied.condition()):
            headers = {"Range": f"bytes={start}-", "If-Range": condition}
        elif known is not None:
            start = 0
            pairs = {"If-None-Match": known.etag, "If-Modified-Since": None if known.etag else known.last_modified}
            headers = {name: value for name, value in pairs.items() if value}
        with (
            _network_faults(url),
            self._client.stream("GET", through_mirror(url), headers=headers) as response,
        ):
            given = Validators(response.headers.get("etag"), response.headers.get("last-modified"))
            final = str(response.url)
            if response.status_code == HTTPStatus.NOT_MODIFIED or (
                known is not None and response.status_code == HTTPStatus.OK and known.same_as(given)
            ):
                return Fetched(None, final, known or given, _now())
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                _forget(part)
                raise _PassingFaultError("the server's file is shorter than what was fetched; starting anew")
            _check_status(url, response, self.settings.longest_wait)
            _refuse_page(url, response, part)
            self._receive(url, response, part, given, start if headers.get("Range") else 0)
        return Fetched(part, final, given, _now())

    def _receive(self, url: str, response: httpx.Response, part: Path, given: Validators, start: int) -> None:
        """Write the body to ``part``, after what is there when the server goes on from ``start``."""
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            start, whole = _content_range(url, response, start)
        else:
            start, whole = 0, _content_length(response)
        if whole is not None and whole - start > shutil.disk_usage(part.parent).free:
            raise DownloadError(f"{part.parent}: the disk is full, {whole - start:,} bytes are needed; free some space")
        try:
            _tie(part, url, given)
            with part.open("ab" if start else "wb") as stream:
                for chunk in response.iter_raw():  # as they come: what a cut leaves behind is kept
                    stream.write(chunk)
        except OSError as error:
            raise _disk_error(error, part) from error
        if whole is not None and _size(part) != whole:
            size = _size(part)
            if size > whole:
                _forget(part)
            raise _PassingFaultError(f"{size:,} bytes came instead of {whole:,}")


def check_content(part: Path, name: str, url: str) -> None:
    """Refuse a fetched file that is empty, a web page, or gzip that does not decompress to its end.

    Raises:
        DownloadError: It is one of these; the part is deleted.
    """
    with part.open("rb") as stream:
        head = stream.read(512)
    problem = None
    if not head.strip():
        problem = "the server sent an empty file"
    elif head.lstrip().lower().startswith(_MARKUP):
        problem = "the server sent a web page instead of the file"
    elif name.endswith(".gz") and not head.startswith(_GZIP_MAGIC):
        problem = "the server sent something that is not gzip"
    elif head.startswith(_GZIP_MAGIC) and not _gzip_whole(part):
        problem = "the gzip stream is damaged or cut off"
    if problem:
        _forget(part)
        raise DownloadError(f"{url}: {problem}; check the address in a browser, then try again")


def discard(part: Path) -> None:
    """Delete the note beside a part that was renamed into place."""
    _note(part).unlink(missing_ok=True)


def _gzip_whole(part: Path) -> bool:
    """Tell whether every gzip member decompresses and its checksum fits."""
    with part.open("rb") as stream:
        member = zlib.decompressobj(wbits=31)
        try:
            while chunk := stream.read(_CHUNK):
                while chunk:
                    if member.eof:
                        member = zlib.decompressobj(wbits=31)
                    member.decompress(chunk)
                    chunk = member.unused_data
        except zlib.error:
            return False
    return member.eof


@contextlib.contextmanager
def _network_faults(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ProxyError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise DownloadError(
                f"{url}: the server's certificate cannot be verified ({error}); give its chain by SSL_CERT_FILE, "
                "or download the file by hand"
            ) from error
        raise _PassingFaultError(f"no connection ({error})") from error
    except httpx.TimeoutException as error:
        raise _PassingFaultError("the server stopped answering") from error
    except httpx.TransportError as error:
        raise _PassingFaultError(f"the connection was cut ({error})") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise DownloadError(f"{url}: {error}; check the address, or AROMA_DOWNLOAD_BASE") from error


def _check_status(url: str, response: httpx.Response, longest_wait: float) -> None:
    code = response.status_code
    if response.is_success:
        return
    said = f"HTTP {code} {response.reason_phrase}".strip()
    if code in _PASSING:
        wait = _retry_after(response)
        if wait is not None and wait > longest_wait:
            raise DownloadError(f"{url}: {said}, and the server asks to wait {wait:.0f} s; try again after that")
        raise _PassingFaultError(f"the server said {said}", wait)
    if code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise DownloadError(
            f"{url}: there is no such file ({said}); check the version, or the provider's download page"
        )
    raise DownloadError(f"{url}: the server refused ({said}); check the address in a browser")


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((when.astimezone(UTC) - datetime.now(tz=UTC)).total_seconds(), 0.0)


def _refuse_page(url: str, response: httpx.Response, part: Path) -> None:
    if response.headers.get("content-type", "").startswith(("text/html", "application/xhtml")):
        _forget(part)
        raise DownloadError(f"{url}: the server sent a web page instead of the file; check the address in a browser")


def _content_range(url: str, response: httpx.Response, start: int) -> tuple[int, int | None]:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
    if not match or int(match[1]) != start:
        raise DownloadError(f"{url}: the server answered with another part than was asked for; delete the .part file")
    return start, None if match[2] == "*" else int(match[2])


def _content_length(response: httpx.Response) -> int | None:
    value = response.headers.get("content-length", "")
    return int(value) if value.isdigit() else None


def _resumable(part: Path, url: str) -> tuple[int, Validators]:
    """Return how much of ``url`` is in ``part`` and what ties it to the server's file."""
    try:
        note = json.loads(_note(part).read_text())
        tied = Validators(note["etag"], note["last_modified"])
        if note["url"] == url and tied.condition():
            return _size(part), tied
    except (OSError, ValueError, KeyError, TypeError):
        pass  # without its note a part cannot be trusted
    return 0, Validators()


def _tie(part: Path, url: str, given: Validators) -> None:
    _note(part).write_text(json.dumps({"url": url, "etag": given.etag, "last_modified": given.last_modified}))


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    discard(part)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _disk_error(error: OSError, part: Path) -> DownloadError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DownloadError(f"{part.parent}: the disk is full; free some space and run again, what came is kept")
    return DownloadError(f"{part}: cannot be written ({error.strerror})")


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
