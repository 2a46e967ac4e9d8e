"""What the conflict analysis says about open data: a right, a wrong and a vague belief about every channel.

Every posterior stands beside that of NumPyro's NUTS on the model with nothing integrated out, so that a verdict can be
told from an error of the sampler. Where the truth of a data set is unknown, the belief that stands for a right one
comes from elsewhere than the window that judges it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.conflict.analysis import BeliefConflict, analyse_belief
from engine.conflict.bayes_factor import BayesFactor
from engine.conflict.bridges import bridges
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import UNIT_INTERVAL, Distribution
from engine.elicitation.moments import Meaning, fit_mean_plus_minus
from engine.errors import InvalidInput
from engine.inference.batch import FitSettings
from engine.inference.diagnostics import summary
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, Saturation, Table, prepare
from tests.agreement import STATISTICS, differences, estimates
from tests.bench import machine
from tests.bench.accuracy import DATA_SETS, FORMS, MONTHS, File, Form
from tests.oracle import nuts

__all__ = ["CASES", "Case", "Fits", "Stated", "analyse", "beliefs", "fitted"]

Floats = NDArray[np.float64]
Row = dict[str, Any]

_FAR = 4.0
"""Standard deviations of the data between their mean and the centre of a wrong belief, on the unconstrained scale."""

_VAGUE_SHARE, _VAGUE_ROI = (0.3, 0.2), (1.5, 1.5)
"""Mean and sd of a vague belief."""


@dataclass(frozen=True)
class Stated:
    """A belief in a client's words, "mean ± plus_minus" as a standard deviation, and where it comes from."""

    kind: str
    origin: str
    mean: float
    plus_minus: float

    def law(self, reference: Distribution) -> Distribution:
        """The belief as the service compiles it for a quantity with this reference prior."""
        return fit_mean_plus_minus(self.mean, self.plus_minus, Meaning.SD, None, reference.support).distribution


@dataclass(frozen=True)
class Case:
    """A data set, one form of its model, and the beliefs that do not come from the data, by channel and kind."""

    data_set: File
    form: Form
    stated: Mapping[str, tuple[Stated, ...]] = field(default_factory=dict)

    def earlier(self) -> AdditiveMmm:
        """The same model of the rows before the window."""
        table, first = self.data_set.table(), self.data_set.model(self.form).window.first_date
        before = table.dates < first
        kept = Table(
            table.dates[before],
            {name: values[before] for name, values in table.columns.items()},
            None if table.geos is None else table.geos[before],
        )
        return prepare(kept, self.data_set.spec(self.form))


def _published(share_of_outcome: float) -> tuple[Stated, ...]:
    return (Stated("right", "published", share_of_outcome, _said(share_of_outcome / 3.0)),)


def _said(value: float) -> float:
    """The number in two digits, as a client would say it."""
    return float(f"{value:.2g}")


_FILES = {data_set.name: data_set for data_set in DATA_SETS if isinstance(data_set, File)}
_HILL_SHARE, _LOGISTIC_ROI = FORMS

CASES = (
    Case(
        _FILES["pymc_mmm_example"],
        Form("logistic, share", Saturation.LOGISTIC, by_roi=False),
        # The truth in the last 104 weeks (README of the data), and the wrong belief about x1 of the same page.
        {
            "x1": (Stated("right", "truth", 0.266, 0.03), Stated("wrong", "half", 0.5, 0.1)),
            "x2": (Stated("right", "truth", 0.072, 0.02), Stated("wrong", "a quarter", 0.25, 0.05)),
        },
    ),
    Case(_FILES["robyn_dt_simulated_weekly"], _LOGISTIC_ROI),
    Case(
        File(
            "meridian_national_all_channels",
            _FILES["meridian_geo_media"].path.with_name("meridian_national_all_channels.csv"),
            dates="time",
            kpi="conversions",
            media={f"paid_{index}": (f"Channel{index}_impression", f"Channel{index}_spend") for index in range(5)},
            controls=("competitor_sales_control", "sentiment_score_control", "Promo"),
            revenue_per_kpi="revenue_per_conversion",
        ),
        _LOGISTIC_ROI,
    ),
    Case(_FILES["meridian_geo_media"], _HILL_SHARE),
    Case(
        _FILES["retail_209w_mmm_stan"],
        _HILL_SHARE,
        # The published split of media (README of the data) times their 20 % of sales: another model, all 13 channels.
        {
            "direct_mail": _published(0.022),
            "online": _published(0.016),
            "search": _published(0.042),
            "email": _published(0.020),
        },
    ),
)


@dataclass(frozen=True)
class Fits:
    """Draws [quantities, chains, draws] of what each channel is sampled by: ours, those of NUTS, of earlier weeks."""

    names: tuple[str, ...]
    ours: Floats
    theirs: Floats
    before: Floats | None
    said: Mapping[str, Any]


