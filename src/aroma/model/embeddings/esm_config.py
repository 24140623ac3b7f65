"""The published sizes of ESM-2 and its alphabet.

Sizes: Lin et al. 2023, https://doi.org/10.1126/science.ade2574, table S1; alphabet: ``proteinseq_toks`` of the fair-esm
package between its special tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from transformers import EsmConfig

CUSTOM: Final = "esm2_custom"
"""Name of a model whose shape is none of the published ones."""
LETTERS: Final = "LAGVSERTIDPKQNFYMHWCXBUZO"
"""One-letter codes of the alphabet; ``LETTERS[i]`` is token ``FIRST_LETTER + i``."""
CLS, PAD, EOS, FIRST_LETTER, MASK, VOCABULARY = 0, 1, 2, 4, 32, 33
TOKENS: Final = ("<cls>", "<pad>", "<eos>", "<unk>", *LETTERS, ".", "-", "<null_1>", "<mask>")
TRAINED_WINDOW: Final = 1022
"""Residues in a training example; with the two special tokens 1024."""


@dataclass(frozen=True, slots=True)
class EsmShape:
    """Size of an ESM-2 model; the feed-forward layers have ``4 * dim`` numbers."""

    layers: int
    dim: int
    heads: int
    token_dropout: bool = True

    @property
    def parameters(self) -> int:
        """Weights that inference multiplies with, embeddings left out."""
        return self.layers * (12 * self.dim * self.dim + 13 * self.dim)

    def flops(self, tokens: int, length: int) -> float:
        """Return the floating-point operations of ``tokens`` tokens in sequences of ``length`` tokens each.

        Two a weight and token for the products with weights, and two products of queries, keys and values.
        """
        return tokens * self.layers * (24.0 * self.dim * self.dim + 4.0 * length * self.dim)


PUBLISHED: Final = {
    "esm2_t6_8M_UR50D": EsmShape(6, 320, 20),
    "esm2_t12_35M_UR50D": EsmShape(12, 480, 20),
    "esm2_t30_150M_UR50D": EsmShape(30, 640, 20),
    "esm2_t33_650M_UR50D": EsmShape(33, 1280, 20),
    "esm2_t36_3B_UR50D": EsmShape(36, 2560, 40),
    "esm2_t48_15B_UR50D": EsmShape(48, 5120, 40),
}
"""Every published ESM-2, by its name at the hub (``facebook/<name>``) and in fair-esm."""


def esm_config(shape: EsmShape) -> EsmConfig:
    """Return transformers' configuration of an ESM-2 of this shape, as the published ones have it."""
    from transformers import EsmConfig

    return EsmConfig(
        vocab_size=VOCABULARY,
        mask_token_id=MASK,
        pad_token_id=PAD,
        bos_token_id=CLS,
        eos_token_id=EOS,
        hidden_size=shape.dim,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.dim,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=TRAINED_WINDOW + 4,
        layer_norm_eps=1e-5,
        position_embedding_type="rotary",
        emb_layer_norm_before=False,
        token_dropout=shape.token_dropout,
    )
