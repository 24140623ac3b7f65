"""AROMA: tokens a second in stage 1, roll-outs a second, prediction; each beside the published way in the same run.

    python benchmarks/language_model.py --home HOME [--rows 16] [--prompts 8] [--samples 16] [--threads 2]
    python benchmarks/language_model.py --home HOME --eight-billion          (needs CUDA)

Prompts are the home's evidence of one perturbation and many targets, at their real length; the model has random
weights (Qwen3, its tokenizer trained on the prompts). ``--eight-billion`` takes the configuration of Qwen3-8B in
bfloat16 on a GPU and shows its largest memory too. Peers, on the same model and rows:

* stage 1: every row padded to 2048 tokens, as published;
* roll-outs: one ``generate`` a prompt (all samples of it together);
* prediction: one sampled answer a row (``--answer`` new tokens, as many as a trace has), and one full pass an answer
  without a cache.

Wall-clock and processor seconds are shown, as other work on the machine spoils the first more. A table and then one
line of JSON go to standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from aroma.errors import ModelError
from aroma.kgstore.home import Home
from aroma.kgstore.schema import Label
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.options import AromaOptions
from aroma.model.aroma.prompting import Prompter, PromptRow
from aroma.model.aroma.scoring import score_answers, score_answers_plainly
from aroma.model.aroma.settings import DEFAULTS, options_of
from aroma.model.aroma.tokens import encode_prompt, tiny_tokenizer
from aroma.model.aroma.training.options import GrpoOptions, SftOptions, TrainingRow
from aroma.model.aroma.training.rollouts import sample
from aroma.model.aroma.training.sft import train_sft
from aroma.model.ground import Ground
from aroma.model.traces.answers import completion
from aroma.model.traces.writer import write_trace
from aroma.retrieval.evidence import EvidenceStore, Pair
from aroma.retrieval.prompts import render

PUBLISHED_LENGTH = 2048
QWEN3_8B: dict[str, Any] = {
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
    "rope_theta": 1_000_000.0,
}  # fmt: skip


class Clock:
    """Wall and CPU seconds of named parts; on a GPU its work is waited for."""

    def __init__(self, device: str) -> None:
        self.device, self.parts = device, {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Run and remember."""
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        if self.device != "cpu":
            torch.cuda.synchronize()
        self.parts[name] = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{name}: {self.parts[name][0]:.1f} s", file=sys.stderr)
        return found

    def ratio(self, peer: str, ours: str) -> tuple[float, float]:
        """Return how many times faster ours was, by wall clock and by processor seconds."""
        return tuple(round(one / other, 2) for one, other in zip(self.parts[peer], self.parts[ours], strict=True))


def rows_of(ground: Ground, count: int) -> pl.DataFrame:
    """Return the rows of the perturbation with the most neighbours in gene-kg, and its first targets."""
    view, nodes = ground.snapshot.view("gene-kg"), ground.snapshot.nodes
    release = np.asarray(view.to_release)
    genes = [int(node) for node in release if nodes.labels[int(node)] == Label.GENE]
    degree = dict(zip(release.tolist(), np.diff(view.csr.indptr).tolist(), strict=True))
    busiest = sorted(genes, key=lambda node: (-degree[node], nodes.ids[node]))
    names = [nodes.symbols[node] for node in busiest[: count + 1]]
    asked = pl.DataFrame({"cell_line": "K562", "perturbation": names[0], "target": names[1:]})
    return ground.rows(asked)


