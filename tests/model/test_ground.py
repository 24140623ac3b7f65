"""The ground of models: a few names are resolved as many are, by another way."""

from __future__ import annotations

import polars as pl

from aroma.model.ground import Ground, same_line
from tests.support.planted import planted
from tests.support.samples import gene

ODD = ["AARS", "TAZ", " TP53", "tp53", "HGNC:20", "ENSG00000141510", "P04637", "NOGENE", "", "x:y"]


def test_a_few_names_resolve_as_many_do(ground: Ground):
    names = [*planted()["target"].unique().sort(), *ODD]
    asked = pl.DataFrame({"cell_line": "K562", "perturbation": names, "target": names[::-1]})
    assert asked.height > 20
    many = ground.rows(asked)
    few = pl.concat([ground.rows(asked[place : place + 3]) for place in range(0, asked.height, 3)])
    assert few.equals(many)
    assert many.filter(perturbation="AARS")["perturbation_gene"].to_list() == [gene("AARS1")]
    assert many.filter(perturbation="NOGENE")["perturbation_gene"].to_list() == [None]


def test_a_few_ids_are_numbered_as_many_are(ground: Ground):
    ids = pl.concat([ground.snapshot.nodes.by_id["id"][:200:7], pl.Series([None, "", "HGNC:0"], dtype=pl.String)])
    many = ground.nodes_of(ids)
    assert many.tolist() == [number for place in range(len(ids)) for number in ground.nodes_of(ids[place : place + 1])]
    assert many[-3:].tolist() == [-1, -1, -1]
    assert (many[:-3] >= 0).all()


def test_spellings_of_a_line():
    assert same_line("K-562", "k562")
    assert not same_line("K562", "K563")
