"""Homes for tests of retrieval and its doors: releases laid out without a database."""

from __future__ import annotations

from pathlib import Path

from aroma.importers.base import ImportOptions
from aroma.importers.build import read_all
from aroma.importers.discover import discover
from aroma.kgstore.home import Home
from aroma.kgstore.outcome_origins import store_with_origin
from aroma.kgstore.publications import Publication, append, published
from aroma.kgstore.releases import now, save_release
from aroma.kgstore.tables import ReleaseTables
from tests.support.samples import BUNDLED


def home_of_files(directory: Path, source: Path = BUNDLED) -> Home:
    """Read the providers' files of ``source`` and publish them in a home at ``directory``, outcomes too."""
    read = read_all(discover(source, pins={}), ImportOptions(), lambda _: None)
    home = home_of_tables(directory, read.tables)
    for outcomes, origin in read.measured:
        store_with_origin(home, outcomes, origin, "sample")
    return home


def home_of_tables(directory: Path, tables: ReleaseTables) -> Home:
    """Publish release tables in a home at ``directory``, next to what is published there."""
    home = Home(directory)
    before = published(home)
    release = save_release(home, tables)
    sequence, parent = (before.sequence + 1, before.release) if before else (1, None)
    append(home, Publication(sequence, release, parent, now()))
    return home
