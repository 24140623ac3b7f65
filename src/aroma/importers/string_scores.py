"""STRING's combined score: put together from the channels, with some of them left out.

Source: STRING's own scripts ``combine_subscores.py`` (versions 9 to 11.5) and ``combine_subscores.v2.py`` (12 and
later), https://string-db.org/cgi/download, and von Mering et al. 2005, Nucleic Acids Research 33:D433. Each channel
score s is freed from the prior p = 0.041, (s - p) / (1 - p) and never below 0; a channel's direct and transferred
scores, then all channels, are joined as 1 - prod(1 - s); the prior is added back once, s (1 - p) + p. Up to 11.5
the co-occurrence and text-mining channels are first scaled by 1 - homology; from 12 on the published script has no
such step. Which of the two made a file is told by the file itself: ``fit_formula`` takes the one that gives its
combined scores back.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.errors import UsageError
from aroma.kgstore import schema

PRIOR: Final = 0.041
CUTOFF: Final = 150
"""STRING publishes no pair below this combined score; a recombined score is held to the same."""
TOLERANCE: Final = 2
"""Largest difference, in thousandths, at which a row's channels count as giving its combined score back."""
CHANNELS: Final = (
    "neighborhood",
    "fusion",
    "cooccurence",
    "coexpression",
    "experiments",
    "database",
    "textmining",
)
_HOMOLOGY_CORRECTED: Final = ("cooccurence", "textmining")


@dataclass(frozen=True, slots=True)
class Formula:
    """Which of STRING's two formulas made a file.

    Attributes:
        homology_corrected: Co-occurrence and text mining are scaled by 1 - homology.
        reproduced: Share of the file's rows whose combined score it gives back within ``TOLERANCE``.
    """

    homology_corrected: bool
    reproduced: float


def check_channels(names: Iterable[str]) -> frozenset[str]:
    """Return ``names`` as a set after checking that each is a STRING channel.

    Raises:
        UsageError: A name is no channel; the message gives the nearest one, or all.
    """
    wanted = frozenset(name.strip().lower() for name in names)
    for name in sorted(wanted - set(CHANNELS)):
        if name.endswith("_transferred"):
            hint = f"transferred scores go with their channel: use {name.removesuffix('_transferred')!r}"
        elif near := difflib.get_close_matches(name, CHANNELS, n=1):
            hint = f"did you mean {near[0]!r}?"
        else:
            hint = f"channels are {', '.join(CHANNELS)}"
        raise UsageError(f"{name!r} is not a STRING channel that can be left out; {hint}")
    return wanted


def combined_score(*, excluded: Iterable[str] = (), homology_corrected: bool) -> pl.Expr:
    """Return the combined score (Int16, 0 to 1000) over the ``score_<channel>`` columns; nulls count as 0.

    As in STRING's scripts the result is cut, not rounded, so a lone channel of 900 may give 899. Without any evidence
    left the score is the prior, 41.
    """
    left_out = frozenset(excluded)
    absent = pl.lit(1.0)
    for channel in CHANNELS:
        if channel not in left_out:
            absent = absent * (1.0 - _channel(channel, homology_corrected=homology_corrected))
    score = (1.0 - absent) * (1.0 - PRIOR) + PRIOR
    return (score * 1000).floor().clip(0, 1000).cast(pl.Int16)


def fit_formula(rows: pl.DataFrame) -> Formula:
    """Return the formula that gives back most of the ``score`` column from the channel columns of ``rows``."""
    shares = {
        corrected: float(rows.select(reproduced(homology_corrected=corrected).mean()).item() or 0.0)
        for corrected in (False, True)
    }
    best = max(shares, key=lambda corrected: shares[corrected])
    return Formula(homology_corrected=best, reproduced=shares[best])


def reproduced(*, homology_corrected: bool) -> pl.Expr:
    """Tell for each row whether its channels give its ``score`` back within ``TOLERANCE``."""
    return (combined_score(homology_corrected=homology_corrected) - pl.col("score")).abs() <= TOLERANCE


def _channel(channel: str, *, homology_corrected: bool) -> pl.Expr:
    direct = _without_prior(channel)
    transferred = f"{channel}_transferred"
    both = direct
    if transferred in schema.STRING_CHANNELS:
        both = 1.0 - (1.0 - direct) * (1.0 - _without_prior(transferred))
    if homology_corrected and channel in _HOMOLOGY_CORRECTED:
        both = both * (1.0 - _fraction("homology"))
    return both


def _without_prior(channel: str) -> pl.Expr:
    return ((_fraction(channel) - PRIOR) / (1.0 - PRIOR)).clip(0.0, 1.0)


def _fraction(channel: str) -> pl.Expr:
    return pl.col(f"score_{channel}").fill_null(0).cast(pl.Float64) / 1000.0
