"""Verification: are the tables what their manifest says, and is the database what the tables say?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aroma.errors import ReleaseError
from aroma.kgstore.engines import open_engine
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import Progress, check_tables, load_tables


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a verification.

    Attributes:
        release: The published release.
        damaged_tables: Tables whose content is not what the manifest says.
        differences: Differences between database and tables.
        repaired: True when the differences were found and put right.
    """

    release: str
    damaged_tables: list[str]
    differences: list[dict[str, Any]]
    repaired: bool

    @property
    def sound(self) -> bool:
        """True when nothing differs."""
        return not self.damaged_tables and not self.differences


def verify(home: Home, target: GraphTarget, *, repair: bool, progress: Progress) -> Verification:
    """Compare tables with checksums and database with tables; with ``repair``, put the database right.

    Raises:
        ReleaseError: Nothing is published, or repair was asked for while the tables themselves are damaged.
    """
    publication = require_published(home)
    progress("checking the tables")
    damaged = check_tables(home, publication.release)
    if damaged and repair:
        raise ReleaseError(
            f"table(s) {', '.join(damaged)} of {publication.release} are damaged, so the database cannot be repaired "
            "from them; restore a backup or build again from the files"
        )
    engine = open_engine(home, target)
    tables = load_tables(home, publication.release)
    progress("comparing the database with the tables")
    found = [asdict(difference) for difference in engine.verify(tables)]
    if found and repair:
        engine.repair(tables, publication, progress=progress)
        remaining = engine.verify(tables)
        return Verification(publication.release, damaged, found, repaired=not remaining)
    return Verification(publication.release, damaged, found, repaired=False)
