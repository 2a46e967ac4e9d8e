"""Reasons of errors beside the contract, which names them and states their codes."""

from __future__ import annotations

import re
from pathlib import Path

from google.rpc import code_pb2
from liftos.bayes.rules import Violation
from liftos.bayes.v1.errors_pb2 import ErrorReason

from server.contract.errors import Reason, invalid_fields

CONTRACT = Path(__file__).parents[3] / "protos/liftos/bayes/v1/errors.proto"


def test_the_reasons_are_those_of_the_contract() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} == set(Reason)


def test_the_code_of_a_reason_is_the_one_that_its_comment_states() -> None:
    text = CONTRACT.read_text(encoding="utf-8")
    stated = {name: code for code, name in re.findall(r"// ([A-Z_]+): (?:.*\n  //)*.*\n  ERROR_REASON_(\w+) =", text)}
    assert stated == {reason.name: code_pb2.Code.Name(reason.code) for reason in Reason}


def test_a_job_keeps_the_first_of_several_violations() -> None:
    error = invalid_fields([Violation("a.b", "wrong"), Violation("c", "wrong too")])
    assert error.at_rest() == ("wrong", "a.b")
