"""The gate before every sentence about a fit: whether its figures may be told as findings, and why not."""

from __future__ import annotations

import numpy as np
from liftos.bayes.v1 import common_pb2

from engine.conflict.reliability import curve_refusals, held_back
from engine.errors import InvalidInput, UnsupportedQuantity
from server.contract.wire import quantity_name
from server.texts.standing import Standing, missed_thresholds
from server.worker.fitting.fits import StoredFit, curve_of_draws


class Gate:
    """What may be told of a fit; worked out once per answer and asked by everything that says something of it.

    `refusals` hold of the fit as a whole, `standing` of one of its quantities: there the evidence curve is held
    against the limits of the conflict analysis, so that no answer tells as a finding what another calls unreliable.
    """

    def __init__(self, fit: StoredFit) -> None:
        self.fit = fit
        missed = missed_thresholds(fit.diagnostics)
        self.refusals: tuple[str, ...] = (missed,) if missed else ()
        self._standings: dict[str, Standing] = {}

    def standing(self, estimand: common_pb2.Estimand) -> Standing:
        """As what the figure of a quantity may be told.

        A quantity of which no law of the prior is known has no curve: only the fit as a whole speaks against it.
        """
        name = quantity_name(estimand)
        if name not in self._standings:
            self._standings[name] = self._judged(estimand, name)
        return self._standings[name]

    def _judged(self, estimand: common_pb2.Estimand, name: str) -> Standing:
        if self.refusals:
            return Standing(self.refusals)
        fit, draws = self.fit, self.fit.draws_of(name)
        if not np.all(np.isfinite(draws)):
            return Standing(("some of its draws are not finite",))
        try:
            curve = curve_of_draws(fit.model, draws, estimand, fit.months, fit.seed, with_error=False)
        except (InvalidInput, UnsupportedQuantity):
            return Standing()
        return Standing(curve_refusals(curve), held_back=held_back(curve), silent=curve.is_silent)
