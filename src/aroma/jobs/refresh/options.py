"""What a refresh is asked to do, as JSON values, so that it can stand in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aroma.errors import UsageError
from aroma.model.registry import plugin
from aroma.model.serving.comparing import MARGIN, Terms


@dataclass(frozen=True, slots=True)
class RefreshOptions:
    """What a refresh does.

    Attributes:
        source: Directory of providers' files; None: they are downloaded.
        providers: Which to download; empty: those of the published release, all where there is none.
        plugins: Which are retrained; None: those that are served.
        split: Split that is withheld for the comparison; None: the official one, else ``dev``.
        accept: Gates to let pass by name.
        margin: How much worse a retrained model may be.
        uri: Database; None for the setting's.
        embed: Whether vector sets of the release before are made for the new one.
    """

    source: str | None = None
    providers: tuple[str, ...] = ()
    plugins: tuple[str, ...] | None = None
    split: str | None = None
    accept: tuple[str, ...] = ()
    margin: float = MARGIN
    uri: str | None = None
    embed: bool = True

    def __post_init__(self) -> None:
        for name in self.plugins or ():
            plugin(name)
        Terms(self.margin)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> RefreshOptions:
        """Return the options that ``to_dict`` gave.

        Raises:
            UsageError: They are another version's.
        """
        try:
            plugins = None if said["plugins"] is None else tuple(said["plugins"])
            lists = {"providers": tuple(said["providers"]), "accept": tuple(said["accept"]), "plugins": plugins}
            return cls(**{**said, **lists})
        except (KeyError, TypeError) as error:
            raise UsageError(f"a refresh was planned by another version of this program ({error}); ask anew") from error
