"""Options: complete, JSON, and refused by name with the nearest right value."""

from __future__ import annotations

import json

import pytest

from aroma.errors import UsageError
from aroma.model.aroma.options import ENCODERS, MODALITIES, PLACEHOLDER_OF, AromaOptions


def test_defaults_are_the_papers_and_survive_json():
    options = AromaOptions()
    assert (options.lora_rank, options.lora_alpha, options.lora_dropout) == (16, 32, 0.1)
    assert options.modalities == MODALITIES
    assert options.encoders == dict(ENCODERS)
    assert AromaOptions.of(json.loads(json.dumps(options.as_json()))) == options


def test_modalities_stand_in_the_order_of_the_placeholders():
    options = AromaOptions(modalities=("gene-kg", "protein"))
    assert options.modalities == ("protein", "gene-kg")
    assert options.placeholders == (PLACEHOLDER_OF["protein"], PLACEHOLDER_OF["gene-kg"])
    assert AromaOptions(modalities=()).placeholders == ()


def test_an_encoder_that_is_not_named_keeps_its_default():
    options = AromaOptions(encoders={"protein": "composition"})
    assert options.encoders == {**ENCODERS, "protein": "composition"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"interaction": "atention"}, "interaction has no 'atention'; did you mean 'attention'"),
        ({"interaction": "mlp"}, "there are: attention, gated, paper"),
        ({"modalities": ("protien",)}, "modalities has no 'protien'; did you mean 'protein'"),
        ({"modalities": ("protein", "protein")}, "name each once"),
        ({"encoders": {"genekg": "gat:gene-kg"}}, "encoders has no 'genekg'; did you mean 'gene-kg'"),
        ({"encoders": {"protein": ""}}, "encoders: protein is ''"),
        ({"dtype": "bfloat"}, "dtype has no 'bfloat'; did you mean 'bfloat16'"),
        ({"hops": 7}, "hops is 7; it is 0 to 3, the nearest is 3"),
        ({"hops": 1.5}, "hops is 1.5; give a whole number from 0 to 3; the nearest is 2"),
        ({"hops": True}, "hops is True; give a whole number"),
        ({"neighbours": 0}, "neighbours is 0; it is 1 to 4096, the nearest is 1"),
        ({"budget": "many"}, "budget is 'many'; give a whole number"),
        ({"lora_rank": -1}, "the nearest is 0"),
        ({"lora_dropout": 1}, "lora_dropout is 1; give a number from 0 to below 1; the nearest is 0.99"),
        ({"lora_dropout": float("nan")}, "lora_dropout is nan"),
        ({"retrieval": "no"}, "retrieval is 'no'; give true or false"),
        ({"interaction_dim": 30}, "4 heads do not divide; the nearest that fits is 32"),
        ({"base": ""}, "base is ''; give a model's directory"),
        ({"device": ""}, "device is ''"),
        ({"bugdet": 3}, "no option 'bugdet'; did you mean 'budget'"),
    ],
)
def test_bad_values_are_named_with_the_nearest_right_one(given, said):
    with pytest.raises(UsageError) as caught:
        AromaOptions.of(given)
    assert said in str(caught.value)


def test_options_are_read_without_torch():
    import subprocess
    import sys

    code = "import sys, aroma.model.aroma.options; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
