"""A member that is added to an enumeration of the engine has all its parts: nothing falls through to another's."""

from __future__ import annotations

import enum
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import engine
from engine.conflict.analysis import Finding
from engine.conflict.bayes_factor import Alternative
from engine.conflict.causes import Blame
from engine.conflict.curve import CurveKind, EvidenceCurve
from engine.conflict.marginal import Estimator
from engine.conflict.p_value import PValueKind
from engine.conflict.reliability import Status as Reliability
from engine.conflict.severity import ORDER, Severity, severity
from engine.distributions import families
from engine.distributions.distribution import Beta, Gridded, LogNormal, Normal
from engine.distributions.families import Anchor, Family
from engine.distributions.support import POSITIVE, REAL_LINE, UNIT_INTERVAL, Link
from engine.elicitation.moments import Meaning, standard_deviation
from engine.inference.backend import Backend
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Purpose, Seed
from engine.inference.precision import enable_float64
from engine.inference.prior_map import tabulate
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, prepare
from engine.models.additive_spec import Parameterisation
from engine.models.protocol import CauseKind
from engine.models.saturation import FORMS, Saturation
from engine.rules import sbc_policy as decision
from engine.rules.cautions import CautionKind
from engine.rules.compromises import Lies
from engine.rules.reasons import Ground, Remedy
from engine.rules.sbc_policy import Decision, EvidenceTrigger, NecessityInputs, Rule
from engine.rules.sbc_presets import Part, ValidationType
from engine.sbc import judgement, verdict
from engine.sbc.canary import broken
from engine.sbc.fixed_truth import prior_medians
from engine.sbc.ledger import Status as FitStatus
from engine.sbc.power import detectable_by
from engine.sbc.shape import Shape
from engine.sbc.shard import run_shard
from engine.sbc.shared_numbers import Untested
from engine.sbc.verdict import Outcome, Reason
from engine.updates.projection import project
from engine.updates.update import Action, Strategy, UpdateRule, update
from tests.engine.models.test_additive_mmm import small_table
from tests.engine.sbc.test_canary import UNIT

enable_float64()

LAWS = {Link.IDENTITY: Normal(0.3, 0.2), Link.LOG: LogNormal(0.0, 0.5), Link.LOGIT: Beta(2.0, 3.0)}
SMALL: Backend = BatchedHmc.single()


def _family(family: Family) -> None:
    rules = families.RULES[family]
    for support in rules.supports:
        anchor = Anchor(support, 0.5, 0.1)
        law = rules.make(rules.rough(anchor), anchor)
        assert families.family_of(law) is family
        assert family.lives_on(law.support)
        assert families.family_of(project(law, family).law) is family
    assert {type(family.lives_on(support)) for support in (REAL_LINE, POSITIVE, UNIT_INTERVAL)} == {bool}


def _link(link: Link) -> None:
    law = LAWS[link]
    support, x = law.support, np.array([0.2, 0.7])
    assert support.link is link
    np.testing.assert_allclose(support.from_unconstrained(support.to_unconstrained(x)), x)
    assert np.all(np.isfinite(support.log_jacobian(x)))
    assert Gridded.of(law).scaled(2.0).mean == pytest.approx(2.0 * law.mean, rel=1e-3)
    tabulate([law])
    assert link in families._DEFAULT


def _parameterisation(sampled: Parameterisation) -> None:
    channel = Channel("tv", "tv", LogNormal(0.0, 0.5), spend="tv_spend", parameterise_by=sampled)
    model: AdditiveMmm = prepare(small_table(), AdditiveMmmSpec("sales", (channel,), revenue_per_kpi="margin"))
    parameter = f"{sampled.value}[tv]"
    assert parameter in model.priors
    # What is sampled, as a multiple of itself by way of the incremental outcome.
    share = {Parameterisation.SHARE_OF_OUTCOME: model.design.total_outcome, Parameterisation.ROI: model.design.spend[0]}
    named, factor = model.multiple_of("incremental_outcome[tv]")
    assert (named, factor) == (parameter, pytest.approx(share[sampled]))


def _strategy(strategy: Strategy) -> None:
    curve = EvidenceCurve.normal(0.25, 0.05, Normal(0.3, 1.0), 24.0)
    assert update(Normal(0.5, 0.1), curve, UpdateRule(strategy)).changed


def _meaning(meaning: Meaning) -> None:
    levels = {Meaning.SD: None, Meaning.INTERVAL_HALF_WIDTH: 0.9}
    assert standard_deviation(0.1, meaning, levels[meaning])[0] > 0.0


def _severity(label: Severity) -> None:
    # The bands follow each other without a gap.
    bands = [one.band for one in ORDER]
    assert label in ORDER
    assert [low for low, _ in bands[1:]] == [high for _, high in bands[:-1]]
    assert label is severity(max(label.band[0], -1.0) + 1e-9)


def _part(part: Part) -> None:
    assert part in judgement._NAMES
    assert part.decides == (part in (Part.PRIOR, Part.POSTERIOR))
    # The lag is one of a model with carry-over, which test_canary has.
    if part.is_canary and part is not Part.CANARY_LAGGED_MEDIA:
        broken(UNIT, part).fit(UNIT.sample_prior(Seed.of(1), np.arange(2)).y, Seed.of(1), np.arange(2), SMALL)
    if not part.is_canary:
        truth = prior_medians(UNIT) if part is Part.RECOVERY else None
        run_shard(UNIT, Seed.of(1), np.arange(2), SMALL, part=part, truth=truth)


def _rule(rule: Rule) -> None:
    assert rule in {result.rule for result in decision._rules(NecessityInputs(), decision.POLICY_V1)}


def _outcome(outcome: Outcome) -> None:
    reach = detectable_by(ValidationType.QUICK, 100, 3)
    assert verdict._sentence(outcome, {Reason.TIES: "ties"}, (), 10, reach)


def _entry(*tables: Mapping[Any, object]) -> Callable[[enum.Enum], None]:
    """A table has an entry for the member."""

    def check(member: enum.Enum) -> None:
        assert all(member in table for table in tables)

    return check


HANDLED: dict[type[enum.Enum], Callable[[Any], None]] = {
    Saturation: _entry(FORMS),
    Parameterisation: _parameterisation,
    Family: _family,
    Link: _link,
    Meaning: _meaning,
    Strategy: _strategy,
    Severity: _severity,
    Part: _part,
    Rule: _rule,
    Outcome: _outcome,
    Reason: _entry(verdict._REASON_WORDS),
    Shape: _entry(verdict._SHAPE_WORDS),
}
"""What is done with a member by everything that tells them apart; it fails for a member that one of those forgot."""

ANSWERS = {
    Action,
    Alternative,
    Blame,
    CauseKind,
    CautionKind,
    CurveKind,
    Decision,
    Estimator,
    EvidenceTrigger,
    Finding,
    FitStatus,
    Ground,
    Lies,
    PValueKind,
    Purpose,
    Reliability,
    Remedy,
    Untested,
    ValidationType,
}
"""Only ever set, compared with one of their members, or handed on by name, for which see tests/server/test_enums.py."""


@pytest.mark.parametrize(
    "member", [pytest.param(member, id=f"{kind.__name__}.{member.name}") for kind in HANDLED for member in kind]
)
def test_every_member_is_handled(member: enum.Enum) -> None:
    HANDLED[type(member)](member)


def test_every_enumeration_of_the_engine_is_one_of_these() -> None:
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(engine.__path__, "engine.")]
    every = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and kind.__module__.startswith("engine.")
    }
    assert every == HANDLED.keys() | ANSWERS
