"""Descriptions: every sentence is backed by lines of the release; a lab's own texts take their place."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import load_tables
from aroma.retrieval.descriptions import Descriptions, read_texts
from aroma.retrieval.evidence import EvidenceStore


def number(store: EvidenceStore, name: str) -> int:
    found = store.snapshot.nodes.ids.find(store.resolve(name).gene)
    assert found is not None
    return found


def everything(store: EvidenceStore):
    genes = [row for row, label in enumerate(store.snapshot.nodes.labels) if label == "Gene"]
    return [store.descriptions.of(gene, role) for gene in genes for role in ("perturbation", "target")]


def test_every_sentence_names_statements_that_the_release_has(store, sample_home):
    tables = load_tables(sample_home, require_published(sample_home).release)
    known = {*tables["statements"]["id"], *tables["nodes"]["statement"], *tables["descriptions"]["statement"]}
    for description in everything(store):
        for sentence in description.sentences:
            assert sentence.statements, sentence
            assert set(sentence.statements) <= known, sentence
            assert all(statement.startswith(f"{sentence.provider}.") for statement in sentence.statements), sentence


def test_what_a_sentence_says_is_what_its_statements_say(store, sample_home):
    """Terms, complexes and pathways named in a sentence are the objects of its statements, and of no NOT."""
    tables = load_tables(sample_home, require_published(sample_home).release)
    objects = dict(tables["statements"].select("id", "object").iter_rows())
    relations = dict(tables["statements"].select("id", "relation").iter_rows())
    subjects = dict(tables["statements"].select("id", "subject").iter_rows())
    names = dict(tables["nodes"].select("id", "name").iter_rows())
    kinds = {
        "complexes": "MEMBER_OF", "pathways": "PARTICIPATES_IN", "biological process": "ANNOTATED_TO",
        "molecular function": "ANNOTATED_TO", "cellular component": "ANNOTATED_TO",
    }  # fmt: skip
    seen = set()
    for description in everything(store):
        for sentence in description.sentences:
            if sentence.kind in kinds:
                seen.add(sentence.kind)
                for statement in sentence.statements:
                    assert relations[statement] == kinds[sentence.kind]
                    assert subjects[statement] == description.gene.id
                    assert names[objects[statement]] in sentence.text
    assert seen == set(kinds)


def test_partners_are_the_strongest_first(small_store):
    text = small_store.descriptions.of(number(small_store, "5"), "target").sentences[-1]
    assert text.kind == "partners"
    assert "6 (990) and 4 (300)" in text.text
    assert len(text.statements) == 2


def test_a_denied_term_is_not_said_and_what_a_term_regulates_is_not_either(small_store):
    denied = small_store.descriptions.of(number(small_store, "5"), "target").text
    assert "GO:0000003" in denied
    assert "GO:0000002" not in denied
    regulating = small_store.descriptions.of(number(small_store, "3"), "target").text
    assert "GO:0000004" in regulating
    assert "GO:0000002" not in regulating


def test_the_role_shows_in_the_first_sentence_alone(store):
    gene = number(store, "TULP1")
    perturbed, target = (store.descriptions.of(gene, role) for role in ("perturbation", "target"))
    assert "knocked down" in perturbed.sentences[0].text
    assert "read out" in target.sentences[0].text
    assert perturbed.sentences[1:] == target.sentences[1:]
    assert perturbed.text.startswith("The perturbed gene TULP1 (")


def test_a_text_that_string_cut_ends_with_its_last_whole_sentence(sample_home, tmp_path):
    store = EvidenceStore(sample_home)
    gene = number(store, "TULP1")

    class Texts(list):
        def __getitem__(self, row):
            return "Whole sentence. Half of a [...]" if row == gene else ""

    nodes = store.snapshot.nodes
    object.__setattr__(nodes, "texts", Texts())
    sentences = Descriptions(store.snapshot, store.kernels).of(gene, "target").sentences
    assert [one.text for one in sentences if one.kind == "annotation text"] == ["Whole sentence."]


def test_own_texts_take_the_place_of_composed_ones(sample_home, tmp_path):
    path = tmp_path / "texts.csv"
    plain = EvidenceStore(sample_home)
    gene = plain.resolve("TULP1").gene
    path.write_text(f"gene,role,text\n{gene},perturbation,Our own words.\n")
    store = EvidenceStore(sample_home, texts=read_texts(path))
    evidence = store.evidence("TULP1", "ITCH", "RPE1")
    assert evidence.perturbation is not None
    assert evidence.perturbation.text == "Our own words."
    assert evidence.target == plain.evidence("TULP1", "ITCH", "RPE1").target


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("gene,text\nHGNC:1,x\n", "has no column role"),
        ("gene,role,text\nHGNC:1,both,x\n", "role 'both'"),
        ("", "the file is empty"),
    ],
)
def test_bad_own_texts_are_refused_with_file_and_reason(tmp_path, content, said):
    path = tmp_path / "texts.csv"
    path.write_text(content)
    with pytest.raises(InputFileError, match=said) as caught:
        read_texts(path)
    assert "texts.csv" in str(caught.value)


def test_own_texts_as_parquet(tmp_path):
    path = tmp_path / "texts.parquet"
    pl.DataFrame({"gene": ["HGNC:1"], "role": ["target"], "text": ["x"]}).write_parquet(path)
    assert read_texts(path) == {("HGNC:1", "target"): "x"}
