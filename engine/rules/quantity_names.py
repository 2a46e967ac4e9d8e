"""Names of quantities, as models, fits, ledgers and digests have them: the kind, and in brackets what it belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import UnsupportedQuantity

TOTAL_MEDIA_SHARE = "total_media_share_of_outcome"
"""Of all channels together, so that it belongs to none."""


LOG_LIKELIHOOD = "log_likelihood"
LOG_PRIOR = "log_prior"
LOG_JOINT = "log_joint"
"""log_likelihood + log_prior, the unnormalised log posterior: its rank is that of the highest-density region."""
OPERATORS = (" + ", " - ", " * ", " / ")
"""What joins two quantities to one; a combination shows errors in how the two depend on each other."""

_LISTED = 60
"""So many names are listed in an error: a panel has one for every geo."""


def name_of(kind: str, owner: str = "") -> str:
    """`roi[tv]` is the roi of tv; what belongs to nothing is called as its kind."""
    return f"{kind}[{owner}]" if owner else kind


def split_name(name: str) -> tuple[str, str]:
    """Kind and owner of a name, the owner empty where it has none."""
    kind, _, owner = name.partition("[")
    return kind, owner.removesuffix("]")


def operands(name: str, known: Sequence[str]) -> tuple[str, str, str]:
    """The two quantities of a combination and the operator between them; a known name is itself plus nothing."""
    if name in known:
        return name, "", ""
    for symbol in OPERATORS:
        parts = name.split(symbol)  # names may contain an operator themselves
        for cut in range(1, len(parts)):
            left, right = symbol.join(parts[:cut]), symbol.join(parts[cut:])
            if left in known and right in known:
                return left, symbol, right
    raise UnsupportedQuantity(
        name,
        f"{name!r} is neither a quantity to rank nor two of them joined by + - * / between blanks; there are "
        f"{', '.join(known[:_LISTED])}{f' and {len(known) - _LISTED} more' if len(known) > _LISTED else ''}",
    )


FLAT = (LOG_PRIOR, LOG_JOINT)
"""Not ranked where every prior is uniform: the one is then a constant, and the other the log likelihood plus it."""


def check_ranked(name: str, known: Sequence[str], *, flat: bool = False) -> None:
    """UnsupportedQuantity unless the name is one of a quantity that varies: a known one, or two of them joined.

    flat: whether every prior is uniform, so that what is in FLAT cannot be ranked.
    """
    varying = [each for each in known if not (flat and each in FLAT)]
    try:
        left, symbol, right = operands(name, varying)
    except UnsupportedQuantity as unknown:
        constant = _constant_part(name, known) if flat else ""
        if not constant:
            raise
        message = f"{constant!r} cannot be ranked: every prior is uniform, so that the log prior is a constant"
        raise UnsupportedQuantity(name, message) from unknown
    if left == right and symbol in (" - ", " / "):
        raise UnsupportedQuantity(name, f"{name!r} is a constant, which cannot be ranked")


def check_recovered(name: str, known: Sequence[str]) -> None:
    """UnsupportedQuantity unless the name is one of a quantity that has a value at one fixed truth, and varies."""
    left, _, right = operands(name, known)
    for part in (left, right):
        if part in (LOG_LIKELIHOOD, *FLAT):
            raise UnsupportedQuantity(name, f"{part!r} is no figure to recover: it has no truth without data")
    check_ranked(name, known)


def _constant_part(name: str, known: Sequence[str]) -> str:
    """The part of a known name that flat priors leave without ranks; empty where the name is unknown."""
    try:
        parts = operands(name, known)
    except UnsupportedQuantity:
        return ""
    return next(part for part in parts if part in FLAT)
