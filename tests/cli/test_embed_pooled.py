"""``aroma embed pooled``: genes by their neighbourhoods, from a trained graph encoder."""

from __future__ import annotations

import json
import shutil

import numpy as np
from typer.testing import CliRunner

from aroma.cli.app import app
from aroma.errors import IdentifierError
from aroma.kgstore.home import Home
from aroma.retrieval.vector_store import find_vector_set


def test_genes_are_embedded_by_their_neighbourhoods_in_both_ways(home_with_vectors, tmp_path):
    home = Home(tmp_path / "home")
    shutil.copytree(home_with_vectors.path, home.path)
    made = []
    for more in ([], ["--exact"]):
        asked = ["embed", "pooled", "gat:gene-kg", *more, "--home", str(home.path), "--json"]
        answer = CliRunner().invoke(app, asked)
        assert answer.exit_code == 0, answer.output
        made.append(json.loads(answer.stdout))
    assert [one["encoder"] for one in made] == ["gat-pooled:gene-kg:1", "gat-subgraph:gene-kg:1"]
    fast, exact = (find_vector_set(home, one["release"], one["encoder_id"]) for one in made)
    assert list(fast.ids) == list(exact.ids)
    assert all(name.startswith(("HGNC:", "ENSEMBL:")) for name in fast.ids)
    assert not np.array_equal(fast.vectors, exact.vectors)


def test_a_set_that_is_not_there_is_said(home_with_vectors):
    asked = ["embed", "pooled", "gat:gene", "--home", str(home_with_vectors.path)]
    answer = CliRunner().invoke(app, asked)
    assert isinstance(answer.exception, IdentifierError)
    assert "did you mean 'gat:gene-kg'" in str(answer.exception)