def make_model(
    said: argparse.Namespace, options: AromaOptions, bank: ModalityBank, store: EvidenceStore, rows: pl.DataFrame
) -> Aroma:
    """Return a model of random weights; its tokenizer has learned from the prompts."""
    pairs = (Pair(*one) for one in rows.select("perturbation", "target", "cell_line").iter_rows())
    texts = [text for one in store.many(pairs) for text in (render(one, options.template).text, write_trace(one, 0))]
    tokenizer = tiny_tokenizer(texts, 8192)
    shape = QWEN3_8B if said.eight_billion else {
        "vocab_size": len(tokenizer), "hidden_size": said.hidden, "intermediate_size": 3 * said.hidden,
        "num_hidden_layers": said.layers, "num_attention_heads": said.hidden // 32, "num_key_value_heads":
        said.hidden // 64, "head_dim": 32, "max_position_embeddings": 8192,
    }  # fmt: skip
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    with torch.device(options.device):
        base = Qwen3ForCausalLM._from_config(  # noqa: SLF001 - the way to a dtype without float32 in between
            Qwen3Config(**shape, **ends), dtype=torch.bfloat16 if said.eight_billion else torch.float32,
            attn_implementation="sdpa",
        )  # fmt: skip
    return Aroma.around(base, tokenizer, options, bank).with_lora().to(options.device)


