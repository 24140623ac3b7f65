"""Gene vectors as Arc Institute's STATE loads them, and as a GenePT-style dictionary.

Sources: ``cell_load.data_modules.perturbation_dataloader`` (``perturbation_features_file``) and
``state emb preprocess --all-embeddings`` of arc-state 0.11: ``torch.load`` of a dictionary from gene name to tensor,
with ``weights_only`` as torch sets it. GenePT (Chen and Zou 2023): a dictionary from gene symbol to a list of floats,
which its authors keep as a pickle and we as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.gene_vectors import gene_embeddings
from aroma.retrieval.exports.torch_files import save_tensors, tensor


class State:
    """``torch.load(out)`` is a dictionary from gene symbol to float32 tensor."""

    name = "state"
    summary = "Gene vectors for STATE (perturbation_features_file): a .pt dictionary of tensors"
    extra: str | None = "embeddings"
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write one file of tensors."""
        found = gene_embeddings(source, options)
        rows = tensor(found.matrix)
        save_tensors(dict(zip(found.symbols.to_list(), rows.unbind(), strict=True)), out)
        source.note("STATE gives a perturbation that the file lacks (the control, too) a vector of zeros, and says so")
        return [out]


class GenePT:
    """``json.load`` gives a dictionary from gene symbol to a list of floats."""

    name = "genept"
    summary = "Gene vectors as a GenePT-style dictionary: JSON, gene symbol to list of floats"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write one JSON file, a gene a line."""
        found = gene_embeddings(source, options)
        with out.open("w", encoding="utf-8") as stream:
            separator = "{\n"
            for symbol, row in zip(found.symbols, found.matrix, strict=True):
                numbers = ", ".join(f"{number:.8g}" for number in row)
                stream.write(f"{separator}{json.dumps(symbol)}: [{numbers}]")
                separator = ",\n"
            stream.write("\n}\n" if len(found.ids) else "{}\n")
        return [out]
