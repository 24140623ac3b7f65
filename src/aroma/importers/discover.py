"""Finding providers' files in a directory, telling their versions, and choosing those that a build reads.

A file is known by its name (``FileKind.pattern``). Its version is, in this order: what its own header states, what
the receipt of ``aroma download`` says, what its name carries, else ``undated``. Of each kind the newest is taken, or
the pinned one; the importer then decides which kinds are read together.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aroma.errors import InputFileError, UsageError
from aroma.importers.base import FileKind, Importer, ProviderFile
from aroma.importers.lines import BYTE_ORDER_MARK, TextFile, open_text
from aroma.importers.receipts import PARTIAL_SUFFIX, SUFFIX, read_receipt
from aroma.importers.registry import importers as registered
from aroma.importers.registry import reading_order, suggestion
from aroma.importers.versions import UNDATED, pins_for, plain, version_key

HEAD_BYTES: Final = 1 << 16
_GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file that the build does not read, and why."""

    path: Path
    reason: str
    provider: str | None = None
    kind: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a directory holds for a build.

    Attributes:
        directory: Where was looked.
        selected: Files to read by provider, in the order in which providers are read.
        ignored: Files that are not read, with the reason.
        absent: Providers without a file there.
    """

    directory: Path
    selected: Mapping[str, tuple[ProviderFile, ...]]
    ignored: tuple[IgnoredFile, ...]
    absent: tuple[str, ...]

    def reasons(self) -> dict[str, str]:
        """Return why each ignored file is not read, by its path below the directory."""
        return {
            os.path.relpath(file.path, self.directory): f"{file.provider} {file.kind}: {file.reason}"
            if file.provider
            else file.reason
            for file in self.ignored
        }


def discover(
    directory: Path, *, pins: Mapping[str, str] | None = None, importers: Mapping[str, Importer] | None = None
) -> Discovery:
    """Find and choose the files of every provider under ``directory``.

    Args:
        directory: Searched with its subfolders; hidden ones are left out.
        pins: Versions by ``provider`` or ``provider.kind``, as ``versions.parse_pins`` gives them.
        importers: By provider name; every registered one where not given.

    Raises:
        UsageError: No such directory, nothing recognised in it, or a pin that fits nothing.
        InputFileError: A required kind is missing, or two different files have one kind and version.
    """
    known = registered() if importers is None else importers
    given = dict(pins or {})
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory; give the one that holds the providers' files (--from)")
    _check_pinned_providers(given, known)
    found, ignored = _recognise(directory, known)
    if not any(found.values()):
        raise UsageError(_nothing_found(directory, known))
    selected: dict[str, tuple[ProviderFile, ...]] = {}
    for name, importer in known.items():
        chosen, left = _choose(directory, importer, found[name], given)
        ignored += left
        if chosen:
            selected[name] = chosen
    order = reading_order(selected, known)
    return Discovery(
        directory=directory,
        selected={name: selected[name] for name in order},
        ignored=tuple(sorted(ignored, key=lambda file: str(file.path))),
        absent=tuple(name for name in known if name not in selected),
    )


def human_pattern(kind: FileKind) -> str:
    """Return a kind's file name pattern for people: ``9606.protein.links.v<version>.txt[.gz]``."""
    text = re.sub(r"\(\?P<(\w+)>(?:[^()\\]|\\.|\([^()]*\))*\)", r"<\1>", kind.pattern.pattern)
    text = re.sub(r"\[([._-])[._-]*\]", r"\1", text)
    text = re.sub(r"\((?:\?:)?([^()]*)\)\?", r"[\1]", text)
    text = re.sub(r"\(\?[a-z]+\)|[\^$]|\\[AZ]", "", text).replace("(?:", "(")
    return re.sub(r"\\(.)", r"\1", text)


def _check_pinned_providers(pins: Mapping[str, str], known: Mapping[str, Importer]) -> None:
    for target in pins:
        provider, _, kind = target.partition(".")
        if provider not in known:
            raise UsageError(f"pin {target!r}: there is no provider {provider!r}; {suggestion(provider, known)}")
        kinds = [each.kind for each in known[provider].files]
        if kind and kind not in kinds:
            raise UsageError(f"pin {target!r}: {provider} has no kind of file {kind!r}; {suggestion(kind, kinds)}")


