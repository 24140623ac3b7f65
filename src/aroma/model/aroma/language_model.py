"""AROMA: a causal language model whose placeholders stand for what encoders know of the two genes.

At each placeholder the interaction token of its modality takes the place of the token's embedding (equation 8 of the
paper); all else is the language model's own. So any family of ``transformers`` serves that takes input embeddings.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self, cast

from aroma.errors import ModelError
from aroma.model.aroma.bases import fit_vocabulary, open_base, tiny_base
from aroma.model.aroma.modalities import ModalityBank, ModalityBatch
from aroma.model.aroma.options import MODALITIES, TINY, AromaOptions
from aroma.model.aroma.tokens import open_tokenizer, placeholder_ids, placeholder_positions, tiny_tokenizer
from aroma.model.embeddings.devices import open_device
from aroma.retrieval.prompts import list_templates, read_template

try:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from torch import Tensor, nn
    from transformers import PreTrainedModel
except ModuleNotFoundError as error:
    raise ModelError(
        f"AROMA needs the package {error.name}; install it with: pip install 'aroma-evidence[language-model]'"
    ) from error

from aroma.model.aroma.interaction import InteractionTokens

LINEAR: Final = "all-linear"
_SAMPLE: Final = 4096
"""Rows of the token embeddings whose size is measured."""


class Aroma(nn.Module):
    """A language model with interaction tokens.

    Args:
        base: Causal language model of ``transformers``, or a ``PeftModel`` over one.
        tokenizer: With the placeholders added.
        interaction: Makes the interaction tokens; None where ``options.modalities`` is empty.
        options: What was chosen.

    Attributes:
        base: The language model; its own weights are frozen unless a caller thaws them.
        tokenizer: Of the base, with the placeholders, padding on the left.
        interaction: The interaction modules, float32.
        options: What was chosen.
    """

    def __init__(self, base: Any, tokenizer: Any, interaction: InteractionTokens | None, options: AromaOptions) -> None:
        super().__init__()
        self.base, self.tokenizer, self.interaction, self.options = base, tokenizer, interaction, options
        self._placeholders = placeholder_ids(tokenizer, options.modalities)

    @classmethod
    def make(
        cls,
        options: AromaOptions,
        bank: ModalityBank,
        *,
        texts_for_tiny_tokenizer: Sequence[str] = (),
        lora: bool = True,
    ) -> Self:
        """Return a new model: the base opened or made, interaction modules and adapter at their random start.

        Args:
            options: What is chosen; ``lora_rank`` 0 makes no adapter.
            bank: Its dimensions are those of the interaction modules.
            texts_for_tiny_tokenizer: What the tokenizer of a tiny base learns from; the templates' own texts are added.
            lora: False makes no adapter yet (see ``with_lora``).

        Raises:
            ModelError: The base does not open, or the device is not there.
        """
        device = open_device(options.device)  # said before a long look at weights
        if options.base in TINY:
            templates = [read_template(name) for name in list_templates()]
            tokenizer = tiny_tokenizer([*templates, *texts_for_tiny_tokenizer])
            base = tiny_base(options.base, tokenizer, options.dtype, options.seed)
        else:
            base, tokenizer = open_base(options.base, options.dtype), open_tokenizer(options.base)
        made = cls.around(base, tokenizer, options, bank)
        if lora and options.lora_rank:
            made.with_lora()
        return made.to(device)

    @classmethod
    def around(cls, base: Any, tokenizer: Any, options: AromaOptions, bank: ModalityBank) -> Self:
        """Return a model over an opened base, its weights frozen; interaction modules at their random start."""
        fit_vocabulary(base, tokenizer)
        base.requires_grad_(requires_grad=False)
        base.config.use_cache = True
        table = base.get_input_embeddings().weight
        scale = float(table[:_SAMPLE].detach().float().pow(2).mean().sqrt())
        interaction = (
            InteractionTokens(
                {name: bank.dims[name] for name in options.modalities},
                table.shape[1],
                options.interaction,
                width=options.interaction_dim,
                heads=options.heads,
                hops=bank.hops,
                token_scale=scale,
                seed=options.seed,
            )
            if options.modalities
            else None
        )
        return cls(base, tokenizer, interaction, options)

    def with_lora(self) -> Self:
        """Put a new adapter on all linear layers of the base (rank, alpha, dropout of the options); return this model.

        Raises:
            ModelError: There is an adapter already.
        """
        if isinstance(self.base, PeftModel):
            raise ModelError("the model has an adapter already; train that one, or load the model without it")
        options = self.options
        config = LoraConfig(
            r=options.lora_rank,
            lora_alpha=options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules=LINEAR,
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft's use of transformers
            torch.manual_seed(options.seed)
            self.base = get_peft_model(self.base, config)
        return self

    @property
    def language_model(self) -> PreTrainedModel:
        """The base without its adapter's wrapper."""
        return cast("PreTrainedModel", self.base.get_base_model() if isinstance(self.base, PeftModel) else self.base)

    @property
    def device(self) -> torch.device:
        """Where the token embeddings are."""
        return cast("Tensor", self.language_model.get_input_embeddings().weight).device

    @property
    def context(self) -> int:
        """Most tokens that the base reads, prompt and answer together."""
        return int(self.language_model.config.get_text_config().max_position_embeddings)

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of all that is trained: interaction modules, adapter, and what a caller thawed."""
        return ((name, one) for name, one in self.named_parameters() if one.requires_grad)

    def embed(
        self, input_ids: Tensor, modalities: Mapping[str, ModalityBatch], *, names: Sequence[str] | None = None
    ) -> Tensor:
        """Return (B, L, H) token embeddings in the base's dtype, each placeholder replaced by its interaction token.

        Args:
            input_ids: int64 (B, L), on any device.
            modalities: Of the same B pairs, on any device; ignored where the model has no modality.
            names: Of the rows, for messages; else their numbers.

        Raises:
            ModelError: A row lacks a placeholder or has one twice, or the batches are of other pairs.
        """
        ids = input_ids.to(self.device)
        embedded: Tensor = self.language_model.get_input_embeddings()(ids)
        at = self.positions(ids, names)
        if self.interaction is None:
            return embedded
        sizes = {name: len(batch) for name, batch in modalities.items() if len(batch) != len(ids)}
        if sizes:
            raise ModelError(f"{len(ids)} rows of tokens, and vectors of {sizes} pairs; give one pair a row")
        tokens = self.interaction({name: batch.to(self.device) for name, batch in modalities.items()})
        rows = torch.arange(len(ids), device=self.device)[:, None]
        return embedded.index_put((rows, at), tokens.to(embedded.dtype))

    def positions(self, ids: Tensor, names: Sequence[str] | None = None) -> Tensor:
        """Return int64 (B, modalities): where each row's placeholders stand.

        Raises:
            ModelError: A row lacks one or has one twice; the first such row is named.
        """
        wanted = torch.tensor(self._placeholders, device=ids.device, dtype=ids.dtype)
        held = ids[:, None, :] == wanted[None, :, None]
        strange = torch.tensor(placeholder_ids(self.tokenizer, self._others()), device=ids.device, dtype=ids.dtype)
        bad = (held.sum(-1) != 1).any(1) | torch.isin(ids, strange).any(1)
        if bool(bad.any()):
            row = int(bad.int().argmax())
            name = names[row] if names is not None else f"row {row + 1} of {len(ids)}"
            placeholder_positions(ids[row].tolist(), name, self.tokenizer, self.options.modalities)
        return held.int().argmax(-1)

    def _others(self) -> tuple[str, ...]:
        return tuple(name for name in MODALITIES if name not in self.options.modalities)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        modalities: Mapping[str, ModalityBatch] | None = None,
        labels: Tensor | None = None,
        **more: Any,
    ) -> Any:
        """Return the base's output: ``logits`` (B, L, vocabulary), and ``loss`` where labels are given.

        Args:
            input_ids: int64 (B, L); padding on either side.
            attention_mask: int64 or bool (B, L), 0 at padding; None: there is none.
            modalities: ``ModalityBank.batch`` of the same pairs.
            labels: int64 (B, L), -100 where no loss is taken.
            **more: Handed to the base: ``use_cache``, ``logits_to_keep``, ….

        Raises:
            ModelError: See ``embed``; or a row is longer than the model reads.
        """
        names = more.pop("names", None)
        self._check_length(attention_mask, input_ids, names)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = mask.to(self.device)
        more.setdefault("position_ids", positions_of(mask))
        return self.base(
            inputs_embeds=self.embed(input_ids, modalities or {}, names=names),
            attention_mask=mask,
            labels=None if labels is None else labels.to(self.device),
            **more,
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        modalities: Mapping[str, ModalityBatch],
        **generation: Any,
    ) -> Tensor:
        """Return int64 (B·n, new tokens): what the model writes after each prompt; padding after the end token.

        Args:
            input_ids: int64 (B, L), padded on the left.
            attention_mask: int64 (B, L), 0 at padding.
            modalities: ``ModalityBank.batch`` of the same pairs.
            **generation: Of ``transformers``: ``max_new_tokens``, ``do_sample``, ``temperature``,
                ``num_return_sequences`` (the rows of one prompt stand together), …. No placeholder is ever written.

        Raises:
            ModelError: See ``embed``; or prompt and new tokens are more than the model reads, or the padding is on the
                right.
        """
        names = generation.pop("names", None)
        self._check_length(attention_mask, input_ids, names, int(generation.get("max_new_tokens") or 0))
        mask = attention_mask.to(self.device)
        if not bool(mask[:, -1].all()):
            raise ModelError("prompts are padded on the right; pad on the left (tokenizer.padding_side) to generate")
        taken = list(generation.pop("suppress_tokens", None) or [])
        found: Tensor = self.base.generate(
            inputs_embeds=self.embed(input_ids, modalities, names=names),
            attention_mask=mask,
            suppress_tokens=sorted({*taken, *placeholder_ids(self.tokenizer)}),
            pad_token_id=self.tokenizer.pad_token_id,
            **{"eos_token_id": self.tokenizer.eos_token_id, **generation},
        )
        return found

    def _check_length(self, mask: Tensor | None, ids: Tensor, names: Sequence[str] | None, more: int = 0) -> None:
        lengths = torch.full((len(ids),), ids.shape[1]) if mask is None else mask.sum(1)
        if len(ids) and int(lengths.max()) + more > self.context:
            row = int(lengths.argmax())
            name = names[row] if names is not None else f"row {row + 1} of {len(ids)}"
            answer = f" and {more:,} for the answer" if more else ""
            raise ModelError(
                f"{name}: {int(lengths[row]):,} tokens{answer}, and the model reads {self.context:,}; give a smaller "
                "budget, a shorter answer, or a base with a longer context"
            )


def positions_of(attention_mask: Tensor) -> Tensor:
    """Return int64 (B, L): each token's position among its row's tokens, wherever padding stands."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
