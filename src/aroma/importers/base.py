"""What an importer is: a card, the files it reads, and one function from files to typed tables.

A provider is one module with one ``Importer`` subclass. It is found by being listed in
``aroma.importers.registry``; the contract tests (``tests/contracts/test_importer_contract.py``) run over every
registered importer and say what is missing.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import polars as pl

from aroma.importers.lines import TextFile
from aroma.kgstore.resolver import GeneResolver


@dataclass(frozen=True, slots=True)
class ProviderCard:
    """Who provides the data and on what terms; shown in sources, audits, exports and model cards."""

    name: str  # key: "string"
    title: str  # "STRING"
    homepage: str
    licence: str  # short name: "CC BY 4.0"
    licence_url: str
    commercial_use: bool


@dataclass(frozen=True, slots=True)
class FileKind:
    """One kind of file that a provider publishes.

    Attributes:
        kind: Short name, part of the import run's id: ``links``.
        pattern: Regular expression that the whole file name matches, ``.gz`` or not; a group named
            ``version`` gives the version where the name carries it.
        required: A build that uses this provider fails without a file of this kind.
        url: Address template of the published file with ``{version}``, for downloads and provenance.
        group: Kinds of one group are alternatives (core or all complexes): one of them is enough where they are
            required, and a pin that fits one drops the others.
        many: Several files of this kind and version are read together (one file a cell line).
    """

    kind: str
    pattern: re.Pattern[str]
    required: bool = True
    url: str = ""
    group: str = ""
    many: bool = False


@dataclass(frozen=True, slots=True)
class ProviderFile:
    """A found file: where, what kind, which version and how that was found."""

    path: Path
    kind: str
    version: str
    version_found: str  # "file header", "receipt", "file name", "given by --pin", "undated"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a user may choose about importing; part of the build key, so of what makes a rerun a no-op.

    Attributes:
        exclude_channels: STRING channels (``textmining``, …) taken out of the combined score.
    """

    exclude_channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportContext:
    """What an importer gets beside its files.

    Attributes:
        resolver: Gene resolver over the names of all importers that ran before.
        options: The user's choices.
        nodes: Nodes of the importers that ran before, by provider.
    """

    resolver: GeneResolver
    options: ImportOptions = field(default_factory=ImportOptions)
    nodes: Mapping[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportBatch:
    """All that one importer read, as frames with the columns of ``aroma.kgstore.schema.TABLES``.

    ``runs`` has one row a file. ``reports`` holds small JSON-able findings for the audit (unequal directions,
    retired proteins, …), keyed by a readable title. ``outcomes`` is PerturbQA's only: see that module.
    """

    provider: str
    runs: pl.DataFrame
    rejects: pl.DataFrame
    nodes: pl.DataFrame | None = None
    edges: pl.DataFrame | None = None
    statements: pl.DataFrame | None = None
    gene_names: pl.DataFrame | None = None
    descriptions: pl.DataFrame | None = None
    sequences: pl.DataFrame | None = None
    unresolved: pl.DataFrame | None = None
    outcomes: pl.DataFrame | None = None
    reports: Mapping[str, object] = field(default_factory=dict)


class Importer(ABC):
    """One provider. Stateless: everything it needs is in its arguments."""

    card: ClassVar[ProviderCard]
    files: ClassVar[tuple[FileKind, ...]]
    parser_version: ClassVar[str]
    """Raised by hand when the same file would give other tables."""
    after: ClassVar[tuple[str, ...]] = ()
    """Providers whose gene names or nodes this one needs; absent ones are fine."""
    measures: ClassVar[bool] = False
    """Its rows are outcomes, which are stored apart: nothing of it enters a release."""
    bundled: ClassVar[Path | None] = None
    """A file of the package itself that is read where the directory has none of this provider."""

    def header_version(self, kind: str, text: TextFile) -> str | None:
        """Return the version that the file's own header states, or None where its format has no such line."""
        del kind, text
        return None

    def select(self, files: tuple[ProviderFile, ...]) -> tuple[ProviderFile, ...]:
        """Choose, among the newest (or pinned) file of each kind, those that are read together."""
        return files

    @abstractmethod
    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read the files into tables.

        Raises:
            InputFileError: A file is truncated, empty, of another format, or holds only another species.
        """
