"""All edges of a release as mapped arrays: ends, relation, scores, and the providers' lines behind each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.kgstore.curation import PROVIDER as CURATION
from aroma.kgstore.schema import CHANNEL_COLUMNS, STRING_CHANNELS, Relation
from aroma.kgstore.tables import read_table
from aroma.retrieval.columns import TextColumn, open_array, open_texts, write_texts
from aroma.retrieval.evidence_model import CuratorNote

NO_SCORE: Final = -1
_KEPT_WORDS: Final = 20_000
_SOURCE: Final = ("provider", "provider_release", "licence")
_CODED: Final = ("evidence", "references", "qualifiers")
_NUMBERS: Final = ("subject", "object", "relation", "score", "score_full", "since", "source", "channels", "starts")
_RELATIONS: Final = tuple(str(relation) for relation in Relation)


class _Numbers(NamedTuple):
    """Columns as memory views, of which an item is a plain int, at once."""

    subject: memoryview
    object: memoryview
    relation: memoryview
    score: memoryview
    score_full: memoryview
    since: memoryview
    source: memoryview
    starts: memoryview


@dataclass(frozen=True)
class EdgeTable:
    """All edges of a release, in the order of its edges table: sorted by subject, relation, object, provider.

    Attributes:
        ids: CURIEs by node number.
        subject: int32, node numbers, ascending.
        object: int32, node numbers.
        relation: uint8, position in ``schema.Relation``.
        score: int16, STRING combined score, or ``NO_SCORE``.
        score_full: int16, the full file's combined score, or ``NO_SCORE``.
        since: int32, sequence number of the first release that said so; 0 where not known.
        source: int16, position in ``sources``.
        channels: int16, (edges, channels) in the order of ``STRING_CHANNELS``, or ``NO_SCORE``.
        starts: int64, edges + 1: the statements of edge ``e`` are ``starts[e]`` to ``starts[e + 1]``.
        statements: Statement ids.
        codes: int32 by statement, for evidence codes, references and qualifiers.
        words: What those codes stand for.
        source_names: Provider, its release and licence, joined by tabs.
        read_notes: Returns curators' reasons for the edges that they asserted, by statement; called when one is shown.
    """

    ids: TextColumn
    subject: npt.NDArray[np.int32]
    object: npt.NDArray[np.int32]
    relation: npt.NDArray[np.uint8]
    score: npt.NDArray[np.int16]
    score_full: npt.NDArray[np.int16]
    since: npt.NDArray[np.int32]
    source: npt.NDArray[np.int16]
    channels: npt.NDArray[np.int16]
    starts: npt.NDArray[np.int64]
    statements: TextColumn
    codes: dict[str, npt.NDArray[np.int32]]
    words: dict[str, TextColumn]
    source_names: TextColumn
    read_notes: Callable[[], Mapping[str, CuratorNote]] = dict

    @cached_property
    def notes(self) -> Mapping[str, CuratorNote]:
        """What curators said, by statement."""
        return self.read_notes()

    @cached_property
    def sources(self) -> list[tuple[str, ...]]:
        """(provider, provider release, licence) by source number."""
        return [tuple(text.split("\t")) for text in self.source_names]

    @cached_property
    def _numbers(self) -> _Numbers:
        return _Numbers(*(getattr(self, name).data for name in _Numbers._fields))

    @cached_property
    def _word(self) -> dict[str, Callable[[int], str]]:
        return {name: lru_cache(maxsize=_KEPT_WORDS)(column.__getitem__) for name, column in self.words.items()}

    def row(self, number: int) -> dict[str, Any]:
        """Return one edge with its provenance, columns as in the release's edges table; null channels left out.

        An asserted edge has ``curation`` besides: the curators' notes.
        """
        at = self._numbers
        span = slice(at.starts[number], at.starts[number + 1])
        provider, version, licence = self.sources[at.source[number]]
        lists = {name: [*map(self._word[name], self.codes[name][span].tolist())] for name in _CODED}
        asserted = {"curation": self._asserted(number)} if provider == CURATION else {}
        return {
            **asserted,
            "subject": self.ids[at.subject[number]],
            "relation": _RELATIONS[at.relation[number]],
            "object": self.ids[at.object[number]],
            "provider": provider,
            "provider_release": version,
            "licence": licence,
            "statements": self.statements[span],
            **lists,
            "score": _score(at.score[number]),
            "score_full": _score(at.score_full[number]),
            "since": at.since[number] or None,
        }

    def _asserted(self, number: int) -> list[CuratorNote]:
        return [self.notes[statement] for statement in self.statement_ids(number) if statement in self.notes]

    def rows(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """Return ``row`` of several edges."""
        return [self.row(number) for number in numbers]

    def statement_ids(self, number: int) -> list[str]:
        """Return the ids of the lines behind an edge."""
        return self.statements[int(self.starts[number]) : int(self.starts[number + 1])]

    def provider(self, number: int) -> str:
        """Return who says an edge."""
        return self.sources[int(self.source[number])][0]

    def channel_scores(self, number: int) -> dict[str, int]:
        """Return STRING's channel scores that are known and not zero."""
        found = zip(STRING_CHANNELS, self.channels[number].tolist(), strict=True)
        return {name: score for name, score in found if score > 0}

    def of(self, subject: int) -> range:
        """Return the numbers of the edges that start at a node."""
        start, stop = np.searchsorted(self.subject, np.array([subject, subject + 1], dtype=np.int32))
        return range(int(start), int(stop))


