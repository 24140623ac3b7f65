"""What exporters read: a release without what its licences forbid, or a view of it."""

from __future__ import annotations

import subprocess
import sys

import polars as pl
import pytest

from aroma.errors import ReleaseError, UsageError
from aroma.kgstore.views import adjusted, preset
from aroma.retrieval.exports.base import open_source
from aroma.retrieval.exports.registry import FORMATS, exporter, exporters
from tests.support.homes import home_of_tables
from tests.support.small_release import small_release


def test_everything_is_the_release(export_home):
    source, tables = open_source(export_home), small_release()
    assert source.nodes().equals(tables["nodes"])
    assert source.edges().equals(tables["edges"])
    assert source.left_out == ()
    assert source.ledger.providers == set(tables["sources"]["provider"])


def test_commercial_leaves_out_what_only_a_forbidden_provider_says(export_home):
    source = open_source(export_home, commercial_only=True)
    assert source.left_out == ("corum",)
    assert "corum" not in source.edges()["provider"]
    assert "corum" not in source.table("statements")["provider"]
    assert source.height("statements") == source.table("statements").height
    assert "corum" not in source.ledger.providers
    # Another provider's edge ends at CORUM's complex: its id stays, what CORUM said of it does not.
    (node,) = source.nodes().filter(pl.col("id") == "CORUM:783").to_dicts()
    assert {name: value for name, value in node.items() if value} == {"id": "CORUM:783", "label": "Complex"}


def test_a_node_that_nothing_else_names_goes(tmp_path):
    tables = small_release()
    frames = dict(tables.frames)
    for name in ("edges", "statements"):
        frames[name] = frames[name].filter(pl.col("provider") != "complex_portal")
    source = open_source(home_of_tables(tmp_path / "home", tables.of(frames)), commercial_only=True)
    assert "CORUM:783" not in source.nodes()["id"]
    assert source.table("nodes").height == tables["nodes"].height - 1


def test_a_provider_without_known_licence_is_left_out_of_commercial_exports(tmp_path):
    tables = small_release()
    frames = {**tables.frames, "sources": tables["sources"].filter(pl.col("provider") != "reactome")}
    source = open_source(home_of_tables(tmp_path / "home", tables.of(frames)), commercial_only=True)
    assert source.left_out == ("corum", "reactome")
    assert source.edges().filter(pl.col("relation") == "CHILD_OF").is_empty()


def test_a_view_has_its_edges_and_their_ends(export_home):
    source = open_source(export_home, view="gene-kg-string")
    assert source.edges()["relation"].unique().to_list() == ["INTERACTS_WITH"]
    assert source.nodes()["id"].to_list() == ["HGNC:12426", "HGNC:13890", "HGNC:18", "HGNC:20"]
    assert source.ledger.providers == {"string", "hgnc"}
    assert source.view().csr.nodes == 4


def test_edges_that_a_view_derives_carry_the_memberships_they_follow_from(export_home):
    source = open_source(export_home, view="gene-kg")
    (edge,) = source.edges().filter(pl.col("relation") == "SHARES_COMPLEX").to_dicts()
    assert (edge["subject"], edge["object"], edge["provider"]) == ("HGNC:13890", "HGNC:18", "corum")
    memberships = small_release()["statements"].filter(
        (pl.col("relation") == "MEMBER_OF") & (pl.col("provider") == "corum")
    )
    assert sorted(edge["statements"]) == sorted(memberships["id"])
    assert edge["references"] == ["PMID:16055720", "PMID:16055720"]


def test_a_view_without_the_forbidden_provider_has_none_of_its_steps(export_home):
    whole, commercial = (open_source(export_home, view="gene-kg", commercial_only=only) for only in (False, True))
    assert whole.edges().height - commercial.edges().height == 1
    assert whole.view().csr.edges - commercial.view().csr.edges == 1
    assert whole.kept_definition().id != commercial.kept_definition().id
    assert "corum" not in commercial.ledger.providers


def test_the_card_names_only_whose_rows_were_asked_for(export_home):
    source = open_source(export_home)
    source.table("edges", pl.col("relation") == "CHILD_OF")
    assert source.ledger.providers == {"reactome"}


def test_what_cannot_be_opened_is_refused_by_name(export_home, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'gene-kg'"):
        open_source(export_home, view="gene-kgg")
    with pytest.raises(UsageError, match="is a permutation"):
        open_source(export_home, view=adjusted(preset("path-kg"), permutation_seed=1))
    with pytest.raises(ReleaseError, match="has no table 'edgs'"):
        open_source(export_home).table("edgs")
    with pytest.raises(ReleaseError, match="no release is published"):
        open_source(type(export_home)(tmp_path / "empty"))


def test_every_format_says_what_it_is():
    assert [one.name for one in exporters()] == sorted(FORMATS)
    assert all(one.summary and "\n" not in one.summary for one in exporters())
    with pytest.raises(UsageError, match="did you mean 'kgx'"):
        exporter("kxg")


def test_listing_needs_no_extra():
    script = (
        "import sys; from aroma.retrieval.exports.registry import exporters; exporters();"
        "print(sorted({'torch', 'torch_geometric', 'transformers', 'anndata', 'rdflib'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
