"""Tiny ESM-2 models of the real class with every weight drawn at random, biases and normalisations too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aroma.model.embeddings.esm_config import EsmShape, esm_config

if TYPE_CHECKING:
    from transformers import EsmModel

SHAPE = EsmShape(layers=3, dim=48, heads=4)
SPEC = {"encoder": "esm2_custom", "random": 5, "shape": {"layers": 3, "dim": 48, "heads": 4}}


def tiny_esm(shape: EsmShape = SHAPE, *, seed: int = 3) -> EsmModel:
    """Return a model whose biases and normalisations are not the zeros and ones of a fresh one."""
    import torch
    from transformers import EsmModel

    torch.manual_seed(seed)
    model = EsmModel(esm_config(shape), add_pooling_layer=False)
    shake(model)
    model.train(mode=False)
    return model


def shake(model: object) -> None:
    """Add random numbers to every parameter, so that none can be left out or mixed up unnoticed."""
    import torch

    assert isinstance(model, torch.nn.Module)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


def save_tiny(directory: Path, shape: EsmShape = SHAPE, *, seed: int = 3) -> Path:
    """Save a tiny model as transformers does, and return the directory."""
    tiny_esm(shape, seed=seed).save_pretrained(directory)
    return directory
