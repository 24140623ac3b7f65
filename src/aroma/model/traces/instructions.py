"""What a writer is asked: the question with its evidence, and rules; told the outcome (informed) or not (blind).

The paper's generator knows the outcome and explains it, so that its agreement with the outcome proves little. A blind
writer's agreement proves more; it costs several samples a row.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from aroma.errors import InputFileError, UsageError
from aroma.model.traces.answers import ANSWERS
from aroma.model.traces.endpoint import Message
from aroma.model.traces.telling import Told
from aroma.retrieval.prompts import render

INFORMED: Final = "informed"
BLIND: Final = "blind"
MODES: Final = (INFORMED, BLIND)
_SYSTEM: Final = "You are a molecular biologist who reasons from evidence and says when it is thin."


def instruction_text(mode: str, file: Path | None = None) -> str:
    """Return the template of a mode's instruction, or that of a file.

    Raises:
        UsageError: There is no such mode.
        InputFileError: The file cannot be read.
    """
    if mode not in MODES:
        raise UsageError(f"mode {mode!r}: expected {' or '.join(MODES)}")
    if file is None:
        return (files("aroma.model.traces") / "templates" / f"{mode}.txt.j2").read_text(encoding="utf-8")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"cannot be read ({error})", file=file, expected="a Jinja template, UTF-8") from error


def make_messages(told: Told, instruction: str, mode: str, template: str, budget: int | None) -> list[Message]:
    """Return the conversation that asks for one trace.

    Args:
        told: The row.
        instruction: See ``instruction_text``; it may use ``prompt``, ``query`` and, informed, ``answer``.
        mode: ``informed`` or ``blind``; a blind instruction cannot see the outcome.
        template: Of the question; placeholders of embeddings are left out.
        budget: Most tokens of the question, or None.

    Raises:
        UsageError: The instruction is not valid, or asks for what is not there (the outcome, when blind).
    """
    prompt = render(told.evidence, template, budget=budget, multimodal=False).text.rstrip()
    names = {"cell_line": told.cell_line, "perturbation": told.perturbation, "target": told.target}
    known = {"answer": ANSWERS[told.label]} if mode == INFORMED else {}
    try:
        text = _compiled(instruction).render(prompt=prompt, query=names, **known)
    except TemplateError as error:
        raise UsageError(f"instruction of mode {mode}: {error.message}") from error
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text.strip()}]


@lru_cache(maxsize=8)
def _compiled(instruction: str) -> Template:
    try:
        return ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(instruction)
    except TemplateError as error:
        raise UsageError(f"instruction: {error.message}") from error
