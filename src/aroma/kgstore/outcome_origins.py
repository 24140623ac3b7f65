"""Where stored outcomes come from: the files read, rows refused, names without a gene, licences.

They stand with the version of the outcomes and not in a release, so that a release has the same id whether or not
outcomes were read with it. An outcome's ``line`` and an origin's import run (file, sha256) lead back to the file.

Layout below the home, one directory a build that gave these outcomes::

    outcomes/<sha256>/origins/<build key>/import_runs.parquet, rejects.parquet, unresolved.parquet, sources.parquet,
                                          reports.json
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import ReleaseError
from aroma.kgstore import schema
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import OutcomesVersion, list_outcomes, store_outcomes
from aroma.kgstore.tables import write_parquet
from aroma.kgstore.whole import whole_directory

TABLES: Final = ("import_runs", "rejects", "unresolved", "sources")
_ORIGINS: Final = "origins"
_REPORTS: Final = "reports.json"
_SHOWN: Final = 50
_KEY: Final = re.compile(r"[0-9A-Za-z]{1,64}")


@dataclass(frozen=True, slots=True)
class Origin:
    """What an importer said of the files that gave outcomes.

    Attributes:
        tables: Each of ``TABLES``, with the columns of the release table of that name.
        reports: Findings by provider.
    """

    tables: Mapping[str, pl.DataFrame]
    reports: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def joined(cls, origins: Iterable[Origin]) -> Origin:
        """Return several as one, each row once."""
        given = list(origins)
        tables = {
            name: pl.concat([schema.empty(name), *(origin.tables[name] for origin in given)]).unique(
                maintain_order=True
            )
            for name in TABLES
        }
        return cls(tables, {provider: said for origin in given for provider, said in origin.reports.items()})


def store_with_origin(home: Home, outcomes: pl.DataFrame, origin: Origin, key: str) -> OutcomesVersion:
    """Store outcomes (``store_outcomes``) and where they come from; the same key again changes nothing.

    Args:
        home: Where to store.
        outcomes: Columns of ``OUTCOMES``.
        origin: What the importer said.
        key: Names the build; letters and digits.

    Raises:
        UsageError: The outcomes are malformed.
        ReleaseError: The place cannot be written.
    """
    assert _KEY.fullmatch(key), key
    version = store_outcomes(home, outcomes)
    place = home.outcomes / version.sha256 / _ORIGINS / key
    if place.is_dir():
        return version
    try:
        with whole_directory(place) as made:
            for name in TABLES:
                write_parquet(schema.conform(name, origin.tables[name]), made / f"{name}.parquet")
            (made / _REPORTS).write_text(json.dumps(origin.reports, indent=1, default=str) + "\n")
    except OSError as error:
        raise ReleaseError(f"{place}: cannot be written ({error.strerror or error})") from error
    return version


def load_origin(home: Home, *, sha256: str = "*", key: str = "*") -> Origin:
    """Return where outcomes come from, joined over what fits; empty tables where nothing does.

    Args:
        home: Where they are stored.
        sha256: A version of outcomes; all where not given.
        key: A build; all where not given.

    Raises:
        ReleaseError: A stored table is damaged.
    """
    return Origin.joined(_read(place) for place in sorted(home.outcomes.glob(f"{sha256}/{_ORIGINS}/{key}")))


def _read(place: Path) -> Origin:
    if place.name.startswith("."):  # left by a build that was killed
        return Origin.joined(())
    try:
        tables = {name: schema.conform(name, pl.read_parquet(place / f"{name}.parquet")) for name in TABLES}
        return Origin(tables, json.loads((place / _REPORTS).read_text()))
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise ReleaseError(f"{place}: cannot be read ({error}); remove it and run aroma build again") from error


def audit_of_outcomes(home: Home) -> dict[str, Any]:
    """Return what an audit shows of stored outcomes: versions, import runs (reasons as object), rejects, unresolved."""
    tables = load_origin(home).tables
    runs = [{**run, "reasons": json.loads(run["reasons"])} for run in tables["import_runs"].iter_rows(named=True)]
    return {
        "versions": [asdict(version) for version in list_outcomes(home)],
        "import_runs": runs,
        "rejects": {"rows": tables["rejects"].height, "examples": tables["rejects"].head(_SHOWN).to_dicts()},
        "unresolved": {"rows": tables["unresolved"].height, "examples": tables["unresolved"].head(_SHOWN).to_dicts()},
    }
