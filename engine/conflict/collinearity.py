"""How much of a channel's exposure the rest of the model already says."""

from __future__ import annotations

import numpy as np

from engine.errors import InvalidInput
from engine.models.additive_mmm import AdditiveMmm
from engine.models.additive_simulator import adstock
from engine.rules.quantity_names import name_of


def collinearity(model: AdditiveMmm, channel: str) -> float:
    """R² in [0, 1] of a channel's adstocked exposure on that of the other channels and on the linear part.

    Retentions are at their prior medians; the linear part holds intercept, trend, seasonality, controls and the
    intercepts of geos; rows are those of the window. Near 1 the data cannot tell the channel from the rest. Raises
    InvalidInput for a channel that the model does not have.
    """
    names = [each.name for each in model.spec.channels]
    if channel not in names:
        raise InvalidInput("channel", f"the model has no channel {channel!r}; it has {', '.join(names)}")
    design = model.design
    media = np.stack(
        [
            adstock(
                design.exposure[:, index, : design.n_weights[index]],
                float(model.priors[name_of("retention", name)].ppf(0.5)),
            )
            for index, name in enumerate(names)
        ],
        axis=1,
    )
    index = names.index(channel)
    own, others = media[:, index], np.delete(media, index, axis=1)
    explained = np.column_stack([design.block, others])
    rest = own - explained @ np.linalg.lstsq(explained, own)[0]
    spread = own - own.mean()
    total = float(spread @ spread)
    # Exposure that never varies is the intercept's.
    return float(np.clip(1.0 - rest @ rest / total, 0.0, 1.0)) if total > 1e-24 * float(own @ own) else 1.0
