"""Remarks on beliefs that cannot all hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from liftos.bayes.v1 import common_pb2, elicitation_pb2

from server.contract.quantities import WHOLES, quantity_words
from server.texts.formats import shown


def coherence_notes(
    beliefs: Sequence[elicitation_pb2.Belief],
    channels: Sequence[str],
    groups: Sequence[elicitation_pb2.ShareGroup] = (),
    correlated: Collection[str] = (),
) -> list[str]:
    """Remarks on the beliefs about a model with these channels taken together, before any data are looked at.

    Shares that were stated together, in one of the groups, sum to what they should by construction. Of shares that are
    `correlated`, as those of an adopted update are, nothing is said that holds for independent ones.
    """
    notes = []
    together = {belief_id for group in groups for belief_id in group.belief_ids}
    stated: dict[common_pb2.Quantity.ValueType, dict[str, common_pb2.Estimate]] = {}
    alone: dict[common_pb2.Quantity.ValueType, dict[str, common_pb2.Estimate]] = {}
    for belief in beliefs:
        stated.setdefault(belief.estimand.quantity, {})[belief.estimand.channel] = belief.summary
        if belief.belief_id not in together:
            alone.setdefault(belief.estimand.quantity, {})[belief.estimand.channel] = belief.summary
    coupled = {belief.estimand.quantity for belief in beliefs if belief.belief_id in correlated}
    for quantity in WHOLES:
        independent = quantity not in coupled
        if alone.get(quantity) and (note := _whole_note(quantity, stated[quantity], channels, independent)):
            notes.append(note)
    shares = stated.get(common_pb2.QUANTITY_SHARE_OF_OUTCOME, {})
    totals = stated.get(common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME, {})
    for whole in totals.values():
        if whole.mean > 1:
            notes.append(
                f"The stated total of all media is {_percent(whole.mean)} of outcome, which leaves a negative baseline."
            )
        if shares and (note := _total_note(whole, shares, set(channels) == set(shares))):
            notes.append(note)
        for channel, part in stated.get(common_pb2.QUANTITY_SHARE_OF_MEDIA, {}).items():
            if channel in shares and (note := _product_note(channel, part, whole, shares[channel])):
                notes.append(note)
    return notes


def _percent(share: float) -> str:
    return shown(share, common_pb2.QUANTITY_SHARE_OF_OUTCOME)


def _whole_note(
    quantity: common_pb2.Quantity.ValueType,
    shares: Mapping[str, common_pb2.Estimate],
    channels: Sequence[str],
    independent: bool,
) -> str:
    """A remark when shares exceed the whole, may well do so, or are all there is without filling it."""
    name = quantity_words(quantity)
    total = sum(share.mean for share in shares.values())
    if total > 1:
        return (
            f"The stated means of {name} sum to {_percent(total)}, which is more than the whole: "
            "together these beliefs leave a negative rest."
        )
    if not independent or not all(share.HasField("mean") and share.HasField("sd") for share in shares.values()):
        return ""
    spread = math.hypot(*(share.sd for share in shares.values()))
    if quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA and set(shares) == set(channels) and total + 1.96 * spread < 1:
        return (
            f"The stated means of {name} of all channels sum to {_percent(total)}, which is less than the whole by "
            "more than chance. State them together, so that they sum to 100 %."
        )
    chance = 0.5 * math.erfc((1 - total) / (spread * math.sqrt(2.0))) if spread > 0 else 0.0
    if chance > 0.05 and len(shares) > 1:
        return (
            f"Taken as independent, the stated beliefs about {name} exceed the whole with a probability of "
            f"{100 * chance:.0f} %. State them together, so that they cannot."
        )
    return ""


def _product_note(
    channel: str, of_media: common_pb2.Estimate, media: common_pb2.Estimate, of_outcome: common_pb2.Estimate
) -> str:
    """A remark when a share of outcome is not the share of media of the total, by more than 1.96 of the joint sds."""
    if not all(part.HasField("mean") and part.HasField("sd") for part in (of_media, media, of_outcome)):
        return ""
    implied = of_media.mean * media.mean
    spread = math.hypot(of_media.sd * media.mean, of_media.mean * media.sd, of_outcome.sd)
    if abs(implied - of_outcome.mean) <= 1.96 * spread:
        return ""
    return (
        f"{channel}'s stated share of media, {_percent(of_media.mean)}, of the stated total of all media, "
        f"{_percent(media.mean)}, would be {_percent(implied)} of outcome, but {_percent(of_outcome.mean)} is stated: "
        "more than chance apart."
    )


def _total_note(whole: common_pb2.Estimate, shares: Mapping[str, common_pb2.Estimate], complete: bool) -> str:
    """A remark when stated total and sum of the stated shares are more than 1.96 of their joint sds apart.

    Where shares are missing only a sum above the total is. The beliefs are taken as independent, as they are when they
    are put into the model one by one.
    """
    parts = list(shares.values())
    if not all(part.HasField("mean") and part.HasField("sd") for part in (whole, *parts)):
        return ""
    total, spread = sum(part.mean for part in parts), math.hypot(whole.sd, *(part.sd for part in parts))
    apart = abs(whole.mean - total) if complete else total - whole.mean
    if apart <= 1.96 * spread:
        return ""
    of = "all channels" if complete else " and ".join(sorted(shares))
    return (
        f"The stated shares of outcome of {of} sum to {_percent(total)}, the stated total of all media is "
        f"{_percent(whole.mean)}: more than chance apart, so not all of these beliefs can hold."
    )
