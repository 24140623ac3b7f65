"""The tables are the record: their digest depends on the values alone."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.errors import ReleaseError
from aroma.kgstore import schema
from aroma.kgstore.tables import ReleaseTables, read_table, release_id, table_digest
from tests.support.tables import nodes, release, statements

GENES = [("HGNC:1", "Gene"), ("HGNC:2", "Gene"), ("HGNC:3", "Gene")]
PAIRS = [("HGNC:1", "INTERACTS_WITH", "HGNC:2"), ("HGNC:3", "INTERACTS_WITH", "HGNC:2")]


def example() -> ReleaseTables:
    return release([nodes(*GENES, synonyms=["a", ""])], [statements(PAIRS, score=700)])


def test_row_order_and_chunks_do_not_change_the_release_id():
    tables = example()
    shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=3) for name, frame in tables.frames.items()}
    halves = {name: pl.concat([frame.head(1), frame.slice(1)], rechunk=False) for name, frame in shuffled.items()}
    assert release_id(ReleaseTables.of(halves).digests()) == release_id(tables.digests())


def test_files_keep_the_release_id(tmp_path):
    tables = example()
    tables.write(tmp_path)
    assert ReleaseTables.read(tmp_path).digests() == tables.digests()


@pytest.mark.parametrize(
    "change",
    [
        pl.col("synonyms").list.concat(pl.lit(["b"])).alias("synonyms"),
        pl.lit([], dtype=schema.TEXTS).alias("synonyms"),
        pl.lit("another").alias("name"),
        pl.lit(value=True).alias("obsolete"),
        pl.lit(5, dtype=pl.Int32).alias("length"),
    ],
)
def test_any_value_changes_the_release_id(change):
    tables = example()
    other = ReleaseTables.of({**tables.frames, "nodes": tables["nodes"].with_columns(change)})
    assert release_id(other.digests()) != release_id(tables.digests())


def test_history_is_no_part_of_the_release_id():
    tables = example()
    later = tables["edges"].with_columns(pl.lit(7, dtype=pl.Int32).alias("since"))
    assert ReleaseTables.of({**tables.frames, "edges": later}).digests() == tables.digests()


texts = st.one_of(st.none(), st.text(max_size=3))


@given(st.lists(st.tuples(texts, st.lists(texts, max_size=3)), max_size=6, unique_by=repr))
def test_different_values_have_different_digests(rows):
    """Boundaries between neighbouring strings and lists count: ("ab", "c") is not ("a", "bc")."""

    def digest(values):
        frame = pl.DataFrame(
            {"node": [str(n) for n in range(len(values))], "text": [v[0] for v in values]},
            schema={"node": pl.String, "text": pl.String},
        )
        lists = pl.DataFrame(
            {"id": [str(n) for n in range(len(values))], "synonyms": [v[1] for v in values]},
            schema={"id": pl.String, "synonyms": schema.TEXTS},
        )
        return table_digest("descriptions", schema.conform("descriptions", frame)), table_digest(
            "nodes", schema.conform("nodes", lists)
        )

    backwards = list(reversed(rows))
    assert (digest(rows) == digest(backwards)) == (rows == backwards)


def test_a_damaged_table_is_named(tmp_path):
    example().write(tmp_path)
    (tmp_path / "edges.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ReleaseError, match="edges.parquet"):
        read_table(tmp_path, "edges")


def test_conform_refuses_a_column_that_is_not_in_the_schema():
    with pytest.raises(ValueError, match="colour"):
        schema.conform("nodes", pl.DataFrame({"id": ["HGNC:1"], "colour": ["red"]}))
