"""Counting tokens with a model's own tokenizer (``tokenizer.json``), where the estimate is not exact enough."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from aroma.errors import InputFileError, UsageError
from aroma.retrieval.prompts import TokenCount, counter_of, estimate_tokens

_FILE: Final = "tokenizer.json"


@lru_cache(maxsize=2)
def open_counter(tokenizer: Path | None) -> TokenCount:
    """Return what counts tokens.

    Args:
        tokenizer: A ``tokenizer.json`` (Hugging Face tokenizers), or the model's directory that holds one; None for
            the built-in estimate.

    Raises:
        InputFileError: No such file, or it is no tokenizer.
        UsageError: The package ``tokenizers`` is not installed.
    """
    if tokenizer is None:
        return estimate_tokens
    path = tokenizer / _FILE if tokenizer.is_dir() else tokenizer
    if not path.is_file():
        raise InputFileError("there is no such file", file=path, expected=f"a {_FILE}, or a directory that holds one")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UsageError(
            "--tokenizer needs the package tokenizers; install it with: pip install 'aroma-evidence[language-model]'"
        ) from error
    try:
        opened = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises Exception itself
        raise InputFileError(f"it is no tokenizer ({error})", file=path, expected=f"a {_FILE}") from error
    return counter_of(opened)
