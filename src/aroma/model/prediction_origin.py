"""What stands with a file of predictions: which model answered what, so that its lineage can be told from the file.

In Parquet it is the schema's metadata under ``aroma.lineage``; beside a CSV it is ``<file>.lineage.json``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet

from aroma.errors import InputFileError

KEY: Final = "aroma.lineage"
SUFFIX: Final = ".lineage.json"


@dataclass(frozen=True, slots=True)
class PredictionOrigin:
    """Where a file of predictions comes from.

    Attributes:
        prediction: Prediction id (``aroma.model.identity``).
        model: Model id.
        plugin: Name of the plug-in.
        version: Its version.
        release: Release that the model stands on.
        inputs_sha256: Hash of the rows asked, as ``aroma.model.identity.inputs_hash`` has it.
        pairs_file: Name of the file of pairs.
        pairs_sha256: Hash of its bytes.
        rows: How many rows.
        made_at: ISO 8601, UTC.
    """

    prediction: str
    model: str
    plugin: str
    version: str
    release: str
    inputs_sha256: str
    pairs_file: str
    pairs_sha256: str
    rows: int
    made_at: str

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def sidecar(path: Path) -> Path:
    """Return where the origin of a CSV stands."""
    return path.with_name(path.name + SUFFIX)


def read_prediction_origin(path: Path) -> PredictionOrigin | None:
    """Return what stands with a file; None where the file is none of ours.

    Raises:
        InputFileError: What stands there is damaged.
    """
    text = _text_of(path)
    if text is None:
        return None
    try:
        return PredictionOrigin(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputFileError(f"its lineage cannot be read ({error}); predict again", file=path) from error


def _text_of(path: Path) -> bytes | None:
    if sidecar(path).is_file():
        return sidecar(path).read_bytes()
    if path.suffix != ".parquet":
        return None
    try:
        found: bytes | None = (pa.parquet.read_schema(path).metadata or {}).get(KEY.encode())
    except (OSError, pa.ArrowException):
        return None
    return found
