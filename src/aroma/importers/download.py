"""``aroma download``: providers' files into a directory, each with a receipt that says where it came from."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Literal

from aroma.errors import DownloadError, UsageError
from aroma.importers.addresses import ADDRESSES, Address
from aroma.importers.discover import matches, read_head
from aroma.importers.fetch import Fetched, Fetcher, Validators, discard
from aroma.importers.receipts import Receipt, read_receipt, receipt_path
from aroma.importers.registry import importers, suggestion
from aroma.importers.versions import UNDATED, plain
from aroma.kgstore.locks import exclusive

_LOCK: Final = ".download.lock"


@dataclass(frozen=True, slots=True)
class Order:
    """One file to fetch: its address and the version asked for, if any."""

    address: Address
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """One file that is there now.

    Attributes:
        provider: Provider's name.
        file: Path.
        status: ``downloaded``, or ``unchanged`` when the server has nothing newer than the file that was there.
        receipt: What is written beside it.
    """

    provider: str
    file: Path
    status: Literal["downloaded", "unchanged"]
    receipt: Receipt


def known_providers(addresses: Iterable[Address] | None = None) -> tuple[str, ...]:
    """Return the providers that have addresses."""
    return tuple(dict.fromkeys(address.provider for address in (all_addresses() if addresses is None else addresses)))


def all_addresses() -> tuple[Address, ...]:
    """Return the addresses of this package and those that a lab's importers give by ``FileKind.url``."""
    ours = {address.provider for address in ADDRESSES}
    added = [
        Address(name, kind.url.rsplit("/", 1)[-1], current=kind.url, optional=not kind.required)
        for name, importer in importers().items()
        for kind in importer.files
        if name not in ours and kind.url and "{version}" not in kind.url
    ]
    return (*ADDRESSES, *added)


def plan(
    providers: Iterable[str] = (),
    *,
    versions: Mapping[str, str] | None = None,
    optional: bool = False,
    addresses: Iterable[Address] | None = None,
) -> tuple[Order, ...]:
    """Return the files to fetch.

    Args:
        providers: Names; every provider where empty.
        versions: Release by provider; the newest where not given.
        optional: Fetch also the files that a build can do without.
        addresses: Instead of all known ones.

    Raises:
        UsageError: An unknown provider, or a release asked of a provider that keeps no old ones.
    """
    every = tuple(all_addresses() if addresses is None else addresses)
    known = known_providers(every)
    asked = dict(versions or {})
    wanted = tuple(providers) or known
    for name in (*wanted, *asked):
        if name not in known:
            raise UsageError(f"there is no address for provider {name!r}; {suggestion(name, known)}")
    if beside := sorted(set(asked) - set(wanted)):
        raise UsageError(f"--version is given for {', '.join(beside)}, which is not among the providers to download")
    orders = []
    for address in every:
        if address.provider not in wanted or (address.optional and not optional):
            continue
        version = asked.get(address.provider)
        if version is not None and not address.release:
            raise UsageError(
                f"{address.provider} publishes only its current release; leave out --version {address.provider}="
            )
        orders.append(Order(address, plain(version) if version else None))
    return tuple(orders)


