"""`/openapi.json`: valid, true to what is answered, and the same as the command line prints."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hermes_cron import office
from hermes_cron.api import forms
from hermes_cron.output import Line, Output
from hermes_cron.policy import Policy
from tests.unit.api.conftest import Api
from tests.unit.api.test_ledger import work
from tests.unit.parts import NOON


def test_it_is_valid_openapi_3_1(api: Api) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi: the validator is not installed")
    served = api.good("GET", "/openapi.json")
    assert served == office.openapi()
    assert served["openapi"].startswith("3.1")
    validator.validate(served)


def test_it_tells_of_every_path_that_is_fixed() -> None:
    fixed = [f"/api/cron/{path}" for path in ("jobs", "jobs/{job_id}", "runs", "runs/{run_id}", "arms", "stop")]
    steps = [f"/api/cron/jobs/{{job_id}}/{word}" for word in ("pause", "resume", "run", "next")]
    assert {*fixed, *steps} <= set(office.openapi()["paths"])


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_scope() -> None:
    told = [operation for path in office.openapi()["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in told}) == len(told)
    assert all(operation["summary"] and operation["x-scope"] in ("read", "write") for operation in told)


def test_the_policies_that_a_body_may_name_are_those_that_there_are() -> None:
    there_are = set(Policy.__dataclass_fields__)
    assert set(forms.Policies.__struct_fields__) == there_are == set(forms.PoliciesInForce.__struct_fields__)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/api/cron/jobs", forms.JobPage), ("/api/cron/jobs/a", forms.JobEcho),
        ("/api/cron/jobs/a/next", forms.NextFires),
        ("/api/cron/runs", forms.FirePage), ("/api/cron/arms", forms.ArmPage), ("/api/cron/stop", forms.StopView),
        ("/api/cron/jobs/nobody", forms.Error), ("/nothing", forms.Error),
    ],
)  # fmt: skip
def test_what_is_answered_has_the_form_that_is_told(api: Api, path: str, form: Any) -> None:
    api.add("a")
    api.clock.advance(900)
    run = work(api, "a", result='{"level": 3}')
    msgspec.convert(api.ask("GET", path).json, form, strict=True)
    msgspec.convert(api.good("GET", f"/api/cron/runs/{run.id}"), forms.RunView, strict=True)
    api.store.keep_output(run, Output((Line(NOON, "stdout", "a"), Line(NOON, "app", "b", "info"))))
    msgspec.convert(api.good("GET", f"/api/cron/runs/{run.id}/logs"), forms.OutputView, strict=True)
