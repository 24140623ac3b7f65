"""PerturbQA's tasks on sets of genes: names by enrichment, and set-level rows told from single genes."""

import json

import pytest
from typer.testing import CliRunner

from aroma.cli.app import app
from aroma.errors import InputFileError, UsageError
from aroma.model.gene_set_names import GeneSet, SetNamer, read_gene_sets, rouge1, summary
from aroma.model.gene_set_rows import read_set_mapping, read_set_rows, score_sets
from tests.support.planted import MODULES, RESPONSE

SETS = {name: list(genes) for name, genes in MODULES.items()}


def test_rouge_counts_shared_words_over_each_side():
    assert rouge1("unfolded protein response", "Response to unfolded protein") == (1.0, 0.75)
    assert rouge1("cell cycle", "translation") == (0.0, 0.0)
    assert rouge1("the the cell", "the cell") == (pytest.approx(2 / 3), 1.0)


def test_a_set_is_named_by_what_its_genes_share(ground):
    genes = (*MODULES["proteasome"], "NOSUCHGENE")
    unknown = [gene for gene in genes if ground.resolver.resolve(gene).gene is None]
    named = SetNamer(ground).name(GeneSet(genes, "proteasome complex"))
    assert (named.genes, named.unresolved) == (5, len(unknown))
    assert "NOSUCHGENE" in unknown
    assert "proteasome" in named.answer["best"].lower()
    assert named.recall["best"] > 0
    unnamed = SetNamer(ground).name(GeneSet(MODULES["ribosome"], None))
    assert (unnamed.recall, unnamed.similarity) == ({}, None)
    means = summary([named, unnamed])
    assert means["best"]["recall"] == named.recall["best"]


def test_the_curated_term_itself_is_wholly_similar(ground):
    namer = SetNamer(ground)
    found = namer.name(GeneSet(MODULES["proteasome"], None))
    again = namer.name(GeneSet(MODULES["proteasome"], found.answer["go"]))
    assert (again.recall["go"], again.similarity) == (1.0, 1.0)


@pytest.mark.parametrize("text", ["{}", "[]", '[{"genes": []}]', '[{"genes": ["A"], "label": 3}]', "not json"])
def test_what_is_no_list_of_sets_is_said(tmp_path, text):
    path = tmp_path / "sets.json"
    path.write_text(text)
    with pytest.raises(InputFileError, match="sets.json"):
        read_gene_sets(path)


@pytest.fixture
def files(tmp_path):
    """Set-level rows that follow the planted response, and the mapping of sets."""
    mapping, rows = tmp_path / "mapping.json", tmp_path / "rows.csv"
    mapping.write_text(json.dumps(SETS))
    lines = [
        f"{gene},{moved},{int((module, moved) in RESPONSE)},train"
        for module, genes in MODULES.items()
        for gene in genes
        for moved in ("p53", "stress", "ribosome")
    ]
    rows.write_text("\n".join(["pert,gene,label,split", *lines]) + "\n")
    return mapping, rows


def test_related_perturbations_tell_which_sets_move_and_the_lookup_does_not(ground, planted_outcomes, files):
    sets = read_set_mapping(files[0])
    asked = read_set_rows(files[1], "changed", "K562", sets)
    found = score_sets(ground, planted_outcomes, asked, sets, ["core-voting"], folds=3)
    assert found.rows == 72
    assert set(found.mean) == {"gene-frequency", "core-voting"}
    assert found.mean["gene-frequency"] == pytest.approx(0.5, abs=0.05)
    assert found.mean["core-voting"] > 0.8


def test_a_row_that_is_none_is_named_by_its_line(files):
    sets = read_set_mapping(files[0])
    with pytest.raises(UsageError, match="task"):
        read_set_rows(files[1], "moved", "K562", sets)
    for bad in ("TP53,p53,2,train", "TP53,nowhere,1,train", ",p53,1,train"):
        files[1].write_text(f"pert,gene,label,split\nTP53,p53,1,train\n{bad}\n")
        with pytest.raises(InputFileError, match="line 3"):
            read_set_rows(files[1], "changed", "K562", sets)


def test_the_commands_answer_in_words_and_in_json(sample_home, tmp_path, files):
    sets = tmp_path / "sets.json"
    sets.write_text(json.dumps([{"genes": MODULES["proteasome"], "label": "proteasome genes"}]))
    shown = CliRunner().invoke(app, ["gene-sets", "name", str(sets), "--home", str(sample_home.path)])
    assert shown.exit_code == 0
    assert "proteasome genes" in shown.output
    told = CliRunner().invoke(app, ["gene-sets", "name", str(sets), "--home", str(sample_home.path), "--json"])
    assert json.loads(told.stdout)["sets"][0]["label"] == "proteasome genes"
