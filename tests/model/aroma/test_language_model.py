"""The model: embeddings at the placeholders, padding that changes nothing, real classes with real weights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from aroma.errors import ModelError
from aroma.model.aroma.bases import base_card, open_base
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.prompting import Prompter
from aroma.model.aroma.tokens import open_tokenizer, placeholder_ids, tiny_tokenizer
from tests.support.planted import planted
from tests.support.tiny_aroma import batch_of, make_tiny, options_of, padded, shaken


@pytest.fixture(scope="module")
def rows(aroma_ground, aroma_store, tiny_model):
    frame = aroma_ground.rows(planted().gather_every(397).head(5))
    made = Prompter(aroma_store, tiny_model.tokenizer, tiny_model.options, context=tiny_model.context).rows(frame)
    assert len({row.tokens for row in made}) > 1
    return made


@pytest.fixture(scope="module", params=["attention", "gated", "paper"])
def model(request, bank):
    return make_tiny(options_of(interaction=request.param), bank)


@pytest.fixture(scope="module", params=["tiny", "tiny-llama"])
def directory(request, tmp_path_factory):
    """A directory as a released model's: configuration, safetensors, tokenizer without our placeholders."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    place = tmp_path_factory.mktemp("base") / request.param
    tokenizer = tiny_tokenizer(["RPL11 changes TP53 in K562"] * 2)
    entries = min(placeholder_ids(tokenizer))  # as a released model that knows nothing of the placeholders
    sizes = {
        "vocab_size": entries, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 4096,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(0)
    if request.param == "tiny":
        base = Qwen3ForCausalLM(Qwen3Config(tie_word_embeddings=False, **sizes))
    else:
        base = LlamaForCausalLM(LlamaConfig(**sizes))
    base.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_placeholders_are_replaced_and_nothing_else_is(tiny_model, bank, rows):
    ids, _ = padded(tiny_model.tokenizer, rows)
    batches = batch_of(bank, rows)
    with torch.no_grad():
        found = tiny_model.embed(ids, batches)
        plain = tiny_model.language_model.get_input_embeddings()(ids)
        tokens = tiny_model.interaction(batches)
    changed = (found != plain).any(-1)
    expected = torch.isin(ids, torch.tensor(placeholder_ids(tiny_model.tokenizer)))
    assert torch.equal(changed, expected)
    for place in range(len(rows)):
        at = tiny_model.positions(ids)[place]
        assert torch.equal(found[place, at], tokens[place])
        assert ids[place, at].tolist() == list(placeholder_ids(tiny_model.tokenizer))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_gives_the_answers_of_single_rows(model, bank, rows, side):
    ids, mask = padded(model.tokenizer, rows, side)
    with torch.no_grad():
        together = model(ids, mask, batch_of(bank, rows)).logits
        for place, row in enumerate(rows):
            one, _ = padded(model.tokenizer, [row])
            alone = model(one, None, batch_of(bank, [row])).logits[0]
            torch.testing.assert_close(together[place][mask[place].bool()], alone, atol=2e-4, rtol=1e-3)


def test_swapping_perturbation_and_target_changes_the_answer(tiny_model, bank, rows):
    ids, mask = padded(tiny_model.tokenizer, rows)
    batches = batch_of(bank, rows)
    turned = {name: one.swapped() for name, one in batches.items()}
    with torch.no_grad():
        one, other = tiny_model(ids, mask, batches).logits, tiny_model(ids, mask, turned).logits
    both = torch.stack([one.present for one in batches.values()]).any(0)
    assert both.any()
    last = (one[:, -1] - other[:, -1]).abs().amax(-1)
    assert (last[both] > 1e-4).all()


@pytest.mark.parametrize("interaction", ["attention", "gated"])
def test_everything_trained_gets_a_gradient_through_the_language_model(bank, rows, interaction, aroma_ground):
    aroma = shaken(Aroma.make(options_of(interaction=interaction, lora_dropout=0.0), bank)).train()
    ids, mask = padded(aroma.tokenizer, rows)
    genes = [row.perturbation_gene for row in rows], [row.target_gene for row in rows]
    genes[0][0] = genes[1][1] = genes[0][2] = genes[1][2] = None
    labels = ids.masked_fill(mask == 0, -100)
    aroma(ids, mask, bank.batch(*genes), labels=labels).loss.backward()
    parameters = dict(aroma.trainable_parameters())
    assert any("lora_" in name for name in parameters)
    assert any(name.startswith("interaction.") for name in parameters)
    assert not any("embed_tokens" in name or "base_layer" in name for name in parameters)
    assert [name for name, one in parameters.items() if one.grad is None or not one.grad.abs().max() > 0] == []


def test_the_adapter_is_on_all_linear_layers_but_the_head(tiny_model):
    names = [name for name, _ in tiny_model.named_parameters() if "lora_" in name]
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    with pytest.raises(ModelError, match="has an adapter already"):
        tiny_model.with_lora()


def test_without_an_adapter_the_interaction_modules_alone_are_trained(bank):
    aroma = Aroma.make(options_of(lora_rank=0), bank)
    assert all(name.startswith("interaction.") for name, _ in aroma.trainable_parameters())


def test_generation_is_that_of_single_rows_and_never_writes_a_placeholder(tiny_model, bank, rows):
    ids, mask = padded(tiny_model.tokenizer, rows)
    told = {"max_new_tokens": 6, "do_sample": False}
    found = tiny_model.generate(ids, mask, batch_of(bank, rows), **told)
    assert found.shape[0] == len(rows)
    assert not torch.isin(found, torch.tensor(placeholder_ids(tiny_model.tokenizer))).any()
    one, alone = padded(tiny_model.tokenizer, rows[1:2])
    assert tiny_model.generate(one, alone, batch_of(bank, rows[1:2]), **told)[0].tolist() == found[1].tolist()
    with torch.no_grad():  # greedy generation agrees with the forward pass
        logits = tiny_model(one, None, batch_of(bank, rows[1:2])).logits[0, -1]
    logits[list(placeholder_ids(tiny_model.tokenizer))] = -torch.inf
    assert int(logits.argmax()) == int(found[1, 0])


def test_several_samples_of_a_prompt_stand_together(tiny_model, bank, rows):
    ids, mask = padded(tiny_model.tokenizer, rows[:2])
    told = {"max_new_tokens": 4, "do_sample": True, "num_return_sequences": 3, "temperature": 1.2, "top_p": 0.9}
    torch.manual_seed(0)
    found = tiny_model.generate(ids, mask, batch_of(bank, rows[:2]), **told)
    assert found.shape == (6, 4)
    torch.manual_seed(0)
    assert torch.equal(found, tiny_model.generate(ids, mask, batch_of(bank, rows[:2]), **told))


def test_rows_that_do_not_fit_are_named(tiny_model, bank, rows):
    ids, mask = padded(tiny_model.tokenizer, rows)
    batches, names = batch_of(bank, rows), [row.name for row in rows]
    lacking = ids.clone()
    lacking[3][tiny_model.positions(ids)[3, 1]] = 5
    with pytest.raises(ModelError, match=f"{rows[3].name}: <Path-KG_EMB>"):
        tiny_model(lacking, mask, batches, names=names)
    with pytest.raises(ModelError, match=f"row 4 of {len(rows)}: <Path-KG_EMB>"):
        tiny_model.embed(lacking, batches)
    with pytest.raises(ModelError, match=f"{len(rows)} rows of tokens, and vectors of .*protein.*: 2"):
        tiny_model(ids, mask, batch_of(bank, rows[:2]))
    longest = max(rows, key=lambda row: row.tokens)
    answer = tiny_model.context - longest.tokens + 1
    with pytest.raises(ModelError, match=f"{longest.name}: {longest.tokens:,} tokens and {answer:,} for the answer"):
        tiny_model.generate(ids, mask, batches, max_new_tokens=answer, names=names)
    long = torch.cat([torch.full((1, tiny_model.context), 5), ids[:1]], dim=1)
    with pytest.raises(ModelError, match=f"row 1 of 1: .* the model reads {tiny_model.context:,}"):
        tiny_model(long, None, batch_of(bank, rows[:1]))
    right = padded(tiny_model.tokenizer, rows, "right")
    with pytest.raises(ModelError, match="padded on the right"):
        tiny_model.generate(*right, batches)


def test_a_model_without_modalities_reads_text_alone(aroma_ground, aroma_store, rows):
    options = options_of(modalities=())
    bank = ModalityBank.open(aroma_ground, options)
    aroma = make_tiny(options, bank)
    frame = aroma_ground.rows(planted().gather_every(397).head(5))
    made = Prompter(aroma_store, aroma.tokenizer, options).rows(frame)
    ids, mask = padded_text(aroma, made)
    with torch.no_grad():
        found = aroma(ids, mask, bank.batch([None] * len(made), [None] * len(made))).logits
    assert found.shape[:2] == ids.shape
    with pytest.raises(ModelError, match="this model has no modality protein"):
        aroma.embed(torch.tensor([aroma.tokenizer.encode(rows[0].text)]), {})


def padded_text(aroma, rows):
    encoded = aroma.tokenizer([row.text for row in rows], padding=True, return_tensors="pt", add_special_tokens=False)
    return encoded["input_ids"], encoded["attention_mask"]


def test_a_model_opens_from_a_directory(directory, bank, aroma_ground, aroma_store):
    options = options_of(base=str(directory))
    aroma = make_tiny(options, bank)
    family = {"tiny": "Qwen3ForCausalLM", "tiny-llama": "LlamaForCausalLM"}[directory.name]
    assert type(aroma.language_model).__name__ == family
    assert aroma.language_model.get_input_embeddings().weight.shape[0] == len(aroma.tokenizer)
    assert aroma.language_model.config._attn_implementation == "sdpa"
    frame = aroma_ground.rows(planted().gather_every(397).head(3))
    made = Prompter(aroma_store, aroma.tokenizer, options, context=aroma.context).rows(frame)
    assert all(row.problem is None for row in made)
    ids, mask = padded(aroma.tokenizer, made)
    with torch.no_grad():
        together = aroma(ids, mask, batch_of(bank, made)).logits
        one, _ = padded(aroma.tokenizer, made[1:2])
        alone = aroma(one, None, batch_of(bank, made[1:2])).logits
    torch.testing.assert_close(together[1][mask[1].bool()], alone[0], atol=2e-4, rtol=1e-3)
    assert aroma.generate(ids, mask, batch_of(bank, made), max_new_tokens=3, do_sample=False).shape == (3, 3)


def test_new_rows_of_the_vocabulary_are_the_mean_and_the_old_ones_stay(directory, bank):
    weights = open_base(directory, "float32").get_input_embeddings().weight
    aroma = Aroma.make(options_of(base=str(directory)), bank)
    grown = aroma.language_model.get_input_embeddings().weight
    assert torch.equal(grown[: len(weights)], weights)
    torch.testing.assert_close(grown[len(weights) :], weights.mean(0).expand(len(grown) - len(weights), -1))


def test_bfloat16_bases_have_float32_modules(directory, bank, aroma_ground, aroma_store):
    options = options_of(base=str(directory), dtype="bfloat16")
    aroma = make_tiny(options, bank)
    assert aroma.language_model.get_input_embeddings().weight.dtype == torch.bfloat16
    assert {one.dtype for name, one in aroma.trainable_parameters()} == {torch.float32}
    frame = aroma_ground.rows(planted().head(2))
    made = Prompter(aroma_store, aroma.tokenizer, options).rows(frame)
    ids, mask = padded(aroma.tokenizer, made)
    found = aroma(ids, mask, batch_of(bank, made), labels=ids)
    assert found.logits.dtype == torch.bfloat16
    assert found.loss.isfinite()
    found.loss.backward()


def test_weights_are_the_same_for_the_same_seed(bank):
    one, other, third = (Aroma.make(options_of(seed=seed), bank) for seed in (3, 3, 4))
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), third.parameters(), strict=True))


