"""The tokenizer: placeholders as special tokens, prompts as token ids, and the checks that each row gets.

A placeholder is one special token of the tokenizer. Text that a user or a provider wrote never becomes one, nor the
end of a turn: ``aroma.retrieval.prompts`` takes placeholders out of evidence, ``plain_text`` the other special tokens.
The chat markup is that of the tokenizer's own chat template.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from aroma.errors import ModelError
from aroma.model.aroma.options import MODALITIES, PLACEHOLDER_OF
from aroma.retrieval.prompts import PLACEHOLDERS

try:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
except ModuleNotFoundError as error:
    raise ModelError(
        f"AROMA needs the package {error.name}; install it with: pip install 'aroma-evidence[language-model]'"
    ) from error

QWEN_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizers cut text before merging bytes: words, single digits, signs, line ends."""
QWEN_SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_TAGS: Final = ("<think>", "</think>")
"""Tokens of Qwen3 that are whole but not special: they stay in decoded text."""
CHATML: Final = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)
TINY_VOCABULARY: Final = 2048
TINY_CONTEXT: Final = 8192
_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")


def open_tokenizer(directory: Path | str) -> Any:
    """Return the tokenizer of a model's directory, with the placeholders added and padding on the left.

    Raises:
        ModelError: There is no tokenizer there, or it is damaged.
    """
    place = Path(directory)
    if not any((place / name).is_file() for name in _FILES):
        raise ModelError(
            f"{place}: there is no tokenizer ({', '.join(_FILES)}); give a directory with config.json, safetensors "
            "and the tokenizer's files"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{place}: the tokenizer does not open ({said[0]}); fetch the model's files anew") from error
    return add_placeholders(tokenizer)


def tiny_tokenizer(texts: Iterable[str], vocabulary: int = TINY_VOCABULARY) -> Any:
    """Return a byte-level BPE tokenizer trained on ``texts``, with Qwen's special tokens, chat markup and placeholders.

    Args:
        texts: What it learns merges from; any text can be encoded, as bytes are in the vocabulary.
        vocabulary: Most entries, special tokens not counted.
    """
    made = Tokenizer(models.BPE(byte_fallback=False))
    made.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated", invert=False)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made,
        eos_token=QWEN_SPECIAL[2],
        pad_token=QWEN_SPECIAL[0],
        additional_special_tokens=[QWEN_SPECIAL[1]],
        model_max_length=TINY_CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens(list(QWEN_TAGS), special_tokens=False)
    tokenizer.chat_template = CHATML
    return add_placeholders(tokenizer)


def add_placeholders(tokenizer: Any) -> Any:
    """Make the placeholders special tokens of a tokenizer, set what batching needs, and return it; twice does no harm.

    A tokenizer without a padding token pads with its end token; padding stands on the left, as generation needs it.

    Raises:
        ModelError: The tokenizer cannot take special tokens, or has no end token.
    """
    tokenizer.add_tokens([token for token in PLACEHOLDERS if not _is_special(tokenizer, token)], special_tokens=True)
    for token in PLACEHOLDERS:
        if tokenizer.encode(token, add_special_tokens=False) != [tokenizer.convert_tokens_to_ids(token)]:
            raise ModelError(f"{type(tokenizer).__name__} does not read {token} as one token; take another tokenizer")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{type(tokenizer).__name__} has no end token (eos_token); set one in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def placeholder_ids(tokenizer: Any, modalities: Sequence[str] = MODALITIES) -> tuple[int, ...]:
    """Return the token id of each modality's placeholder."""
    return tuple(tokenizer.convert_tokens_to_ids(PLACEHOLDER_OF[name]) for name in modalities)


def placeholder_positions(
    ids: Sequence[int], row_name: str, tokenizer: Any, modalities: Sequence[str] = MODALITIES
) -> tuple[int, ...]:
    """Return where the placeholder of each modality stands in a row's token ids.

    Args:
        ids: Token ids of one row.
        row_name: Names the row in messages.
        tokenizer: With the placeholders added.
        modalities: Those whose placeholders must be there.

    Raises:
        ModelError: A placeholder is missing, stands there twice, or is of a modality that the model has not; the
            message names the row.
    """
    found = []
    row = list(ids)
    for name, token in PLACEHOLDER_OF.items():
        times = row.count(tokenizer.convert_tokens_to_ids(token))
        wanted = int(name in modalities)
        if times != wanted:
            raise ModelError(_wrong_count(row_name, name, token, times, wanted, len(row)))
        if wanted:
            found.append((modalities.index(name), row.index(tokenizer.convert_tokens_to_ids(token))))
    return tuple(position for _, position in sorted(found))


def _wrong_count(row_name: str, modality: str, token: str, times: int, wanted: int, length: int) -> str:
    if not wanted:
        return f"{row_name}: the prompt has {token}, and this model has no modality {modality}; make the prompt anew"
    if not times:
        return (
            f"{row_name}: {token} ({modality}) is missing from its {length} tokens; the template lacks it, or the "
            "prompt was cut off: never truncate a prompt, give it a budget"
        )
    return f"{row_name}: {token} ({modality}) stands {times} times in the prompt; the template must have it once"


def encode_prompt(
    tokenizer: Any, text: str, row_name: str = "prompt", modalities: Sequence[str] = MODALITIES
) -> list[int]:
    """Return the token ids of a prompt made by a ``Prompter``, checked for its placeholders.

    Raises:
        ModelError: See ``placeholder_positions``.
    """
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    placeholder_positions(ids, row_name, tokenizer, modalities)
    return ids


def plain_text(tokenizer: Any, text: str) -> str:
    """Return ``text`` without the tokenizer's special tokens, placeholders excepted: their signs are taken off.

    ``<|im_end|>`` in a gene's name becomes ``im_end``: it cannot end the user's turn.
    """
    held = {one.content for one in tokenizer.added_tokens_decoder.values() if one.special} - set(PLACEHOLDERS)
    for token in sorted(held, key=len, reverse=True):
        if token in text:
            text = text.replace(token, re.sub(r"[<>|\[\]/]", "", token))
    return text


def wrap_chat(tokenizer: Any, text: str) -> str:
    """Return a prompt as the user's turn of the tokenizer's chat template; without one, after its start token."""
    if not tokenizer.chat_template:
        return f"{tokenizer.bos_token or ''}{text}"
    message = [{"role": "user", "content": text}]
    said: str = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return said


def _is_special(tokenizer: Any, token: str) -> bool:
    held = tokenizer.added_tokens_decoder.get(tokenizer.convert_tokens_to_ids(token))
    return held is not None and held.content == token and held.special
