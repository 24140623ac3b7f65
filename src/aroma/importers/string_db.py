"""STRING: protein pairs with scores become ``INTERACTS_WITH`` edges between genes.

Every line of a pairs file is a statement; the two directions of a pair, and several protein pairs of one gene pair,
become one edge with the highest score. Where a links and a full file are read together, links gives ``score``, full
gives the channels and ``score_full``. A pair that only the full file has is an edge too: its ``score`` is then the
full file's, its provider release that file's version, and ``reports`` says how many there are.

File formats: https://string-db.org/cgi/download.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.addresses import published
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import open_text
from aroma.importers.string_genes import ProteinGenes, read_protein_files
from aroma.importers.string_reports import agreement, directions
from aroma.importers.string_scores import check_channels
from aroma.importers.string_statements import PairFile, read_pair_file
from aroma.kgstore.assemble import edges_from_statements, order_symmetric

_VERSION: Final = r"\.v(?P<version>[0-9][\w.\-]*?)\.txt"
_PAIRS: Final = ("links", "full", "detailed")
_PHYSICAL: Final = ("physical", "physical_full", "physical_detailed")


def _kind(kind: str, stem: str) -> FileKind:
    pattern = re.compile(rf"9606\.{re.escape(stem)}{_VERSION}")
    return FileKind(kind, pattern, required=False, url=published("string", f"9606.{stem}.txt.gz"))


class StringImporter(Importer):
    """STRING, human (taxon 9606)."""

    card: ClassVar = ProviderCard(
        name="string",
        title="STRING",
        homepage="https://string-db.org",
        licence="CC BY 4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        commercial_use=True,
    )
    files: ClassVar = (
        _kind("links", "protein.links"),
        _kind("full", "protein.links.full"),
        _kind("detailed", "protein.links.detailed"),
        _kind("physical", "protein.physical.links"),
        _kind("physical_full", "protein.physical.links.full"),
        _kind("physical_detailed", "protein.physical.links.detailed"),
        _kind("info", "protein.info"),
        _kind("aliases", "protein.aliases"),
    )
    parser_version: ClassVar = "1"
    after: ClassVar = ("hgnc", "uniprot")

    def select(self, files: tuple[ProviderFile, ...]) -> tuple[ProviderFile, ...]:
        """Choose one plain file of pairs and one with channels of the same version; info and aliases of any.

        ``12.0.union`` goes with ``12.0``: versions match up to the leading dotted number. Full is preferred to
        detailed; the physical subnetwork is read only where there is no other file of pairs.
        """
        by_kind = {file.kind: file for file in files}
        names = [file for file in files if file.kind in {"info", "aliases"}]
        for plain, full, detailed in (_PAIRS, _PHYSICAL):
            links = by_kind.get(plain)
            channels = [by_kind[kind] for kind in (full, detailed) if kind in by_kind]
            if links is not None:
                channels = [file for file in channels if _number(file.version) == _number(links.version)]
            pairs = [file for file in (links, *channels[:1]) if file is not None]
            if pairs:
                return tuple(pairs + names)
        return tuple(names)

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read the chosen files; see the module for what becomes of a line.

        Raises:
            InputFileError: A file is damaged, of another format or species, or info or pairs are missing.
            UsageError: ``options.exclude_channels`` names something that is no channel.
        """
        excluded = check_channels(context.options.exclude_channels)
        _check_complete(files)
        genes = read_protein_files(self, [file for file in files if file.kind in {"info", "aliases"}], context)
        pairs = [
            read_pair_file(self, file, open_text(file.path), genes, excluded)
            for file in files
            if file.kind not in {"info", "aliases"}
        ]
        statements = order_symmetric(pl.concat([pair.statements for pair in pairs]))
        edges = _edges(self, pairs, statements)
        return ImportBatch(
            provider=self.card.name,
            runs=pl.concat([*genes.runs, *(pair.run for pair in pairs)]),
            rejects=pl.concat([*genes.rejects, *(pair.rejects for pair in pairs)]),
            nodes=genes.nodes,
            edges=edges,
            statements=statements,
            gene_names=genes.gene_names,
            descriptions=genes.descriptions,
            unresolved=pl.concat([*genes.unresolved, *(pair.unresolved for pair in pairs)]),
            reports=_reports(files, pairs, edges, excluded, genes),
        )


def _number(version: str) -> str:
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return match[0] if match else version


def _check_complete(files: tuple[ProviderFile, ...]) -> None:
    kinds = {file.kind for file in files}
    if not kinds - {"info", "aliases"}:
        raise InputFileError(
            "STRING's names are here, its pairs are not",
            file=files[0].path,
            expected="9606.protein.links.v<version>.txt.gz, or links.full or links.detailed, in the same directory",
        )
    if not kinds & {"info", "aliases"}:
        raise InputFileError(
            "STRING's pairs are here, the names of its proteins are not",
            file=files[0].path,
            expected="9606.protein.info.v<version>.txt.gz or 9606.protein.aliases.v<version>.txt.gz beside it",
        )


def _edges(importer: StringImporter, pairs: list[PairFile], statements: pl.DataFrame) -> pl.DataFrame:
    """Fold into edges; those that only the second file has carry that file's version."""
    licence = importer.card.licence
    edges = edges_from_statements(statements, provider_release=pairs[0].version, licence=licence)
    if len(pairs) == 1 or pairs[0].version == pairs[1].version:
        return edges
    only_second = ~pl.col("import_runs").list.contains(pairs[0].run["id"].item())
    release = pl.when(only_second).then(pl.lit(pairs[1].version)).otherwise("provider_release")
    return edges.with_columns(release.alias("provider_release"))


def _reports(
    files: tuple[ProviderFile, ...],
    pairs: list[PairFile],
    edges: pl.DataFrame,
    excluded: frozenset[str],
    genes: ProteinGenes,
) -> dict[str, object]:
    versions = {file.kind: file.version for file in files}
    found: dict[str, object] = {f"directions of {pair.kind}": directions(pair.pairs, genes.proteins) for pair in pairs}
    if len({_number(version) for version in versions.values()}) > 1:
        found["files of different STRING versions"] = versions
    if len(pairs) > 1:
        found[f"{pairs[0].kind} and {pairs[1].kind} compared"] = {
            **agreement(pairs[0].pairs, pairs[1].pairs),
            f"edges only in {pairs[1].kind}": edges.filter(
                ~pl.col("import_runs").list.contains(pairs[0].run["id"].item())
            ).height,
        }
    if excluded:
        found["channels left out"] = {
            "channels": sorted(excluded),
            "by file": {pair.kind: pair.formula for pair in pairs},
        }
    found["proteins"] = genes.summary
    return found
