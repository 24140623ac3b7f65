"""``aroma traces``: reasoning traces written, asked of an endpoint, filtered, traced to their sources, shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aroma.cli.models import OutcomesOption
from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from aroma.model.traces.choosing import Choice
    from aroma.model.traces.data_set import Facts
    from aroma.model.traces.endpoint import Message
    from aroma.model.traces.spending import Estimate

app = typer.Typer(help="Reasoning traces for the language model: write, request, filter, trace to sources, show.")


def register(main: typer.Typer) -> None:
    """Add the commands to ``main``."""
    main.add_typer(app, name="traces")
    app.command("write")(write_command)
    app.command("request")(request_command)
    app.command("filter")(filter_command)
    app.command("sources")(sources_command)
    app.command("show")(show_command)
    app.command("faithfulness")(faithfulness_command)
    app.command("card")(card_command)


DataSetArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A trace data set.")]
OutOption = Annotated[Path, typer.Option("--out", help="Directory of the data set.")]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="As in aroma train; default: official where there are test rows, else all."),
]
FoldOption = Annotated[int, typer.Option("--fold", min=1, help="Which fold, where the split has several.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of every random choice.")]
ReserveOption = Annotated[
    int, typer.Option("--reserve", min=0, help="Rows of each cell line for the second stage (split grpo).")
]
RowsOption = Annotated[
    int | None, typer.Option("--rows", min=1, help="At most so many rows, in the proportions of line and outcome.")
]
PromptOption = Annotated[str, typer.Option("--prompt", help="Prompt template: a bundled one, or a file.")]
BudgetOption = Annotated[int | None, typer.Option("--budget", min=1, help="Most tokens of a prompt, estimated.")]
MultimodalOption = Annotated[
    bool, typer.Option("--multimodal/--no-multimodal", help="With or without the placeholders of embeddings.")
]
NameOption = Annotated[str, typer.Option("--name", help="Name of the data set, for its cards.")]
ReleaseOption = Annotated[str | None, typer.Option("--as-of", help="A release other than the published one.")]
UrlOption = Annotated[str | None, typer.Option("--url", help="OpenAI-compatible endpoint (else AROMA_LLM_URL).")]
ModelOption = Annotated[str | None, typer.Option("--model", help="The model's name there (else AROMA_LLM_MODEL).")]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=1, help="Questions under way at one time.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for one answer.")]
SamplesOption = Annotated[int, typer.Option("--samples", min=1, help="Traces asked a row.")]
UntilGoodOption = Annotated[
    bool, typer.Option("--until-good", help="No further sample of a row once one reached the outcome.")
]
AttemptsOption = Annotated[int, typer.Option("--attempts", min=1, help="Times a question is sent at most.")]
TemperatureOption = Annotated[float, typer.Option("--temperature", min=0, help="0 for the likeliest words.")]
MostTokensOption = Annotated[int, typer.Option("--most-tokens", min=1, help="Longest answer.")]
PriceInOption = Annotated[
    float | None, typer.Option("--price-in", help="A million tokens of questions (else AROMA_LLM_PRICE_IN).")
]
PriceOutOption = Annotated[
    float | None, typer.Option("--price-out", help="A million tokens of answers (else AROMA_LLM_PRICE_OUT).")
]
MostCostOption = Annotated[
    float | None, typer.Option("--most-cost", min=0, help="Most to spend on this data set, earlier runs included.")
]
InstructionOption = Annotated[
    Path | None, typer.Option("--instruction", help="Jinja file in the place of the mode's instruction.")
]
AgainOption = Annotated[bool, typer.Option("--again", help="Ask again for answers that were no good trace.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the estimate and the first question; ask nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Spend what is estimated without a limit.")]
_RESERVE: Final = 5_000
_NAME: Final = "perturbation traces"


def write_command(
    out: OutOption,
    outcomes: OutcomesOption = "stored",
    split: SplitOption = None,
    fold: FoldOption = 1,
    seed: SeedOption = 0,
    reserve: ReserveOption = _RESERVE,
    rows: RowsOption = None,
    prompt: PromptOption = "aroma",
    budget: BudgetOption = None,
    multimodal: MultimodalOption = True,
    cite_everything: Annotated[
        bool, typer.Option("--cite-everything", help="Cite evidence that the prompt does not show, too.")
    ] = False,
    name: NameOption = _NAME,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one a core.")] = None,
    as_of: ReleaseOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write traces from the evidence by template, without a model."""
    from aroma.kgstore.home import Home
    from aroma.model.traces.data_set import check_target
    from aroma.model.traces.telling import PromptSettings
    from aroma.model.traces.writing import WriteOptions, write_template_traces

    check_target(out)
    place = Home.locate(home)
    choice, source = _choice(place, as_of, outcomes, split, fold, seed, reserve, rows)
    show = _now_and_then()
    started = time.perf_counter()
    facts = write_template_traces(
        place, choice, out, outcomes=source, reserve=reserve, release=as_of, workers=workers,
        options=WriteOptions(PromptSettings(prompt, budget, multimodal), cite_everything, name),
        progress=lambda state: show(f"{state.done:,} of {state.total:,} rows, {state.rate:,.0f} a second"),
    )  # fmt: skip
    _told(out, facts, as_json=as_json, seconds=round(time.perf_counter() - started, 2))