def fitted(case: Case, *, warmup: int = 1000, draws: int = 2000) -> Fits:
    """Fit a case with the service's settings for a client's own data and with NUTS, in four chains of `draws`."""
    enable_float64()
    model = case.data_set.model(case.form)
    names = model.parameter_names[: len(case.data_set.media)]
    ours, ok = _ours(model, names)
    found = nuts(model, model.observed, warmup=warmup, draws=draws)
    theirs = np.stack([found.draws[name] for name in names])
    said = {
        "model": f"{case.form.saturation.value}, {case.form.name.split(', ')[1]}",
        "parameters": len(model.parameter_names),
        "first_date": str(model.window.first_date),
        "last_date": str(model.window.last_date),
        "ok": ok,
        "divergences_of_nuts": found.divergences,
        "seconds_of_nuts": found.seconds,
    }
    if case.stated:
        return Fits(names, ours, theirs, None, said)
    earlier = case.earlier()
    before, ok_before = _ours(earlier, names)
    window = {"first_date": str(earlier.window.first_date), "last_date": str(earlier.window.last_date)}
    return Fits(names, ours, theirs, before, said | {"earlier": window | {"ok": ok_before}})


def _ours(model: AdditiveMmm, names: tuple[str, ...]) -> tuple[Floats, bool]:
    fit = model.fit(model.observed[:, None], Seed.of(3), np.arange(1), FitSettings.single())
    return np.stack([fit.draws[name][0] for name in names]), bool(fit.diagnostics.ok[0])


def beliefs(case: Case, fits: Fits, index: int, reference: Distribution) -> list[Stated]:
    """The right, the wrong and the vague belief about a channel; what a case does not state is made of draws.

    Right: the posterior of the weeks before the window, which the window's data have not made.
    """
    channel = list(case.data_set.media)[index]
    found = {stated.kind: stated for stated in case.stated.get(channel, ())}
    if "right" not in found and fits.before is not None:
        earlier = fits.before[index]
        found["right"] = Stated("right", "earlier weeks", _said(float(earlier.mean())), _said(float(earlier.std())))
    if "wrong" not in found:
        found["wrong"] = _wrong(fits.theirs[index], reference)
    wide = _VAGUE_SHARE if reference.support == UNIT_INTERVAL else _VAGUE_ROI
    found["vague"] = Stated("vague", "wide", *wide)
    return [found[kind] for kind in ("right", "wrong", "vague")]


def _wrong(draws: Floats, reference: Distribution) -> Stated:
    """A belief `_FAR` sds of what NUTS finds away from it, or as far as the reference prior admits, and as sharp.

    All on the unconstrained scale. It lies on the side where there is more room, inside the central 90 % of the
    reference, and is sharpened until half a per cent of it at most lies outside of 99.8 %: otherwise it would be
    refused and not judged. With 4 sds its recentred factor were exp(4²/4) = 54.6 if all was normal and the reference
    flat.
    """
    support = reference.support
    u = support.to_unconstrained(draws)
    mean, sd = float(u.mean()), float(u.std())
    low, high = (float(support.to_unconstrained(end)) for end in reference.interval(0.9))
    above, below = min((high - mean) / sd, _FAR), min((mean - low) / sd, _FAR)
    distance = above if above >= below else -below
    centre = _said(float(support.from_unconstrained(mean + distance * sd)))
    spread = sd * float(np.exp(support.log_jacobian(support.to_unconstrained(centre))))
    side = "above" if distance > 0.0 else "below"
    bottom, top = reference.interval(0.998)
    while True:
        stated = Stated("wrong", f"{abs(distance):.1f} sds {side}", centre, _said(spread))
        law = stated.law(reference)
        if float(law.cdf(bottom) + law.sf(top)) <= 0.005:
            return stated
        spread *= 0.9


def analyse(case: Case, fits: Fits) -> list[Row]:
    """Per channel one row of the posteriors and one of every belief."""
    model = case.data_set.model(case.form)
    rows: list[Row] = []
    for index, quantity in enumerate(fits.names):
        reference = model.prior_of(quantity)
        draws = fits.ours[index]
        curve = EvidenceCurve.from_draws(draws, reference, MONTHS, quantity=quantity)
        here = {"data_set": case.data_set.name, "model": fits.said["model"], "quantity": quantity}
        rows.append(
            {
                "what": "posterior",
                **here,
                **fits.said,
                "reference": _words(reference),
                "contraction": curve.contraction,
                "rises_at_edge": curve.rises_at_edge,
                "ours": _moments(draws),
                "nuts": _moments(fits.theirs[index]),
                "z": dict(zip(STATISTICS, differences(draws, fits.theirs[index]).tolist(), strict=True)),
            }
        )
        for stated in beliefs(case, fits, index, reference):
            said = {"kind": stated.kind, "origin": stated.origin, "mean": stated.mean, "sd": stated.plus_minus}
            try:
                law = stated.law(reference)
                further = bridges(model, Ladder.climb(Overlay(law, curve), draws), Seed.of(5))
                result = analyse_belief(
                    law, curve, draws=draws, bridges=further.marginals, client_draws=further.client_draws
                )
            except InvalidInput as error:
                rows.append({"what": "belief", **here, **said, "refused": str(error)})
                continue
            rows.append({"what": "belief", **here, **said, "law": _words(law), "refused": None, **_figures(result)})
    return rows


