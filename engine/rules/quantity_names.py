"""Names of quantities, as models, fits, ledgers and digests have them: the kind, and in brackets what it belongs to."""

from __future__ import annotations

TOTAL_MEDIA_SHARE = "total_media_share_of_outcome"
"""Of all channels together, so that it belongs to none."""


def name_of(kind: str, owner: str = "") -> str:
    """`roi[tv]` is the roi of tv; what belongs to nothing is called as its kind."""
    return f"{kind}[{owner}]" if owner else kind


def split_name(name: str) -> tuple[str, str]:
    """Kind and owner of a name, the owner empty where it has none."""
    kind, _, owner = name.partition("[")
    return kind, owner.removesuffix("]")
