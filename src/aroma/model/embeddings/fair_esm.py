"""ESM-2 checkpoints of the fair-esm package (``.pt``) as transformers' ``EsmModel``.

A checkpoint is what ``torch.save`` wrote: ``{"model": tensors by name, "cfg": {"model": argparse.Namespace}, …}``
(https://github.com/facebookresearch/esm, esm/pretrained.py). It is opened with ``weights_only=True``, so no code in it
runs; the one class that it may hold beside tensors is ``argparse.Namespace``.
"""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aroma.errors import ModelError
from aroma.model.embeddings.esm_config import EsmShape, esm_config

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import EsmModel

_PREFIX: Final = re.compile(r"^(?:encoder\.sentence_encoder\.|encoder\.)")
_LAYER: Final = re.compile(r"^layers\.(\d+)\.(.+)$")
_PARTS: Final = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "LayerNorm",
}
"""fair-esm's name of a part of a layer, and transformers'."""
_WHOLE: Final = {
    "embed_tokens.weight": "embeddings.word_embeddings.weight",
    "emb_layer_norm_after.weight": "encoder.emb_layer_norm_after.weight",
    "emb_layer_norm_after.bias": "encoder.emb_layer_norm_after.bias",
    "layers.0.self_attn.rot_emb.inv_freq": "rotary_embeddings.inv_freq",
}
_NEEDED: Final = "embed_tokens.weight"


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], EsmShape]:
    """Open a checkpoint, mapped, and return its tensors by fair-esm's names, without prefixes, and its shape.

    Raises:
        ModelError: The file cannot be read, holds more than weights, or is no ESM-2 checkpoint.
    """
    import torch

    try:
        with torch.serialization.safe_globals([Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{path}: cannot be opened as a fair-esm checkpoint ({first}); give the .pt file as it was downloaded"
        ) from error
    if not isinstance(found, Mapping) or not isinstance(found.get("model"), Mapping):
        raise ModelError(f"{path}: has no 'model' with weights; expected a checkpoint of the fair-esm package")
    tensors = {_PREFIX.sub("", name): tensor for name, tensor in found["model"].items()}
    return tensors, _shape(path, tensors, found.get("cfg"))


def convert_checkpoint(path: Path) -> EsmModel:
    """Return the model of a fair-esm checkpoint, float32 or as stored, on the CPU, ready for inference.

    Raises:
        ModelError: As ``read_checkpoint``; or a weight is missing or of another size.
    """
    import torch
    from transformers import EsmModel

    tensors, shape = read_checkpoint(path)
    with torch.device("meta"):
        model = EsmModel(esm_config(shape), add_pooling_layer=False)
    wanted = dict(model.named_parameters()) | {name: buffer for name, buffer in model.named_buffers() if "inv_" in name}
    renamed = {new: tensor for name, tensor in tensors.items() if (new := _renamed(name)) is not None}
    for name, place in wanted.items():
        if name.startswith("contact_head."):
            continue
        given = renamed.get(name)
        if given is None and name == "rotary_embeddings.inv_freq":
            given = _frequencies(shape)
        if given is None or given.shape != place.shape:
            size = "is missing" if given is None else f"has size {tuple(given.shape)}, expected {tuple(place.shape)}"
            raise ModelError(f"{path}: the weight {name} {size}; the checkpoint is of another architecture or damaged")
        _put(model, name, given)
    model.train(mode=False)
    return model


def _shape(path: Path, tensors: Mapping[str, Tensor], cfg: Any) -> EsmShape:
    numbers = [int(match[1]) for name in tensors if (match := _LAYER.match(name))]
    words = tensors.get(_NEEDED)
    settings = cfg.get("model") if isinstance(cfg, Mapping) else None
    heads = getattr(settings, "encoder_attention_heads", None)
    turns = tensors.get("layers.0.self_attn.rot_emb.inv_freq")
    if words is None or not numbers or (heads is None and turns is None):
        raise ModelError(
            f"{path}: is no ESM-2 checkpoint (it has no rotary attention or no embedding of tokens); "
            "ESM-1b, ESM-1v and MSA models are not read"
        )
    dim = int(words.shape[1])
    heads = int(heads) if heads is not None else dim // (2 * len(turns if turns is not None else words))
    dropout = bool(getattr(settings, "token_dropout", True))
    return EsmShape(layers=max(numbers) + 1, dim=dim, heads=heads, token_dropout=dropout)


def _renamed(name: str) -> str | None:
    """Return transformers' name of a weight; None for what inference does not need (language-model head, contacts)."""
    if name in _WHOLE:
        return _WHOLE[name]
    layer = _LAYER.match(name)
    if layer is None:
        return None
    part, _, kind = layer[2].rpartition(".")
    return f"encoder.layer.{layer[1]}.{_PARTS[part]}.{kind}" if part in _PARTS else None


def _frequencies(shape: EsmShape) -> Tensor:
    import torch

    dim = shape.dim // shape.heads
    return 1.0 / (10_000 ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))


def _put(model: EsmModel, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a parameter or buffer on the meta device."""
    import torch

    owner, _, last = name.rpartition(".")
    module = model.get_submodule(owner)
    if last in dict(module.named_parameters(recurse=False)):
        setattr(module, last, torch.nn.Parameter(tensor, requires_grad=False))
    else:
        module.register_buffer(last, tensor)
