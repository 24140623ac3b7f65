"""The receipt beside a downloaded file: where it came from, when, and what its bytes hash to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pydantic

SUFFIX: Final = ".receipt.json"
PARTIAL_SUFFIX: Final = ".part"


class Receipt(pydantic.BaseModel):
    """What ``aroma download`` knows about a file, written as ``<file>.receipt.json``.

    Attributes:
        url: Address asked for.
        final_url: Address that answered, after redirects.
        retrieved_at: When the last byte arrived, ISO 8601, UTC.
        bytes: Size on disk.
        sha256: Of the bytes on disk, hex.
        etag: The server's, for a conditional request the next time.
        last_modified: The server's header, as sent.
        version: The provider's release, or ``undated``.
        version_found: How the version is known.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    url: str
    final_url: str
    retrieved_at: str
    bytes: int
    sha256: str
    etag: str | None = None
    last_modified: str | None = None
    version: str
    version_found: str


def receipt_path(file: Path) -> Path:
    """Return where the receipt of ``file`` stands."""
    return file.with_name(file.name + SUFFIX)


def read_receipt(file: Path) -> Receipt | None:
    """Return the receipt of ``file``; None where there is none, it is damaged, or the file's size is another."""
    try:
        receipt = Receipt.model_validate_json(receipt_path(file).read_bytes())
        return receipt if receipt.bytes == file.stat().st_size else None
    except (OSError, pydantic.ValidationError):
        return None
