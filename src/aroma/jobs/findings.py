"""What ``aroma doctor`` finds: one thing, how it stands, and the command that helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from typing import Final

from packaging.requirements import Requirement

_PACKAGE: Final = "aroma-evidence"


class Standing(StrEnum):
    """How a thing stands; only what is broken makes the command fail."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: ``program``, ``home``, ``database``, ….
        standing: How it stands.
        found: What was found.
        do: Command or setting that helps; empty where nothing is to be done.
    """

    area: str
    standing: Standing
    found: str
    do: str = ""


def good(area: str, found: str) -> Finding:
    """Return a finding that nothing is to be done about."""
    return Finding(area, Standing.GOOD, found)


def note(area: str, found: str, do: str = "") -> Finding:
    """Return a finding that may be as it should."""
    return Finding(area, Standing.NOTE, found, do)


def warning(area: str, found: str, do: str) -> Finding:
    """Return a finding that will be a problem, or costs something now."""
    return Finding(area, Standing.WARNING, found, do)


def broken(area: str, found: str, do: str) -> Finding:
    """Return a finding that stops something from working."""
    return Finding(area, Standing.BROKEN, found, do)


def missing_of_extra(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed, or not in a version that fits."""
    lacking = []
    for text in metadata.requires(_PACKAGE) or ():
        wanted = Requirement(text)
        if wanted.marker is None or "extra" not in str(wanted.marker) or not wanted.marker.evaluate({"extra": extra}):
            continue
        try:
            if not wanted.specifier.contains(metadata.version(wanted.name), prereleases=True):
                lacking.append(str(wanted.name))
        except metadata.PackageNotFoundError:
            lacking.append(wanted.name)
    return lacking


def program() -> Iterator[Finding]:
    """Yield what is installed: the program and each of its extras."""
    import platform

    yield good("program", f"aroma {metadata.version(_PACKAGE)}, Python {platform.python_version()}")
    extras = metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []
    for extra in sorted(set(extras) - {"dev"}):
        if lacking := missing_of_extra(extra):
            yield note("program", f"extra {extra}: lacks {', '.join(lacking)}", f"pip install '{_PACKAGE}[{extra}]'")
        else:
            yield good("program", f"extra {extra} is installed")