def stage_1(clock: Clock, aroma: Aroma, bank: ModalityBank, rows: Sequence[TrainingRow], batch: int) -> dict[str, Any]:
    """Time the same steps with rows of their own length and padded to the published one."""
    found: dict[str, Any] = {}
    lengths = [row.prompt.tokens + len(aroma.tokenizer.encode(row.completion)) for row in rows]
    for name, pad in (("stage 1, padded to 2048", PUBLISHED_LENGTH), ("stage 1", 0)):
        options = SftOptions(
            epochs=1, rows_per_step=len(rows), pad_to=pad, validation_share=0.0, tokens_per_batch=batch,
            precision="bfloat16" if clock.device != "cpu" else "float32",
            gradient_checkpointing=clock.device != "cpu",
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as place:
            run = clock.time(
                name, lambda o=options, p=place: train_sft(aroma, rows, bank, o, Path(p), lambda _what, _share: None)
            )
        found[name] = round(run.tokens_a_second, 1)
    return {"tokens_a_second": found, "mean_tokens": round(float(np.mean(lengths)), 1)}


def rollouts(clock: Clock, aroma: Aroma, bank: ModalityBank, prompts: Sequence[PromptRow], said: Any) -> dict[str, Any]:
    """Time roll-outs of all prompts together, and by one ``generate`` a prompt."""
    options = GrpoOptions(samples=said.samples, max_new_tokens=said.new_tokens, rollout_tokens=said.rollout_tokens)
    torch.manual_seed(0)
    clock.time("roll-outs", lambda: sample(aroma, prompts, bank, options))

    def one_by_one() -> None:
        for prompt in prompts:
            generate(aroma, bank, prompt, said.new_tokens, num_return_sequences=said.samples, temperature=1.2)

    clock.time("roll-outs, one generate a prompt", one_by_one)
    count = len(prompts) * said.samples
    names = ("roll-outs", "roll-outs, one generate a prompt")
    return {"rollouts_a_second": {name: round(count / clock.parts[name][0], 2) for name in names}}


def generate(aroma: Aroma, bank: ModalityBank, prompt: PromptRow, most: int, **more: Any) -> torch.Tensor:
    """Sample after one prompt as transformers does."""
    ids = torch.tensor([encode_prompt(aroma.tokenizer, prompt.text, prompt.name, aroma.options.modalities)])
    vectors = bank.batch([prompt.perturbation_gene], [prompt.target_gene])
    aroma.eval()
    return aroma.generate(
        ids, torch.ones_like(ids), vectors, do_sample=True, top_p=0.9, top_k=0, max_new_tokens=most,
        min_new_tokens=most, **more,
    )  # fmt: skip


def prediction(clock: Clock, aroma: Aroma, bank: ModalityBank, prompts: Sequence[PromptRow], said: Any) -> None:
    """Time all targets of one perturbation: scored with the shared prefix, scored plainly, sampled."""
    ours = clock.time("prediction", lambda: score_answers(aroma, prompts, bank))
    clock.time("prediction, batches", lambda: score_answers(aroma, prompts, bank, batch_tokens=said.batch_tokens))
    plain = clock.time("prediction, no cache", lambda: score_answers_plainly(aroma, prompts, bank))
    np.testing.assert_allclose(ours, plain, atol=1e-5 if clock.device == "cpu" else 5e-2)

    def sampled() -> None:
        for prompt in prompts:
            generate(aroma, bank, prompt, said.answer, temperature=0.7)

    clock.time("prediction, one sampled answer a row", sampled)


def main() -> None:
    """Run and print."""
    said = arguments()
    torch.set_num_threads(said.threads)
    device = "cuda" if said.eight_billion else "cpu"
    if said.eight_billion and not torch.cuda.is_available():
        raise ModelError("--eight-billion needs a GPU, and this PyTorch finds none (nvidia-smi, torch.version.cuda)")
    ground = Ground(Home(said.home))
    settings = {**DEFAULTS, "template": "aroma", "budget": 2048, "base": "random", "device": device}
    settings["dtype"] = "bfloat16" if said.eight_billion else "float32"
    options = options_of(settings, ground, 0)
    bank, store, asked = ModalityBank.open(ground, options), EvidenceStore(ground.home), rows_of(ground, said.rows)
    aroma = make_model(said, options, bank, store, asked)
    prompts = Prompter(store, aroma.tokenizer, options, context=aroma.context).rows(asked)
    pairs = [Pair(*one) for one in asked.select("perturbation", "target", "cell_line").iter_rows()]
    told = [completion(write_trace(one, place % 3), place % 3) for place, one in enumerate(store.many(pairs))]
    rows = [
        TrainingRow(prompt, text, place % 3) for place, (prompt, text) in enumerate(zip(prompts, told, strict=True))
    ]
    clock = Clock(device)
    generate(aroma, bank, prompts[0], 2)  # what is done once does not count
    prediction(clock, aroma, bank, prompts, said)
    speed = rollouts(clock, aroma, bank, prompts[: said.prompts], said)
    trained = stage_1(clock, aroma, bank, rows, said.batch_tokens)
    ratios = {
        "stage 1": clock.ratio("stage 1, padded to 2048", "stage 1"),
        "roll-outs": clock.ratio("roll-outs, one generate a prompt", "roll-outs"),
        "prediction": clock.ratio("prediction, one sampled answer a row", "prediction"),
        "prediction against no cache": clock.ratio("prediction, no cache", "prediction"),
    }
    for name, (wall, cpu) in clock.parts.items():
        print(f"{name:42s} {wall:9.2f} s {cpu:9.2f} s CPU")
    for name, (wall, cpu) in ratios.items():
        print(f"{name:42s} {wall:9.1f} times, by CPU seconds {cpu:.1f}")
    memory = {"gpu_gib": torch.cuda.max_memory_allocated() / 2**30} if device == "cuda" else {}
    sizes = {"parameters": sum(one.numel() for one in aroma.parameters()), "rows": len(rows), "device": device}
    prompt_tokens = float(np.mean([prompt.tokens for prompt in prompts]))
    print(json.dumps({**sizes, "prompt_tokens": prompt_tokens, **speed, **trained, **memory, "ratios": ratios,
                      "seconds": clock.parts}))  # fmt: skip


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="home with a published release and graph vectors")
    for name, value, text in (
        ("rows", 16, "targets of the perturbation"),
        ("prompts", 8, "prompts of the roll-outs"),
        ("samples", 16, "completions a prompt, as published"),
        ("new-tokens", 64, "tokens of a roll-out"),
        ("answer", 250, "tokens of a sampled answer, about those of a trace"),
        ("rollout-tokens", 131072, "tokens of roll-outs at once"),
        ("batch-tokens", 8192, "tokens of a training or scoring batch"),
        ("layers", 4, "of the small model"),
        ("hidden", 192, "of the small model"),
        ("threads", 2, "of torch"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=text)
    parser.add_argument("--eight-billion", action="store_true", help="configuration of Qwen3-8B; needs CUDA")
    return parser.parse_args()


if __name__ == "__main__":
    main()
