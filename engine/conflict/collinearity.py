"""How much of a channel's exposure the rest of the model already says."""

from __future__ import annotations

import numpy as np

from engine.models.protocol import Regresses


def collinearity(model: Regresses, channel: str) -> float:
    """R² in [0, 1] of what a channel acts by on everything else that explains the outcome, by `Regresses.regression`.

    Near 1 the data cannot tell the channel from the rest. Raises InvalidInput for a channel that the model does not
    have.
    """
    regression = model.regression(channel)
    own, explained = regression.own, regression.rest
    rest = own - explained @ np.linalg.lstsq(explained, own)[0]
    spread = own - own.mean()
    total = float(spread @ spread)
    # Exposure that never varies is the intercept's.
    return float(np.clip(1.0 - rest @ rest / total, 0.0, 1.0)) if total > 1e-24 * float(own @ own) else 1.0