def write_edges(directory: Path, target: Path, by_id: pl.DataFrame) -> None:
    """Write the files that ``open_edges`` maps.

    Args:
        directory: The release's directory.
        target: Where to.
        by_id: ``id`` and ``node`` (Int32) of all nodes.
    """
    columns = ["subject", "relation", "object", *_SOURCE, "score", "score_full", "since", *CHANNEL_COLUMNS]
    edges = read_table(directory, "edges", columns)
    for column in ("subject", "object"):
        numbers = edges.select(pl.col(column).alias("id")).join(by_id, on="id", how="left", maintain_order="left")
        np.save(target / f"{column}.npy", numbers["node"].to_numpy())
    codes = {name: code for code, name in enumerate(_RELATIONS)}
    np.save(target / "relation.npy", edges["relation"].replace_strict(codes, return_dtype=pl.UInt8).to_numpy())
    for column in ("score", "score_full"):
        np.save(target / f"{column}.npy", edges[column].fill_null(NO_SCORE).to_numpy())
    np.save(target / "since.npy", edges["since"].fill_null(0).to_numpy())
    channels = np.empty((edges.height, len(CHANNEL_COLUMNS)), dtype=np.int16)
    for place, column in enumerate(CHANNEL_COLUMNS):
        channels[:, place] = edges[column].fill_null(NO_SCORE).to_numpy()
    np.save(target / "channels.npy", channels)
    told = edges.select(pl.concat_str([pl.col(name).fill_null("") for name in _SOURCE], separator="\t").alias("source"))
    _write_coded(target, "source", told["source"], np.int16)
    del edges, told, channels
    _write_statements(directory, target)


def _write_statements(directory: Path, target: Path) -> None:
    lists = read_table(directory, "edges", ["statements", *_CODED])
    lengths = lists["statements"].list.len().cast(pl.Int64).to_numpy()
    np.save(target / "starts.npy", np.concatenate([[0], np.cumsum(lengths)]))
    write_texts(target, "statements", _flat(lists["statements"]))
    for name in _CODED:
        _write_coded(target, name, _flat(lists[name]), np.int32)


def _flat(lists: pl.Series) -> pl.Series:
    return lists.explode(empty_as_null=False, keep_nulls=False)


def _write_coded(target: Path, name: str, values: pl.Series, dtype: type[np.signedinteger[Any]]) -> None:
    words = values.unique().sort().drop_nulls()
    coded = pl.DataFrame({"word": values.fill_null("")}).join(
        pl.DataFrame({"word": words}).with_row_index("code"), on="word", how="left", maintain_order="left"
    )
    np.save(target / f"{name}.npy", coded["code"].fill_null(0).to_numpy().astype(dtype))
    write_texts(target, f"{name}.words", words)


def open_edges(place: Path, ids: TextColumn, read_notes: Callable[[], Mapping[str, CuratorNote]] = dict) -> EdgeTable:
    """Map the files that ``write_edges`` wrote; ``read_notes`` returns what curators said, by statement."""
    numbers = {name: open_array(place / f"{name}.npy") for name in _NUMBERS}
    return EdgeTable(
        ids=ids,
        **numbers,
        statements=open_texts(place, "statements"),
        codes={name: open_array(place / f"{name}.npy") for name in _CODED},
        words={name: open_texts(place, f"{name}.words") for name in _CODED},
        source_names=open_texts(place, "source.words"),
        read_notes=read_notes,
    )


def _score(value: int) -> int | None:
    return None if value == NO_SCORE else value