def request_command(
    out: OutOption,
    mode: Annotated[str, typer.Option("--mode", help="informed (told the outcome) or blind (samples that reach it).")],
    outcomes: OutcomesOption = "stored",
    split: SplitOption = None,
    fold: FoldOption = 1,
    seed: SeedOption = 0,
    reserve: ReserveOption = _RESERVE,
    rows: RowsOption = None,
    url: UrlOption = None,
    model: ModelOption = None,
    samples: SamplesOption = 1,
    until_good: UntilGoodOption = False,
    concurrency: ConcurrencyOption = 8,
    timeout: TimeoutOption = 300.0,
    attempts: AttemptsOption = 6,
    temperature: TemperatureOption = 0.7,
    most_tokens: MostTokensOption = 1500,
    price_in: PriceInOption = None,
    price_out: PriceOutOption = None,
    most_cost: MostCostOption = None,
    instruction: InstructionOption = None,
    again: AgainOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    prompt: PromptOption = "aroma",
    budget: BudgetOption = None,
    multimodal: MultimodalOption = True,
    name: NameOption = _NAME,
    as_of: ReleaseOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a chat endpoint for traces; run again, it asks for what is missing."""
    from aroma.kgstore.home import Home
    from aroma.model.traces.endpoint import Sampling, open_endpoint
    from aroma.model.traces.instructions import instruction_text
    from aroma.model.traces.requesting import RequestOptions, TraceRequests
    from aroma.model.traces.spending import read_prices
    from aroma.model.traces.telling import PromptSettings, open_evidence

    endpoint = open_endpoint(url, model, seconds=timeout, attempts=attempts)
    options = RequestOptions(
        mode, instruction_text(mode, instruction), samples, until_good, concurrency,
        PromptSettings(prompt, budget, multimodal), Sampling(temperature, most_tokens, seed),
        read_prices(price_in, price_out), most_cost, again, name=name,
    )  # fmt: skip
    place = Home.locate(home)
    choice, _ = _choice(place, as_of, outcomes, split, fold, seed, reserve, rows)
    requests = TraceRequests(open_evidence(place, as_of, choice.fold), choice, out, endpoint, options)
    estimate, first = requests.preview()
    if dry_run:
        _show_preview(estimate, first, as_json=as_json)
        return
    progress(_estimate_text(estimate))
    if estimate.cost and most_cost is None and not yes:
        raise UsageError(f"{_estimate_text(estimate)}; give --most-cost AMOUNT as a limit, or --yes to go on without")
    show = _now_and_then()
    done = requests.run(lambda at, of, spent: show(f"{at:,} of {of:,} questions, {spent:,.2f} spent"))
    if done.stopped:
        progress(f"stopped: {done.stopped}")
    _told(
        out, done.facts, as_json=as_json, asked=done.asked, missing=done.missing, stopped=done.stopped,
        tokens_in=done.tokens_in, tokens_out=done.tokens_out, cost=round(done.cost, 6),
    )  # fmt: skip


def filter_command(
    data_set: DataSetArgument,
    out: OutOption,
    shortest: Annotated[int, typer.Option("--shortest", min=0, help="Fewest tokens of the reasoning.")] = 30,
    longest: Annotated[int, typer.Option("--longest", min=1, help="Most tokens of the reasoning.")] = 1500,
    similar: Annotated[
        float,
        typer.Option("--similar", min=0, max=1, help="Near-duplicates agree by this share of their shingles; 0: keep."),
    ] = 0.9,
    english: Annotated[bool, typer.Option("--english/--any-language", help="Drop other languages.")] = True,
    samples_a_row: Annotated[
        int, typer.Option("--samples-a-row", min=0, help="Good traces kept of a row; 0: all.")
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Judge every trace; what is dropped stays in the table with the reason."""
    from aroma.model.traces.data_set import check_target, read_facts
    from aroma.model.traces.filters import FilterOptions, facts_of, filter_traces
    from aroma.model.traces.rows import read_traces
    from aroma.model.traces.saving import save_data_set

    check_target(out)
    options = FilterOptions(shortest, longest, similar, english, samples_a_row or None)
    facts, frame = read_facts(data_set), read_traces(data_set)
    judged = filter_traces(frame, options)
    step = {"options": facts_of(options), "rows": judged.height, "kept": int(judged["kept"].sum())}
    _told(out, save_data_set(out, judged, facts.after("filter", **step)), as_json=as_json)


def sources_command(
    data_set: DataSetArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Sentences with their sources: Parquet.")] = None,
    outcomes: OutcomesOption = "stored",
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="A random sample of so many traces.")] = None,
    seed: SeedOption = 0,
    dropped: Annotated[bool, typer.Option("--dropped", help="Dropped traces as well.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Link each sentence to the evidence that supports it; the share supported, by line and outcome."""
    from aroma.kgstore.tables import write_parquet
    from aroma.model.traces.sources import label_name, trace_data_set

    facts, frame = _open_set(data_set, kept_only=not dropped, rows=rows, seed=seed)
    store = _store_of(home, facts, outcomes)
    show = _now_and_then()
    table, shares, changed = trace_data_set(store, frame, lambda at, of: show(f"{at:,} of {of:,} traces"))
    if changed:
        progress(f"{changed:,} traces were written from other evidence than is found now (outcomes or release differ)")
    if out is not None:
        write_parquet(table, out)
    if as_json:
        fields = {"data_set": str(data_set), "traces": frame.height, "other_evidence": changed}
        print_json({**fields, "out": str(out) if out else None, "shares": shares.to_dicts()})
        return
    columns = ("cell line", "outcome", "traces", "claims", "supported", "share", "with another row's evidence")
    shown = [
        (line, label_name(label), f"{count:,}", f"{claims:,}", f"{good:,}", _percent(share), _percent(control))
        for line, label, count, claims, good, control, share in shares.select(
            "cell_line", "label", "rows", "claims", "supported", "control", "share"
        ).iter_rows()
    ]
    print_table("Sentences that the evidence supports", columns, shown)


def show_command(
    data_set: DataSetArgument,
    row: Annotated[int, typer.Option("--row", min=1, help="Which trace of the table, from 1.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="HTML page; without it, text.")] = None,
    outcomes: OutcomesOption = "stored",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one trace, sentence by sentence, with its sources."""
    from aroma.kgstore.publications import write_durably
    from aroma.model.traces.answers import ANSWERS
    from aroma.model.traces.page import Heading, page
    from aroma.model.traces.sources import beside_evidence, resolver_of
    from aroma.model.traces.tracing import trace_sources

    facts, frame = _open_set(data_set, kept_only=False, rows=None, seed=0)
    if row > frame.height:
        raise UsageError(f"--row {row}: {data_set} has {frame.height:,} rows")
    store = _store_of(home, facts, outcomes)
    one = next(beside_evidence(store, frame.slice(row - 1, 1)))
    traced = trace_sources(one.row.reasoning, one.evidence, resolver_of(store))
    if not one.same:
        progress("this trace was written from other evidence than is found now (outcomes or release differ)")
    if out is not None:
        evidence = one.row.evidence_id if one.same else f"{one.row.evidence_id}; other evidence is shown here"
        state = "kept" if one.row.kept else f"dropped: {one.row.reason}"
        said = (("Release", facts.release), ("Evidence", evidence), ("Kind", one.row.kind), ("State", state))
        heading = Heading(one.row.name, one.row.answer, ANSWERS[one.row.label], one.row.writer, said)
        write_durably(out, page(traced, heading))
    if as_json:
        print_json(
            {"row": row, "name": one.row.name, "answer": one.row.answer, "out": str(out or ""), **traced.to_dict()}
        )
        return
    screen = console()
    screen.print(f"{one.row.name}: {one.row.answer} (measured: {ANSWERS[one.row.label]})", markup=False)
    if out is not None:
        screen.print(f"{traced.supported} of {traced.claims} claims are supported; written to {out}")
        return
    shown = [
        (at, sentence.text, "yes" if sentence.supported else sentence.kind if sentence.kind != "claim" else "NO",
         [traced.items[source.item].id for source in sentence.sources])
        for at, sentence in enumerate(traced.sentences, start=1)
    ]  # fmt: skip
    print_table("", ("", "sentence", "supported", "sources"), shown)


def faithfulness_command(
    data_set: DataSetArgument,
    url: UrlOption = None,
    model: ModelOption = None,
    rows: Annotated[int, typer.Option("--rows", min=2, help="Traces asked twice each.")] = 50,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 8,
    timeout: TimeoutOption = 300.0,
    outcomes: OutcomesOption = "stored",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a model with each row's own evidence and with another's: an answer that never moves did not use it."""
    from aroma.model.traces.endpoint import open_endpoint
    from aroma.model.traces.faithfulness import ask_model, faithfulness
    from aroma.model.traces.instructions import BLIND, instruction_text
    from aroma.model.traces.telling import PromptSettings, tell

    endpoint = open_endpoint(url, model, seconds=timeout)
    facts, frame = _open_set(data_set, kept_only=True, rows=rows, seed=seed)
    asked = list(tell(_store_of(home, facts, outcomes), frame, PromptSettings(facts.template)))
    predict = ask_model(endpoint, instruction_text(BLIND), facts.template, concurrency=concurrency)
    found = faithfulness(asked, predict, seed=seed)
    if as_json:
        print_json({"data_set": str(data_set), "model": endpoint.model, **found.to_dict()})
        return
    console().print(
        f"{found.moved} of {found.answered} answers moved ({_percent(found.share)}, 95 % interval "
        f"{_percent(found.low)} to {_percent(found.high)}) when the evidence was replaced; right before: "
        f"{found.right_before}, after: {found.right_after}; {found.rows - found.answered} rows had no answer"
    )


def card_command(
    data_set: DataSetArgument,
    url: Annotated[str | None, typer.Option("--url", help="Where the data set is published.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the cards anew (Croissant and Markdown), and show the facts."""
    from aroma.model.traces.cards import write_cards
    from aroma.model.traces.data_set import read_facts
    from aroma.model.traces.rows import read_traces

    facts, frame = read_facts(data_set), read_traces(data_set)
    write_cards(data_set, facts, frame, url)
    _told(data_set, facts, as_json=as_json)


def _choice(
    home: Any,
    release: str | None,
    outcomes: str,
    split: str | None,
    fold: int,
    seed: int,
    reserve: int,
    rows: int | None,
) -> tuple[Choice, str]:
    from aroma.model.data_sets import read_data_set
    from aroma.model.ground import Ground
    from aroma.model.traces.choosing import choose_rows

    data = read_data_set(Ground(home, release), outcomes)
    choice = choose_rows(
        data.outcomes, split=split, fold=fold, seed=seed, reserve=reserve, most=rows, home=home
    )  # fmt: skip
    for said in (*data.problems(), *choice.notes):
        progress(said)
    return choice, data.name


def _open_set(data_set: Path, *, kept_only: bool, rows: int | None, seed: int) -> tuple[Facts, pl.DataFrame]:
    from aroma.model.traces.data_set import read_facts
    from aroma.model.traces.rows import read_traces

    facts = read_facts(data_set)
    frame = read_traces(data_set).with_row_index("row")
    if kept_only:
        frame = frame.filter("kept")
    if rows is not None and rows < frame.height:
        frame = frame.sample(rows, seed=seed).sort("row")
    return facts, frame


def _store_of(home: Path | None, facts: Facts, outcomes: str) -> Any:
    from aroma.kgstore.home import Home
    from aroma.model.data_sets import read_data_set
    from aroma.model.ground import Ground
    from aroma.model.traces.sources import open_again

    place = Home.locate(home)
    return open_again(place, facts, read_data_set(Ground(place, facts.release), outcomes).outcomes)


def _told(out: Path, facts: Facts, *, as_json: bool, **more: Any) -> None:
    from aroma.kgstore.outcomes import LABELS
    from aroma.model.traces.data_set import kept_shares
    from aroma.model.traces.filters import reason_kinds
    from aroma.model.traces.rows import read_traces

    frame = read_traces(out)
    shares, kept = kept_shares(frame), int(frame["kept"].sum())
    reasons = reason_kinds(frame["reason"].drop_nulls().to_list())
    if as_json:
        said = {"data_set": str(out), "rows": facts.rows, "kept": kept, "dropped": reasons, **more}
        print_json({**said, "shares": shares.to_dicts(), "facts": _plain(facts)})
        return
    rows = [
        (line, LABELS[label], f"{count:,}", f"{good:,}", _percent(share))
        for line, label, count, good, share in shares.iter_rows()
    ]
    print_table("Kept, by cell line and outcome", ("cell line", "outcome", "rows", "kept", "share"), rows)
    if reasons:
        print_table("Dropped", ("reason", "rows"), [(reason, f"{count:,}") for reason, count in reasons.items()])
    use = "" if facts.commercial_use else "; no commercial use (a source's licence forbids it)"
    console().print(f"{kept:,} of {facts.rows:,} traces are kept, in {out}{use}")


def _plain(facts: Facts) -> dict[str, Any]:
    from aroma.model.traces.data_set import plain_facts

    return plain_facts(facts)


def _show_preview(estimate: Estimate, first: list[Message], *, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": True, **estimate.to_dict(), "first": first})
        return
    console().print(_estimate_text(estimate))
    for message in first:
        console().print(f"--- {message['role']}\n{message['content']}", markup=False)


def _estimate_text(estimate: Estimate) -> str:
    return (
        f"{estimate.questions:,} questions to ask ({estimate.answered:,} answered before): about "
        f"{estimate.tokens_in:,} tokens in and {estimate.tokens_out:,} out, about {estimate.cost:,.2f}, "
        f"at most {estimate.most_cost:,.2f}"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"  # noqa: RUF001 - a dash for no number


def _now_and_then(seconds: float = 2.0) -> Callable[[str], None]:
    """Return what shows progress, but not oftener than every few seconds."""
    last = 0.0

    def show(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            progress(text)

    return show
