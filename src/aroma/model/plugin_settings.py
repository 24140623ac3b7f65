"""Settings of a plug-in, as a user gives them: text from the command line, or values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from aroma.errors import UsageError


class HasSettings(Protocol):
    """What a plug-in says of its settings: its name, and the default of each."""

    name: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]]


def read_settings(cls: type[HasSettings], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a plug-in, those given read as the type of their default.

    Raises:
        UsageError: A setting that the plug-in has not, or a value that is none of its type.
    """
    settings: dict[str, Any] = dict(cls.defaults)
    for name, value in given.items():
        if name not in settings:
            known = ", ".join(cls.defaults) or "none"
            raise UsageError(f"plug-in {cls.name} has no setting {name!r}; it has: {known}")
        settings[name] = _as_type(cls.name, name, value, type(settings[name]))
    return settings


def _as_type(plugin: str, name: str, value: Any, kind: type) -> Any:
    text = str(value).strip()
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        made = kind(text)
    except (KeyError, ValueError) as error:
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"setting {name} of {plugin} is {text!r}; give {wanted}") from error
    if isinstance(made, float) and not math.isfinite(made):
        raise UsageError(f"setting {name} of {plugin} is {text!r}; give a number")
    return made
