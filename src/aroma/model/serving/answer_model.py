"""Answers of models in service, as REST, the client and the MCP server give them: plain immutable records."""

from __future__ import annotations

from aroma.retrieval.evidence_model import Record


class ServedModel(Record, frozen=True, kw_only=True):
    """A model in service; ``answers_now`` is the one that this server has open, ``problem`` why it is another one.

    ``release`` is the one that it was trained on and answers from; ``action`` says how it came to serve: ``promote``,
    ``override`` or ``rollback``.
    """

    plugin: str
    version: str
    model: str
    release: str
    is_published_release: bool
    since: str
    action: str
    reason: str
    split: str
    training_rows: int
    cell_lines: list[str]
    licence: str
    licences: dict[str, str]
    answers_now: str | None
    problem: str | None


class ServedModelList(Record, frozen=True, kw_only=True):
    """The models in service, by plug-in; ``release`` is the published one."""

    release: str
    items: list[ServedModel]


class MovedBy(Record, frozen=True, kw_only=True):
    """One piece of evidence that moved a prediction, with its share and where it pushed."""

    kind: str
    text: str
    share: float
    towards: str
    sources: list[str]


class PredictedPair(Record, frozen=True, kw_only=True):
    """One answer: the names as asked, the genes they stand for, probabilities, label (0, 1 down, 2 up), and why.

    ``flags`` says what the model had to do without, such as an unknown gene.
    """

    cell_line: str
    perturbation: str
    target: str
    perturbation_genes: list[str | None]
    target_gene: str | None
    p_down: float
    p_not_significant: float
    p_up: float
    label: int
    flags: list[str]
    reasons: list[MovedBy]


class PredictionBatch(Record, frozen=True, kw_only=True):
    """Answers of one model on one release, in the order asked; ``prediction`` names model and question together."""

    prediction: str
    model: str
    plugin: str
    version: str
    release: str
    published_release: str
    items: list[PredictedPair]
