"""Evidence as text for a language model: templates that are files, token counts, and budgets.

A template is a Jinja file. Five are bundled (``list_templates``); a path to any other file serves as well, so a lab
that has the authors' checkpoint renders with the authors' own wording. What a template can use:

``query``
    ``cell_line``, ``perturbation``, ``target``: names as understood (approved symbols), else as asked.
``cell_line_text``, ``perturbation_text``, ``target_text``
    Descriptions; empty where nothing is known.
``paths``
    Each with ``rank``, ``hops``, ``names`` (node names from perturbation to target) and ``relations``.
``interaction``, ``shared``, ``totals``
    The direct STRING interaction (``score``) or none; features that both genes have (``name``, ``kind``); how many
    cases changed the target and how many did not.
``positives``, ``negatives``
    Cases of the contrast: ``perturbation``, ``cell_line``, ``outcome``, ``similarity``, ``shared``.
``multimodal``, ``placeholders``
    Whether the learned representations are asked for, and their placeholder tokens in the order protein sequence,
    pathway graph, gene graph.

When a budget is given, evidence is taken away piece by piece, the least important first (``IMPORTANCE``), until the
text fits. Instruction, query and placeholders are the template's own text and always stay.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Protocol

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from aroma.errors import InputFileError, UsageError
from aroma.retrieval.evidence_model import ContrastiveCase, Description, Evidence

PLACEHOLDERS: Final = ("<ESM-2_EMB>", "<Path-KG_EMB>", "<Gene-KG_EMB>")
NOT_GIVEN: Final = "not given"
"""What stands in place of a placeholder whose modality the model has not."""
IMPORTANCE: Final = (
    "shared features, the most common first",
    "cases of the contrast beyond the two nearest of each side, the least similar first",
    "STRING partners of target and perturbation",
    "cellular components of target and perturbation",
    "pathways of target and perturbation",
    "complexes of target and perturbation",
    "paths beyond the first, the last first",
    "molecular functions of target and perturbation",
    "the remaining cases of the contrast, the least similar first",
    "biological processes of target and perturbation",
    "the direct interaction",
    "the first path",
    "the cell line's description",
    "annotation texts or own texts of target and perturbation",
    "the names of target and perturbation",
)
"""What a budget takes away, in this order: what tells a pair apart least goes first, what says most stays longest."""
OUTCOMES: Final = {
    "up": "upregulated",
    "down": "downregulated",
    "not significant": "not significantly changed",
}
_SUFFIX: Final = ".txt.j2"
_KEPT_CASES: Final = 2
_PIECE: Final = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")
_LETTERS_A_TOKEN: Final = 4
_MARKUP: Final = (*PLACEHOLDERS, "<think>", "</think>", "<answer>", "</answer>")
_IN_PLACE_OF: Final = {token: token.strip("</>") for token in _MARKUP}
_USED_AS: Final = {
    "path": "paths",
    "cell line": "cell_line_text",
    "perturbation": "perturbation_text",
    "target": "target_text",
}
TokenCount = Callable[[str], int]
Key = tuple[Any, ...]


class Tokenizer(Protocol):
    """Anything with ``encode``, such as a tokenizer of ``transformers``."""

    def encode(self, text: str) -> Any:
        """Return the text's tokens."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt.

    Attributes:
        text: The prompt.
        tokens: Its length by the counter that was used.
        dropped: What a budget took away, in the order of taking.
    """

    text: str
    tokens: int
    dropped: tuple[str, ...] = ()


def estimate_tokens(text: str) -> int:
    """Return roughly how many tokens a byte-pair tokenizer makes of English and gene names; no model is needed.

    A word counts a token for every four letters begun, each digit and each other sign counts one. That is a little
    more than the tokenizers of current open models make of such text; give the model's own where the budget is tight.
    """
    return sum(-(-len(piece) // _LETTERS_A_TOKEN) for piece in _PIECE.findall(text))


def counter_of(tokenizer: Tokenizer) -> TokenCount:
    """Return a counter for a tokenizer."""
    return lambda text: len(tokenizer.encode(text))


def list_templates() -> tuple[str, ...]:
    """Return the names of the bundled templates."""
    names = (path.name for path in (files("aroma.retrieval") / "templates").iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def read_template(template: str | Path) -> str:
    """Return a template's text: a bundled name, or the path of a file.

    Raises:
        UsageError: Neither a bundled name nor a file; the nearest name is suggested.
        InputFileError: The file cannot be read.
    """
    name = str(template)
    if name in list_templates():
        return (files("aroma.retrieval") / "templates" / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    path = Path(template)
    if not path.is_file():
        near = difflib.get_close_matches(name, list_templates(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(list_templates())}"
        raise UsageError(f"no prompt template is called {name!r} and there is no such file; {hint}")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"cannot be read ({error})", file=path, expected="a Jinja template, UTF-8") from error


def check_template(template: str | Path) -> None:
    """Tell whether a template can be read and understood; what it asks for is seen with the first evidence.

    Raises:
        UsageError: There is no such template, or it is not valid.
        InputFileError: The file cannot be read.
    """
    _compiled(str(template))


def render(
    evidence: Evidence,
    template: str | Path,
    *,
    budget: int | None = None,
    count: TokenCount = estimate_tokens,
    multimodal: bool = True,
    placeholders: Sequence[str] = PLACEHOLDERS,
) -> Rendered:
    """Render evidence as a prompt.

    Args:
        evidence: What is known.
        template: A bundled template's name, or a file.
        budget: Most tokens; None for no limit.
        count: Counts tokens; ``counter_of`` makes one from a tokenizer.
        multimodal: False leaves out the section with the placeholders.
        placeholders: Those of the modalities that the model has; the others' places say ``NOT_GIVEN``.

    Raises:
        UsageError: The template is not valid or asks for what is not there; or instruction, query and placeholders
            alone are over the budget (the message names the row).
    """
    given = tuple(token if token in placeholders else NOT_GIVEN for token in PLACEHOLDERS)
    prompt = _Prompt(evidence, str(template), multimodal and bool(placeholders), given)
    text = prompt.text(0)
    tokens = count(text)
    if budget is None or tokens <= budget:
        return Rendered(text, tokens)
    fewest, most = 0, len(prompt.order)  # what is dropped at `fewest` is too little, at `most` perhaps enough
    if (least := count(prompt.text(most))) > budget:
        query = evidence.query
        raise UsageError(
            f"{query.perturbation} → {query.target} in {query.cell_line}: instruction, query and placeholders of "
            f"{template} take {least} tokens, the budget is {budget}; give at least {least}"
        )
    while most - fewest > 1:
        middle = (fewest + most) // 2
        if count(prompt.text(middle)) <= budget:
            most = middle
        else:
            fewest = middle
    text = prompt.text(most)
    return Rendered(text, count(text), tuple(_say(key) for key in prompt.order[:most]))


class _Prompt:
    """One evidence object and template; ``order`` lists the pieces that can go, the least important first."""

    def __init__(self, evidence: Evidence, template: str, multimodal: bool, placeholders: tuple[str, ...]) -> None:
        self._evidence, self._name, self._multimodal = evidence, template, multimodal
        self._placeholders = placeholders
        self._template, used = _compiled(template)
        self.order: list[Key] = [key for key in _pieces(evidence) if _USED_AS.get(key[0], key[0]) in used]

    def text(self, dropped: int) -> str:
        """Render without the first ``dropped`` pieces of ``order``."""
        context = _context(self._evidence, frozenset(self.order[:dropped]))
        try:
            said: str = self._template.render(context, multimodal=self._multimodal, placeholders=self._placeholders)
        except TemplateError as error:
            raise UsageError(f"template {self._name}: {error.message}") from error
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise UsageError(f"template {self._name}: {type(error).__name__}: {error}") from error
        return said.rstrip("\n") + "\n"


@lru_cache(maxsize=16)
def _compiled(template: str) -> tuple[Template, frozenset[str]]:
    """Return a template and the names that it uses."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        source = read_template(template)
        used = meta.find_undeclared_variables(environment.parse(source))
        return environment.from_string(source), frozenset(used)
    except TemplateSyntaxError as error:
        raise UsageError(f"template {template}, line {error.lineno}: {error.message}") from error