def test_directories_that_are_no_model_are_named(tmp_path, directory, bank):
    import shutil

    with pytest.raises(ModelError, match="there is no config.json"):
        Aroma.make(options_of(base=str(tmp_path)), bank)
    place = tmp_path / "copy"
    shutil.copytree(directory, place)
    weights = place / "model.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    with pytest.raises(ModelError, match="there are no safetensors"):
        Aroma.make(options_of(base=str(place)), bank)
    (place / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="pickled weights are not read"):
        Aroma.make(options_of(base=str(place)), bank)
    weights.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(ModelError, match="does not open"):
        Aroma.make(options_of(base=str(place)), bank)
    lose_a_tensor(weights, kept)
    with pytest.raises(ModelError, match="the weights lack model.layers.1.mlp.up_proj.weight"):
        Aroma.make(options_of(base=str(place)), bank)
    weights.write_bytes(kept)
    for path in place.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="there is no tokenizer"):
        open_tokenizer(place)
    (place / "config.json").write_text('{"model_type": "nosuch"}')
    with pytest.raises(ModelError, match="does not open"):
        open_base(place, "float32")
    with pytest.raises(ModelError, match="device 'cuda:9'"):
        Aroma.make(options_of(device="cuda:9"), bank)


def lose_a_tensor(path, kept):
    from safetensors.torch import load, save_file

    tensors = load(kept)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def test_the_card_of_a_base_tells_bases_apart(directory, tmp_path):
    import shutil

    card = base_card(options_of(base=str(directory)))
    assert card["name"] == directory.name
    place = tmp_path / directory.name
    shutil.copytree(directory, place)
    assert base_card(options_of(base=str(place))) == card
    weights = bytearray((place / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (place / "model.safetensors").write_bytes(bytes(weights))
    assert base_card(options_of(base=str(place)))["weights_sha256"] != card["weights_sha256"]