def _nothing_found(directory: Path, known: Mapping[str, Importer]) -> str:
    examples = "; ".join(
        f"{name}: {', '.join(human_pattern(kind) for kind in importer.files)}" for name, importer in known.items()
    )
    return f"no provider's file is in {directory} or its subfolders; expected names are {examples}"


def _recognise(
    directory: Path, known: Mapping[str, Importer]
) -> tuple[dict[str, list[ProviderFile]], list[IgnoredFile]]:
    found: dict[str, list[ProviderFile]] = {name: [] for name in known}
    ignored = []
    for path in _walk(directory):
        if path.name.endswith((SUFFIX, PARTIAL_SUFFIX + ".json")):
            continue
        if path.name.endswith(PARTIAL_SUFFIX):
            ignored.append(IgnoredFile(path, "an unfinished download; run aroma download again"))
            continue
        fits = [(name, kind) for name, importer in known.items() for kind in importer.files if matches(kind, path.name)]
        if not fits:
            ignored.append(IgnoredFile(path, "no provider has files of this name"))
        for name, kind in fits:
            found[name].append(provider_file(known[name], kind, path))
    return found, ignored


def matches(kind: FileKind, name: str) -> re.Match[str] | None:
    """Match a file name, gzip or not, against a kind's pattern."""
    return kind.pattern.fullmatch(name) or kind.pattern.fullmatch(name.removesuffix(".gz"))


def _walk(directory: Path) -> Iterator[Path]:
    """Yield files in a fixed order; directory links are followed, each directory once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(directory, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def provider_file(importer: Importer, kind: FileKind, path: Path) -> ProviderFile:
    """Tell the version of one file of ``kind`` and how it was found."""
    head = read_head(path)
    if head is not None and (stated := importer.header_version(kind.kind, head)):
        return ProviderFile(path, kind.kind, plain(stated), "file header")
    receipt = read_receipt(path)
    if receipt is not None and receipt.version != UNDATED:
        return ProviderFile(path, kind.kind, plain(receipt.version), "receipt")
    match = matches(kind, path.name)
    named = match.groupdict().get("version") if match else None
    if named:
        return ProviderFile(path, kind.kind, plain(named), "file name")
    return ProviderFile(path, kind.kind, UNDATED, UNDATED)


def read_head(path: Path) -> TextFile | None:
    """Return the first 64 KiB of text of a file, without reading the rest; None where they cannot be read."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(HEAD_BYTES)
        if raw.startswith(_GZIP_MAGIC):
            raw = zlib.decompressobj(wbits=31).decompress(raw, HEAD_BYTES)
    except (OSError, zlib.error):
        return None  # reading the file whole will say what is wrong with it
    return TextFile(path, "", path.stat().st_size, raw.removeprefix(BYTE_ORDER_MARK))


def _choose(
    directory: Path, importer: Importer, files: list[ProviderFile], pins: Mapping[str, str]
) -> tuple[tuple[ProviderFile, ...], list[IgnoredFile]]:
    """Choose one provider's files: the pinned or newest of each kind, then what the importer reads together."""
    name = importer.card.name
    bundled = _bundled(importer)
    if not files and bundled is not None and not _is_pinned(name, pins):
        return (bundled,), []
    files = _named_by_pin(name, files, pins)
    wanted = _pinned_versions(importer, files, pins)
    dropped = _dropped_alternatives(importer, wanted)
    chosen: list[ProviderFile] = []
    ignored = []
    for kind in importer.files:
        candidates = [file for file in files if file.kind == kind.kind]
        if kind.kind in dropped:
            ignored += [_ignored(name, file, f"another kind is pinned: {dropped[kind.kind]}") for file in candidates]
            continue
        taken, left = _newest(name, kind, candidates, wanted.get(kind.kind))
        chosen += taken
        ignored += left
    if files:
        _check_required(directory, importer, chosen)
    selected = importer.select(tuple(chosen)) if chosen else ()
    reason = f"not read together with {', '.join(file.path.name for file in selected)}"
    ignored += [_ignored(name, file, reason) for file in chosen if file not in selected]
    return selected, ignored