def _pieces(evidence: Evidence) -> Iterator[Key]:
    """Yield what can be taken away, in the order of ``IMPORTANCE``."""
    shared = evidence.shared
    weights = [
        (item.weight, kind, place)
        for kind in ("terms", "pathways", "complexes")
        for place, item in enumerate(getattr(shared, kind))
    ]
    yield from (("shared", kind, place) for _, kind, place in sorted(weights))
    cases = _cases(evidence)
    yield from (key for rank, _, key in cases if rank >= _KEPT_CASES)
    for kind in ("partners", "cellular component", "pathways", "complexes"):
        yield from _sentences(evidence, kind)
    yield from (("path", path.rank) for path in reversed(evidence.paths[1:]))
    yield from _sentences(evidence, "molecular function")
    yield from (key for rank, _, key in cases if rank < _KEPT_CASES)
    yield from _sentences(evidence, "biological process")
    if evidence.interaction is not None:
        yield ("interaction",)
    yield from (("path", path.rank) for path in evidence.paths[:1])
    if evidence.cell_line.description:
        yield ("cell line",)
    for kind in ("annotation text", "own text", "name"):
        yield from _sentences(evidence, kind)


def _cases(evidence: Evidence) -> list[tuple[int, float, Key]]:
    """Return (rank on its side, similarity, key) of the cases, the least similar first."""
    if evidence.contrast is None:
        return []
    found: list[tuple[int, float, Key]] = [
        (rank, case.similarity, (side, rank))
        for side in ("negatives", "positives")
        for rank, case in enumerate(getattr(evidence.contrast, side))
    ]
    return sorted(found, key=lambda item: (item[1], -item[0]))


