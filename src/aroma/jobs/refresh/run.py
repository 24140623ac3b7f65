"""A refresh from files to promotion, step by step; killed anywhere and asked again, it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aroma.errors import AromaError, InputFileError
from aroma.jobs.refresh.alerts import alert
from aroma.jobs.refresh.embedding import embed_again
from aroma.jobs.refresh.files import compose, last_good, refresh_directory, remember_good
from aroma.jobs.refresh.looking import Looked, give_up_broken, look
from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.tasks import PROBLEM, in_words, run_task, told
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run, Shard, ShardPlan
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import published, write_durably
from aroma.kgstore.releases import now
from aroma.kgstore.work_loop import Keep, StoppedError, work
from aroma.model.embeddings.runs import embeddings_ledger
from aroma.model.tracking import tracked

KIND: Final = "refresh"
_log = logging.getLogger("aroma.refresh")
Say = Callable[[str], None]


@dataclass
class Report:
    """What a refresh did, as ``aroma refresh --json`` prints it.

    Attributes:
        run: Id of the run.
        options: What was asked.
        started_at: ISO 8601, UTC.
        steps: Each step with what it gave, its seconds, and whether it had been done before.
        providers: Versions, checksums, and whether files are new, by provider.
        release: Release id, and whether it is new.
        models: What became of each plug-in.
    """

    run: str
    options: Mapping[str, Any]
    started_at: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    providers: dict[str, Any] = field(default_factory=dict)
    release: dict[str, Any] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        seconds = round(sum(step["seconds"] for step in self.steps), 2)
        return {**self.__dict__, "options": dict(self.options), "ended_at": now(), "seconds": seconds}


def plan_refresh(ledger: Ledger, options: RefreshOptions, *, queue: str = "cpu", name: str | None = None) -> Run:
    """Plan a refresh; one with the same options that is open still is taken up again.

    Args:
        ledger: The ledger.
        options: What it does.
        queue: Whose workers may do it.
        name: Id of the run, for a schedule: the same name is planned once.
    """
    said = options.to_dict()
    if name is None:
        for run in ledger.runs():
            if run.kind == KIND and run.is_open and run.facts.get("options") == json.loads(json.dumps(said)):
                return run
        digest = hashlib.sha256(f"{json.dumps(said, sort_keys=True)}|{time.time_ns()}".encode())
        name = f"r{digest.hexdigest()[:16]}"
    return ledger.plan(name, KIND, queue, {"options": said}, [ShardPlan({})])


def work_on_refresh(
    home: Home, ledger: Ledger, run: str, *, device: str = "cpu", worker: str | None = None, say: Say | None = None
) -> int:
    """Do a planned refresh if it can be had now; return how many shards were done (``aroma.jobs.kinds.WorkOn``)."""
    del device
    options = ledger.run(run).facts["options"]

    def saying(text: str) -> None:
        _log.info("%s", text)
        ledger.note(run, text)
        if say is not None:
            say(text)

    def do(shard: Shard, keep: Keep) -> Mapping[str, Any]:
        return told(lambda: refresh(home, ledger, shard.run, RefreshOptions.of(options), keep, saying))

    done = work(ledger, run, do, worker=worker)
    ledger.close(run)
    return done


def refresh(home: Home, ledger: Ledger, run: str, options: RefreshOptions, keep: Keep, say: Say) -> dict[str, Any]:
    """Do all steps and return the report; a failure raises an alert.

    Raises:
        LockHeldError: Another refresh of this home is under way; the message says whose.
        GateStoppedError: A gate stopped the release; the published one is unchanged.
        AromaError: A step failed.
    """
    report = Report(run, options.to_dict(), now())
    with exclusive(home.locks / "refresh.lock", "a refresh"):
        try:
            with in_words():
                _steps(home, ledger, options, report, keep, say)
        except StoppedError:
            raise
        except AromaError as error:
            said = report.to_dict() | {PROBLEM: {"kind": type(error).__name__, "message": str(error)}}
            with suppress(OSError):  # a full disk may be what is to be told
                _write(home, said)
            alert(home, said, say)
            raise
    said = report.to_dict()
    _write(home, said)
    return said


def _steps(home: Home, ledger: Ledger, options: RefreshOptions, report: Report, keep: Keep, say: Say) -> None:
    before = published(home)
    with _timed(report, "look and download", say) as step:
        looked = look(home, options, say)
        report.providers = looked.said(last_good(home))
        step["new"] = sorted(name for name, said in report.providers.items() if said["new"])
    keep()
    with _timed(report, "build and publish", say) as step:
        built = _build(home, ledger, options, looked, say)
        remember_good(home, looked.files)
        step.update({name: built[name] for name in ("release", "sequence", "unchanged", "changes", "steps")})
    report.providers = {name: said | {"note": looked.notes.get(name, "")} for name, said in report.providers.items()}
    release = str(built["release"])
    report.release = {"release": release, "sequence": built["sequence"], "new": not built["unchanged"]}
    keep()
    with _timed(report, "snapshot", say) as step:
        step.update(run_task(home, ledger, "snapshot", {"release": release}))
    keep()
    if options.embed:
        with _timed(report, "embed", say) as step:
            step["encoders"] = _embed(home, ledger, release, before.release if before else None, say)
    keep()
    asked = {"run": report.run, "release": release, "plugins": report.options["plugins"], "split": options.split}
    for one in run_task(home, ledger, "plan", asked)["models"]:
        if one["inputs"] is None:
            report.models.append({"plugin": one["plugin"], "action": "not retrained", "reason": one["reason"]})
            continue
        report.models.append(_model(home, ledger, one, options, report, keep, say))


def _build(home: Home, ledger: Ledger, options: RefreshOptions, looked: Looked, say: Say) -> dict[str, Any]:
    """Build from the files that were found; a provider whose new file cannot be read gets its last good ones."""
    while True:
        source = compose(home, looked.files)
        inputs = {"source": str(source), "accept": list(options.accept), "notes": looked.notes, "uri": options.uri}
        try:
            return run_task(home, ledger, "build", inputs, anew=True)
        except InputFileError as error:
            name = give_up_broken(home, looked, source, error, error.file)
            say(f"{name}: {error}; its last good files are used")


def _embed(home: Home, ledger: Ledger, release: str, before: str | None, say: Say) -> list[dict[str, Any]]:
    """Embed for the new release what the one before has; after a crash that is its parent by the publications."""
    from aroma.kgstore.publications import read_publications

    parents = [entry.parent for entry in read_publications(home) if entry.release == release and entry.parent]
    origin = before if before is not None and before != release else parents[-1] if parents else None
    return embed_again(home, ledger, origin, release, say) if origin is not None else []


def _model(
    home: Home,
    ledger: Ledger,
    planned: Mapping[str, Any],
    options: RefreshOptions,
    report: Report,
    keep: Keep,
    say: Say,
) -> dict[str, Any]:
    """Train, evaluate and promote one plug-in; a failure is said and does not stop the others."""
    name, inputs = str(planned["plugin"]), planned["inputs"]
    try:
        with _timed(report, f"train {name}", say) as step:
            trained = run_task(home, ledger, "train", inputs)
            step.update(trained)
        keep()
        asked = {"model": trained["model"], "outcomes": inputs["outcomes"], "split": inputs["split"]}
        asked |= {"margin": options.margin, "anchor": _anchor(home, planned, trained["model"])}
        with _timed(report, f"evaluate {name}", say) as step:
            found = run_task(home, ledger, "evaluate", asked)
            step.update(found)
        keep()
        with _timed(report, f"promote {name}", say) as step:
            decided = run_task(home, ledger, "promote", {"report": found["report"]}, anew=True)
            step.update(decided)
    except StoppedError:
        raise
    except AromaError as error:
        say(f"{name}: {error}")
        alert(
            home,
            {"run": report.run, "plugin": name, PROBLEM: {"kind": type(error).__name__, "message": str(error)}},
            say,
        )
        return {"plugin": name, "action": "failed", "reason": str(error)}
    tracked(home, trained["model"], decided)
    return {"plugin": name, "model": trained["model"], "action": decided["decision"], "reason": decided["reason"],
            "report": decided["report"]}  # fmt: skip


def _anchor(home: Home, planned: Mapping[str, Any], model: str) -> str | None:
    """Return what a model is compared with: the best ever served; as planned where that is the model itself by now."""
    from aroma.model.serving.history import anchor_of

    found = anchor_of(home, str(planned["plugin"]))
    if found is not None and found.model != model:
        return found.model
    return None if planned["anchor"] is None else str(planned["anchor"])


@contextmanager
def _timed(report: Report, name: str, say: Say) -> Iterator[dict[str, Any]]:
    say(name)
    started, found = time.perf_counter(), dict[str, Any]()
    try:
        yield found
    finally:
        reused = bool(found.pop("_reused", False))
        seconds = round(time.perf_counter() - started, 2)
        report.steps.append({"step": name, "seconds": seconds, "done_before": reused, **found})


def _write(home: Home, said: Mapping[str, Any]) -> None:
    write_durably(
        refresh_directory(home) / "reports" / f"{said['run']}.json", json.dumps(said, indent=1, ensure_ascii=False)
    )


def refresh_ledger(home: Home) -> Ledger:
    """Return the ledger of refreshes: the home's one."""
    return embeddings_ledger(home)
