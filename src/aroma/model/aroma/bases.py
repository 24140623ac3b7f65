"""Base language models: opened from a directory of real weights, or made on the spot, tiny and random."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from aroma.errors import ModelError
from aroma.model.aroma.options import TINY, AromaOptions
from aroma.model.aroma.tokens import TINY_CONTEXT
from aroma.model.embeddings.devices import quiet_loading
from aroma.retrieval.columns import file_sha256

try:
    import torch
    from torch import nn
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen3Config
except ModuleNotFoundError as error:
    raise ModelError(
        f"AROMA needs the package {error.name}; install it with: pip install 'aroma-evidence[language-model]'"
    ) from error

CONFIG: Final = "config.json"
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TINY_SHAPE: Final[dict[str, Any]] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": TINY_CONTEXT,
    "tie_word_embeddings": True,
}
_ROUND: Final = 8
_ATTENTION: Final = "sdpa"


def open_base(directory: Path | str, dtype: str) -> Any:
    """Return the causal language model of a directory (``config.json`` and safetensors).

    Raises:
        ModelError: No model, one that is no causal language model, or damaged weights; pickled weights are refused.
    """
    place = Path(directory)
    check_base(place)
    quiet_loading()
    try:
        opened: Any = AutoModelForCausalLM.from_pretrained(
            str(place),
            dtype=DTYPES[dtype],
            attn_implementation=_ATTENTION,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{place}: the model does not open ({said[0]}); fetch its files anew") from error
    model, told = opened
    missing = sorted(told["missing_keys"]) + sorted(str(one) for one in told.get("mismatched_keys", ()))
    if missing:
        raise ModelError(
            f"{place}: the weights lack {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; "
            "config.json is of another model, or a safetensors file is missing; fetch its files anew"
        )
    return model


def check_base(place: Path) -> None:
    """Tell whether a directory can be a base.

    Raises:
        ModelError: It has no ``config.json`` or no safetensors.
    """
    if not (place / CONFIG).is_file():
        raise ModelError(
            f"base {place}: there is no {CONFIG}; give the directory of a language model (config.json, safetensors, "
            f"tokenizer), {' or '.join(TINY)}"
        )
    if not any(place.glob("*.safetensors")):
        other = " (pickled weights are not read; convert them)" if any(place.glob("*.bin")) else ""
        raise ModelError(f"base {place}: there are no safetensors{other}; fetch the model's files anew")


def tiny_base(name: str, tokenizer: Any, dtype: str, seed: int) -> Any:
    """Return a randomly initialised model of a real class: ``tiny`` (Qwen3), ``tiny-llama`` (Llama).

    Args:
        name: One of ``TINY``.
        tokenizer: Its vocabulary is the model's.
        dtype: Of the weights.
        seed: Of the weights.
    """
    entries = -(-len(tokenizer) // _ROUND) * _ROUND
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    shape = {**_TINY_SHAPE, **ends, "vocab_size": entries, "head_dim": 16}
    config = LlamaConfig(**shape) if name == "tiny-llama" else Qwen3Config(**shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, attn_implementation=_ATTENTION, dtype=DTYPES[dtype]
        )


def fit_vocabulary(base: Any, tokenizer: Any) -> None:
    """Give a base a row for every entry of the tokenizer, where it has fewer; new rows are the mean of the old ones.

    Qwen3 has room for the placeholders. Their own rows are never read: an interaction token stands in their place.
    """
    old = base.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= old:
        return
    base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
        if isinstance(layer, nn.Module) and isinstance(layer.weight, torch.Tensor):
            with torch.no_grad():
                layer.weight[old:] = layer.weight[:old].float().mean(0).to(layer.weight.dtype)


def base_card(options: AromaOptions) -> dict[str, Any]:
    """Return what a saved model says of its base: name, hash of its configuration, and hash of its weights.

    The hash of the weights is over the names, sizes and headers of the safetensors files, over all bytes of files up to
    64 MiB and over the last MiB of larger ones: an 8B's sixteen gigabytes are not read at each start.
    """
    if options.base in TINY:
        return {"name": options.base, "config_sha256": None, "weights_sha256": None}
    place = Path(options.base)
    check_base(place)
    return {
        "name": place.name,
        "config_sha256": config_hash(place / CONFIG),
        "weights_sha256": weights_hash(place),
    }


def config_hash(path: Path) -> str:
    """Return the sha256 of a configuration, without the entries that no weight depends on.

    Raises:
        ModelError: It is no JSON object.
    """
    try:
        said = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: is no configuration ({error}); fetch the model's files anew") from error
    kept = {key: value for key, value in said.items() if key not in _NO_SHAPE and not key.startswith("_")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


_NO_SHAPE: Final = frozenset({"transformers_version", "dtype", "torch_dtype", "use_cache"})
_SMALL: Final = 64 << 20
_HEADER: Final = 8


def weights_hash(place: Path) -> str:
    """Return the sha256 of a directory's safetensors, as ``base_card`` says."""
    told = hashlib.sha256()
    for path in sorted(place.glob("*.safetensors")):
        size = path.stat().st_size
        told.update(f"{path.name} {size}\n".encode())
        if size <= _SMALL:
            told.update(file_sha256(path).encode())
        else:
            told.update(_ends(path, size))
    return told.hexdigest()


def _ends(path: Path, size: int) -> bytes:
    """Return a file's header and its last MiB: names, shapes and places of all tensors, and some of the numbers."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_HEADER), "little")
        header = stream.read(min(length, _SMALL))
        stream.seek(max(size - (1 << 20), 0))
        return header + stream.read()


def read_config(directory: Path) -> Any:
    """Return a base's configuration.

    Raises:
        ModelError: It does not open.
    """
    check_base(directory)
    try:
        return AutoConfig.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{directory / CONFIG}: does not open ({said[0]}); fetch the model's files anew") from error