def _sentences(evidence: Evidence, kind: str) -> Iterator[Key]:
    for role in ("target", "perturbation"):
        description: Description | None = getattr(evidence, role)
        for place, sentence in enumerate(description.sentences if description else ()):
            if sentence.kind == kind:
                yield (role, place, kind)


def _say(key: Key) -> str:
    match key:
        case ("shared", kind, place):
            return f"shared {kind} {place + 1}"
        case ("path", rank):
            return f"path {rank}"
        case (("positives" | "negatives") as side, rank):
            return f"{side} {rank + 1}"
        case (role, _, kind):
            return f"{role}: {kind}"
        case _:
            return str(key[0])


def _context(evidence: Evidence, dropped: frozenset[Key]) -> dict[str, Any]:
    contrast = evidence.contrast
    return {
        "query": {
            "cell_line": _plain(evidence.cell_line.name),
            "perturbation": _gene(evidence.perturbation, evidence.query.perturbation),
            "target": _gene(evidence.target, evidence.query.target),
        },
        "cell_line_text": "" if ("cell line",) in dropped else _plain(evidence.cell_line.description),
        "perturbation_text": _text(evidence.perturbation, "perturbation", dropped),
        "target_text": _text(evidence.target, "target", dropped),
        "paths": [
            {
                "rank": path.rank,
                "hops": path.hops,
                "names": [_plain(node.name) for node in path.nodes],
                "relations": [sorted({edge.relation for edge in step.edges}) for step in path.steps],
            }
            for path in evidence.paths
            if ("path", path.rank) not in dropped
        ],
        "interaction": None
        if evidence.interaction is None or ("interaction",) in dropped
        else {"score": evidence.interaction.score},
        "shared": [
            {"name": _plain(item.node.name), "kind": kind}
            for kind in ("complexes", "pathways", "terms")
            for place, item in enumerate(getattr(evidence.shared, kind))
            if ("shared", kind, place) not in dropped
        ],
        "totals": None
        if contrast is None
        else {"positives": contrast.positives_total, "negatives": contrast.negatives_total},
        "positives": _listed(contrast.positives if contrast else [], "positives", dropped),
        "negatives": _listed(contrast.negatives if contrast else [], "negatives", dropped),
    }


def _gene(description: Description | None, asked: str) -> str:
    return _plain(description.gene.name if description else asked)


def _text(description: Description | None, role: str, dropped: frozenset[Key]) -> str:
    if description is None:
        return ""
    kept = [
        sentence.text
        for place, sentence in enumerate(description.sentences)
        if (role, place, sentence.kind) not in dropped
    ]
    return _plain(" ".join(kept))


def _listed(cases: list[ContrastiveCase], side: str, dropped: frozenset[Key]) -> list[dict[str, Any]]:
    return [
        {
            "perturbation": _plain(case.perturbation.name),
            "cell_line": _plain(case.cell_line),
            "outcome": OUTCOMES.get(case.label, case.label),
            "similarity": case.similarity,
            "shared": [_plain(node.name) for node in case.shared],
        }
        for rank, case in enumerate(cases)
        if (side, rank) not in dropped
    ]


def _plain(text: str) -> str:
    """Return evidence text as one line without placeholders and blocks of an answer: only the template puts them."""
    for token, word in _IN_PLACE_OF.items():
        text = text.replace(token, word)
    return " ".join(text.split())