def _bundled(importer: Importer) -> ProviderFile | None:
    path: Path | None = getattr(importer, "bundled", None)
    if path is None:
        return None
    kind = next(kind for kind in importer.files if matches(kind, path.name))
    return provider_file(importer, kind, path)


def _is_pinned(name: str, pins: Mapping[str, str]) -> bool:
    whole, kinds = pins_for(name, pins)
    return whole is not None or bool(kinds)


def _named_by_pin(name: str, files: list[ProviderFile], pins: Mapping[str, str]) -> list[ProviderFile]:
    """Give undated files the pinned version, where the provider's files say nothing of their version at all."""
    whole, kinds = pins_for(name, pins)
    all_undated = all(file.version == UNDATED for file in files)
    named = []
    for file in files:
        of_kind = [other for other in files if other.kind == file.kind]
        version = kinds.get(file.kind) if all(other.version == UNDATED for other in of_kind) else None
        version = version or (whole if all_undated else None)
        named.append(ProviderFile(file.path, file.kind, plain(version), "given by --pin") if version else file)
    return named


def _pinned_versions(importer: Importer, files: list[ProviderFile], pins: Mapping[str, str]) -> dict[str, str]:
    """Return the pinned version by kind; a pin of the provider holds for the kinds that have such a file."""
    name = importer.card.name
    whole, by_kind = pins_for(name, pins)
    wanted = {}
    for kind in importer.files:
        there = {file.version for file in files if file.kind == kind.kind}
        if kind.kind in by_kind:
            version = plain(by_kind[kind.kind])
            if version not in there:
                raise UsageError(_no_such_version(f"{name}.{kind.kind}", version, there))
            wanted[kind.kind] = version
        elif whole is not None and plain(whole) in there:
            wanted[kind.kind] = plain(whole)
    if whole is not None and plain(whole) not in wanted.values():
        raise UsageError(_no_such_version(name, whole, {file.version for file in files}))
    return wanted


def _no_such_version(target: str, version: str, there: Iterable[str]) -> str:
    versions = sorted(set(there), key=version_key, reverse=True)
    if not versions:
        return f"pin {target}={version}: no file of {target} is in the directory"
    return f"pin {target}={version}: no file has that version; there are: {', '.join(versions)}"


def _dropped_alternatives(importer: Importer, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the kinds whose place another, pinned kind of the same group takes."""
    pinned = {kind.group: kind.kind for kind in importer.files if kind.group and kind.kind in wanted}
    return {
        kind.kind: pinned[kind.group] for kind in importer.files if kind.group in pinned and kind.kind not in wanted
    }


def _newest(
    name: str, kind: FileKind, candidates: list[ProviderFile], wanted: str | None
) -> tuple[list[ProviderFile], list[IgnoredFile]]:
    if not candidates:
        return [], []
    version = wanted or max((file.version for file in candidates), key=version_key)
    best = [file for file in candidates if file.version == version]
    relation = "pinned" if wanted else "newer"
    ignored = [
        _ignored(name, file, f"version {file.version}, and {version} is {relation}")
        for file in candidates
        if file.version != version
    ]
    if kind.many or len(best) == 1:
        return best, ignored
    first, *others = best
    for other in others:
        if _content(first.path) != _content(other.path):
            raise InputFileError(
                f"{other.path} is another file of the same kind and version ({name} {kind.kind} {version})",
                file=first.path,
                expected="one of the two; move the other out of the directory",
            )
        ignored.append(_ignored(name, other, f"the same content as {first.path.name}"))
    return [first], ignored


def _content(path: Path) -> bytes:
    return hashlib.sha256(open_text(path).data).digest()


def _check_required(directory: Path, importer: Importer, chosen: list[ProviderFile]) -> None:
    there = {file.kind for file in chosen}
    groups = {kind.group for kind in importer.files if kind.group and kind.kind in there}
    for kind in importer.files:
        if kind.required and kind.kind not in there and kind.group not in groups:
            others = ", ".join(file.path.name for file in chosen) or "none that fit"
            raise InputFileError(
                f"{importer.card.title} needs a file of kind {kind.kind!r}, which is missing (found: {others})",
                file=directory,
                expected=f"a file named {human_pattern(kind)}",
            )


def _ignored(name: str, file: ProviderFile, reason: str) -> IgnoredFile:
    return IgnoredFile(file.path, reason, name, file.kind, file.version)