def download(orders: Iterable[Order], directory: Path, fetcher: Fetcher) -> tuple[Downloaded, ...]:
    """Fetch every file of ``orders`` into ``directory/<provider>/``.

    Files that are there with a fitting receipt are asked for conditionally and left alone when unchanged.

    Raises:
        DownloadError: A file cannot be had; those before it stay, and a part of it is kept for the next run.
        LockHeldError: Another download into this directory is under way.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{directory}: cannot be made ({error.strerror}); give another directory by --to"
        ) from error
    with exclusive(directory / _LOCK, f"a download into {directory}"):
        return tuple(_one(order, directory, fetcher) for order in orders)


@dataclass(frozen=True, slots=True)
class Newer:
    """What a provider says of one file, before anything is downloaded.

    Attributes:
        provider: Provider's name.
        file: Name that it is saved under.
        here: Version of the file that is here; empty where there is none.
        there: Version that the provider states; empty where it states none.
        what: ``as before``, ``new``, or ``told by the download`` where no version is stated.
    """

    provider: str
    file: str
    here: str
    there: str
    what: str


def newer(order: Order, directory: Path, fetcher: Fetcher) -> Newer:
    """Compare the version that a provider states with the file that is here; nothing is downloaded but that version."""
    address = order.address
    stated = _stated_version(order, fetcher)
    name = _file_name(address, order.version, stated[0] if stated else None)
    receipt = read_receipt(directory / address.provider / name)
    here, there = receipt.version if receipt else "", stated[0] if stated else ""
    what = "new" if not here else "told by the download" if not there else "as before" if here == there else "new"
    return Newer(address.provider, name, here, there, what)


def _one(order: Order, directory: Path, fetcher: Fetcher) -> Downloaded:
    address = order.address
    stated = _stated_version(order, fetcher)
    version = stated[0] if stated else None
    given = order.version or address.newest
    template = address.release if order.version or not address.current else address.current
    url = template.replace("{version}", given)
    path = directory / address.provider / _file_name(address, order.version, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    receipt = _fitting_receipt(path, url)
    known = Validators(receipt.etag, receipt.last_modified) if receipt else None
    fetcher.progress(f"{address.provider}: {url}")
    fetched = fetcher.file(url, path, known)
    if fetched.part is None and receipt is not None:
        return Downloaded(address.provider, path, "unchanged", receipt)
    return Downloaded(address.provider, path, "downloaded", _keep(address, stated, url, path, fetched))


def _file_name(address: Address, asked: str | None, version: str | None) -> str:
    """Return the name to save under; a release asked for stands beside the current one, not in its place."""
    if "{version}" in address.file:
        return address.file.replace("{version}", version or UNDATED)
    if asked is None:
        return address.file
    stem, dot, suffixes = address.file.partition(".")
    return f"{stem}.{asked}{dot}{suffixes}"


def _stated_version(order: Order, fetcher: Fetcher) -> tuple[str, str] | None:
    """Return the version that is known before the download and how, or None."""
    address = order.address
    if order.version:
        return order.version, "given by --version"
    if not address.current:
        return address.newest, "address"
    if address.probe is None:
        return None
    try:
        match = address.probe.pattern.search(fetcher.text(address.probe.url))
    except DownloadError as error:
        fetcher.progress(f"{address.provider}: its version is not known ({error})")
        return None
    return (match[1], address.probe.url) if match else None


def _fitting_receipt(path: Path, url: str) -> Receipt | None:
    """Return the receipt of the file at ``path`` when it is of this address and the bytes are still those."""
    receipt = read_receipt(path)
    if receipt is None or receipt.url != url or sha256_of(path) != receipt.sha256:
        return None
    return receipt


def _keep(address: Address, stated: tuple[str, str] | None, url: str, path: Path, fetched: Fetched) -> Receipt:
    """Rename the checked part into place and write its receipt."""
    part = fetched.part
    if part is None:
        raise DownloadError(f"{url}: the server says that a file which is not here is unchanged; try again")
    version, found = _version(address, stated, path, fetched, part)
    receipt = Receipt(
        url=url,
        final_url=fetched.final_url,
        retrieved_at=fetched.retrieved_at,
        bytes=part.stat().st_size,
        sha256=sha256_of(part),
        etag=fetched.validators.etag,
        last_modified=fetched.validators.last_modified,
        version=version,
        version_found=found,
    )
    try:
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
        beside = receipt_path(path)
        new = beside.with_name(beside.name + ".part")
        new.write_text(receipt.model_dump_json(indent=1) + "\n")
        new.replace(beside)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else f"cannot be written ({error.strerror})"
        raise DownloadError(f"{path}: {reason}; free some space and run again") from error
    discard(part)
    return receipt


def _version(
    address: Address, stated: tuple[str, str] | None, path: Path, fetched: Fetched, part: Path
) -> tuple[str, str]:
    """Return the version and how it was found: the file's header, what was stated, the server's date, else undated."""
    importer = importers().get(address.provider)
    head = read_head(part)
    for kind in importer.files if importer else ():
        if importer and head and matches(kind, path.name) and (said := importer.header_version(kind.kind, head)):
            return plain(said), "file header"
    if stated:
        return stated
    if address.dated and fetched.validators.last_modified:
        try:
            return parsedate_to_datetime(fetched.validators.last_modified).date().isoformat(), "Last-Modified"
        except ValueError:
            pass
    return UNDATED, UNDATED


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
