"""Tracking of trainings and promotions in MLflow, where the extra ``tracking`` is installed.

Runs stand in ``HOME/models/mlflow.sqlite``, or where ``MLFLOW_TRACKING_URI`` says; look at them with ``mlflow ui``.
Nothing here decides anything: without the extra nothing is tracked and nothing else changes.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url

from aroma.errors import ModelError
from aroma.kgstore.home import Home
from aroma.model.serving.store import find_model, models_directory

URI_VARIABLE: Final = "MLFLOW_TRACKING_URI"
EXPERIMENT: Final = "aroma"
_LONGEST: Final = 500
_log = logging.getLogger("aroma.tracking")


def is_installed() -> bool:
    """Tell whether the extra is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("mlflow", "alembic", "sqlalchemy"))


def require_installed() -> None:
    """Refuse where the extra is missing and was asked for.

    Raises:
        ModelError: It is not installed.
    """
    if not is_installed():
        raise ModelError("tracking needs packages that are not installed; pip install 'aroma-evidence[tracking]'")


def tracking_uri(home: Home) -> str:
    """Return where runs are written."""
    return os.environ.get(URI_VARIABLE, "").strip() or f"sqlite:///{models_directory(home) / 'mlflow.sqlite'}"


def tracked(home: Home, model: str, decision: Mapping[str, Any], *, asked: bool = False) -> str | None:
    """Write a model's training and the decision on it as one MLflow run; return the run's id, or None.

    Args:
        home: Where the model is.
        model: Id of a stored model.
        decision: The promotion's fields (``aroma.model.serving.history.Promotion``).
        asked: The user asked for it, so that a missing extra is an error.

    Raises:
        ModelError: ``asked``, and the extra is missing or MLflow cannot write.
    """
    if asked:
        require_installed()
    elif not is_installed():
        return None
    try:
        return _write(home, model, decision)
    except Exception as error:  # MLflow raises of every kind, and tracking must not stop a refresh
        said = f"MLflow at {tracking_uri(home)} cannot be written: {error}"
        if asked:
            raise ModelError(f"{said}; look at {URI_VARIABLE}") from error
        _log.warning("%s", said)
        return None


def _write(home: Home, model: str, decision: Mapping[str, Any]) -> str:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"
    )  # its own seven tries would hold a refresh for minutes
    client = MlflowClient(tracking_uri=_checked(tracking_uri(home)))
    place = (models_directory(home) / "artifacts").resolve().as_uri()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location=place)
    params, tags, metrics = _said(home, model, decision)
    same = f"attributes.run_name = '{model}' and tags.report = '{tags['report']}' and tags.action = '{tags['action']}'"
    there = client.search_runs([number], filter_string=same, max_results=1)  # a refresh that was taken up again
    if there and there[0].info.status == "FINISHED":
        return str(there[0].info.run_id)
    run = there[0] if there else client.create_run(number, run_name=model, tags=tags)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, run.info.start_time, 0) for name, value in metrics.items()],
        params=[Param(name, value[:_LONGEST]) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _checked(address: str) -> str:
    """Return the address; where it is a file that cannot be, say so at once: MLflow would try for minutes."""
    url = make_url(address) if address.startswith("sqlite") else None
    if url is not None and url.database and not Path(url.database).parent.is_dir():
        raise ModelError(f"{Path(url.database).parent} is no directory")
    return address


def _said(
    home: Home, model: str, decision: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str], dict[str, float]]:
    """Return parameters, tags (with the paths of model and report) and metrics of a run."""
    from aroma.model.serving.promotion import read_report, reports_directory

    stored = find_model(home, model)
    card = stored.card
    params = {"plugin": card.plugin, "version": card.version, "release": card.release, "split": card.split}
    params |= {
        "seed": str(card.seed),
        "training_sha256": card.training_sha256,
        "training_rows": str(card.training_rows),
    }
    params |= {f"setting.{name}": str(value) for name, value in card.parameters.items()}
    tags = {"action": str(decision["action"]), "reason": str(decision["reason"]), "model": str(stored.directory)}
    tags["report"] = ""
    metrics: dict[str, float] = {}
    if report := str(decision.get("report") or ""):
        tags["report"] = str(reports_directory(home) / report)
        found = read_report(home, report)
        if found["comparison"]:
            measures = found["comparison"]["models"][-1]["measures"]
            metrics = {name: said["value"] for name, said in measures.items() if said["value"] is not None}
    return params, tags, metrics
