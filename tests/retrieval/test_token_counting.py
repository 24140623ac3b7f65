"""A model's own tokenizer counts the tokens of prompts, and bounds them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from aroma.cli.app import app
from aroma.errors import InputFileError
from aroma.kgstore.home import Home
from aroma.retrieval.prompts import estimate_tokens
from aroma.retrieval.token_counting import open_counter


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of which each word and each sign is a token."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    made.save(str(path))
    return path


def test_a_file_or_its_directory_counts_and_none_is_the_estimate(tokenizer: Path) -> None:
    text = "TULP1 binds phosphoinositides."
    assert open_counter(tokenizer)(text) == open_counter(tokenizer.parent)(text) == 4
    assert open_counter(None) is estimate_tokens


@pytest.mark.parametrize(("content", "said"), [(None, "no such file"), ("{}", "it is no tokenizer")])
def test_what_is_no_tokenizer_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputFileError, match=said) as caught:
        open_counter(path)
    assert str(path) in str(caught.value)


def test_the_command_counts_with_it_for_one_pair_and_for_many(
    sample_home: Home, tokenizer: Path, tmp_path: Path
) -> None:
    count = open_counter(tokenizer)
    words = ["--prompt", "aroma", "--budget", "400", "--tokenizer", str(tokenizer), "--home", str(sample_home.path)]
    one = CliRunner().invoke(app, ["evidence", "TULP1", "ITCH", "--cell-line", "RPE1", *words, "--json"])
    assert one.exit_code == 0, one.output
    said = json.loads(one.stdout)
    assert said["tokens"] == count(said["prompt"]) <= 400
    pairs, out = tmp_path / "RPE1.csv", tmp_path / "out.parquet"
    pairs.write_text("pert,gene\nTULP1,ITCH\n")
    many = CliRunner().invoke(app, ["evidence", "--pairs", str(pairs), "--out", str(out), "--workers", "1", *words])
    assert many.exit_code == 0, many.output
    assert pl.read_parquet(out)["prompt"].to_list() == [said["prompt"]]
