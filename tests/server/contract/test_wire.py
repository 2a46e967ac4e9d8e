"""Messages at rest, fingerprints and labels."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest
from google.protobuf.message_factory import GetMessageClass
from liftos.bayes.v1 import (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    model_pb2,
    prior_update_pb2,
    sbc_pb2,
    system_pb2,
)

from server.contract.wire import (
    digest,
    fingerprint,
    from_array,
    from_json,
    label,
    method_of,
    to_array,
    to_json,
    value_of,
)


def test_a_stored_message_comes_back_digit_for_digit() -> None:
    message = conflict_pb2.BeliefConflict(belief_id="b", p_value=0.1 + 0.2, kl_divergence_nats=1e-300, conflict=True)
    message.bayes_factors.add(log_bayes_factor=math.inf)
    message.prior.gridded.grid.CopyFrom(to_array([1.0, 2.0]))
    assert from_json(to_json(message), conflict_pb2.BeliefConflict()) == message


def test_an_absent_number_stays_absent_and_a_zero_stays_a_zero() -> None:
    absent = from_json(to_json(sbc_pb2.NecessityRule()), sbc_pb2.NecessityRule())
    assert not absent.HasField("observed")
    zero = from_json(to_json(sbc_pb2.NecessityRule(observed=0.0)), sbc_pb2.NecessityRule())
    assert zero.HasField("observed")


def test_a_field_of_a_newer_version_is_skipped() -> None:
    assert from_json({"belief_id": "b", "not_yet_invented": 1}, conflict_pb2.BeliefConflict()).belief_id == "b"


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (0, 5)])
def test_arrays_keep_shape_and_values(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=float).reshape(shape) / 3
    found = from_array(to_array(array))
    assert found.shape == shape
    assert np.array_equal(found, array)


def test_bytes_that_do_not_match_their_shape_are_refused() -> None:
    message = to_array([1.0, 2.0, 3.0])
    message.shape[0] = 2
    with pytest.raises(ValueError, match="reshape"):
        from_array(message)


def test_a_fingerprint_sees_everything_but_the_request_id() -> None:
    request = sbc_pb2.StartSbcRunRequest(request_id="1", client_id="a", spec=sbc_pb2.SbcRunSpec(model_id="m"))
    same = sbc_pb2.StartSbcRunRequest(request_id="2", client_id="a", spec=sbc_pb2.SbcRunSpec(model_id="m"))
    other = sbc_pb2.StartSbcRunRequest(request_id="1", client_id="a", spec=sbc_pb2.SbcRunSpec(model_id="n"))
    assert fingerprint(request) == fingerprint(same)
    assert fingerprint(request) != fingerprint(other)
    # The same fields in another message are another request.
    as_run = sbc_pb2.RunSbcRequest(request_id="1", client_id="a", spec=sbc_pb2.SbcRunSpec(model_id="m"))
    assert fingerprint(request) != fingerprint(as_run)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}, []) != digest({"a": 1})


@pytest.mark.parametrize(
    ("enum", "value", "name"),
    [
        (dataset_pb2.TimeGrain, dataset_pb2.TIME_GRAIN_WEEKLY, "WEEKLY"),
        (common_pb2.JobState, common_pb2.JOB_STATE_SUCCEEDED, "SUCCEEDED"),
        (conflict_pb2.BayesFactorAlternative, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_POINT_MLE, "POINT_MLE"),
    ],
)
def test_labels_are_enum_names_without_their_prefix(enum: object, value: int, name: str) -> None:
    assert label(enum, value) == name
    assert value_of(enum, name) == value
    assert value_of(enum, None) == 0


@pytest.mark.parametrize(
    "contract",
    [
        attribution_pb2,
        conflict_pb2,
        dataset_pb2,
        elicitation_pb2,
        model_pb2,
        prior_update_pb2,
        sbc_pb2,
        system_pb2,
    ],
)
def test_a_request_tells_by_its_type_which_method_takes_it(contract: ModuleType) -> None:
    methods = [m for service in contract.DESCRIPTOR.services_by_name.values() for m in service.methods]
    assert [method_of(GetMessageClass(m.input_type)) for m in methods] == [m.name for m in methods]