def _moments(draws: Floats) -> Row:
    values, errors = estimates(draws)
    r_hat, bulk, tail = summary(draws[None])
    return {
        "mean": float(values[0]),
        "sd": float(values[1]),
        "error_of_mean": float(errors[0]),
        "r_hat": float(r_hat[0]),
        "ess": float(min(bulk[0], tail[0])),
    }


def _words(law: Distribution) -> str:
    numbers = dataclasses.astuple(law)  # type: ignore[call-overload]
    return f"{type(law).__name__}({', '.join(f'{number:.3g}' for number in numbers)})"


def _factor(factor: BayesFactor) -> Row:
    return {
        "log_bf": factor.log_bf,
        "mcse": factor.mcse,
        "khat": factor.khat,
        "tail_bracket": factor.tail_bracket,
        "estimator": factor.estimator.value,
    }


def _figures(result: BeliefConflict) -> Row:
    return {
        "recentred": _factor(result.recentred),
        "widened": _factor(result.widened),
        "reference": _factor(result.reference),
        "p": {"value": result.p.value, "se": result.p.se, "kind": result.p.kind.value},
        "kl": {"value": result.kl.value, "mcse": result.kl.mcse},
        "w1": {
            "value": result.wasserstein.w1,
            "mcse": result.wasserstein.w1_mcse,
            "scaled": result.wasserstein.w1_scaled,
        },
        "data_side": {"mean": result.data_side.mean, "sd": result.data_side.sd},
        "contraction": result.contraction,
        "severity": None if result.severity is None else result.severity.value,
        "confirms": result.confirms,
        "status": result.status.value,
        "finding": result.finding.value,
        "reasons": list(result.reasons),
    }


def _kept(case: Case, draws: int, folder: Path | None) -> Fits:
    """The fits of a case, taken from the folder where an earlier run has left them."""
    if folder is None:
        return fitted(case, draws=draws)
    path = folder / f"{case.data_set.name}-{draws}.npz"
    if not path.exists():
        fits = fitted(case, draws=draws)
        arrays: dict[str, Any] = {"ours": fits.ours, "theirs": fits.theirs}
        arrays |= {} if fits.before is None else {"before": fits.before}
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, names=np.array(fits.names), said=np.array(json.dumps(fits.said)), **arrays)
    with np.load(path) as file:
        before = file["before"] if "before" in file.files else None
        names = tuple(str(name) for name in file["names"])
        return Fits(names, file["ours"], file["theirs"], before, json.loads(str(file["said"])))


def _measure(index: int, draws: int, folder: Path | None) -> list[Row]:
    enable_float64()
    return analyse(CASES[index], _kept(CASES[index], draws, folder))


def _text(row: Mapping[str, Any]) -> str:
    where = f"{row['data_set']}, {row['quantity']}"
    if row["what"] == "posterior":
        ours, theirs = (f"{row[name]['mean']:.4g} ± {row[name]['sd']:.3g}" for name in ("ours", "nuts"))
        apart = f"z {row['z']['mean']:+.1f} {row['z']['sd']:+.1f}"
        return f"{where}: ours {ours}, NUTS {theirs}, {apart}, contraction {row['contraction']:.2f}"
    said = f"{where}: {row['kind']} ({row['origin']}) {row['mean']:g} ± {row['sd']:g}"
    if row["refused"] is not None:
        return f"{said}: refused, {row['refused']}"
    recentred, reasons = row["recentred"], "; ".join(row["reasons"])
    return (
        f"{said}: log BF {recentred['log_bf']:.2f} ± {recentred['mcse']:.2f} (tails {recentred['tail_bracket']:.2f}), "
        f"p {row['p']['value']:.2g}, {row['finding']} {row['status']} {reasons}"
    )


def main() -> None:
    """Fit the data sets and judge three beliefs about every channel, each data set on one core in a fresh process."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verdicts", description=main.__doc__)
    names = [case.data_set.name for case in CASES]
    parser.add_argument("--data-sets", nargs="+", choices=names, default=names)
    parser.add_argument("--draws", type=int, default=2000, help="of each of the four chains of NUTS")
    parser.add_argument("--fits", type=Path, help="folder that keeps the draws, so that beliefs are judged again only")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows: list[Row] = []
    for index, case in enumerate(CASES):
        if case.data_set.name not in arguments.data_sets:
            continue
        if case.data_set.missing:
            print(f"{case.data_set.name}: left out, {case.data_set.missing}", flush=True)
            continue
        found = machine.fresh(_measure, index, arguments.draws, arguments.fits, core=machine.places(here)[-1])
        rows += found
        print("\n".join(_text(row) for row in found), flush=True)
        machine.write(arguments.output, "verdicts", here, rows)


if __name__ == "__main__":
    main()
