"""`/api/cron/jobs`: add, look at, change and run jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes_cron.api.asking import MAX_BODY_BYTES
from hermes_cron.client import Client
from hermes_cron.errors import StoreError
from hermes_cron.interfaces import Store
from hermes_cron.verify import refuse_all
from hermes_cron.webapp import Desk, make_webapp
from tests.unit.api.conftest import Api, code

JOBS = "/api/cron/jobs"
NEW = {"id": "tide.north", "schedule": "every 15m", "task": "tide", "args": {"place": "Faro"}}


class TestCreate:
    def test_it_answers_201_with_the_job_its_place_and_its_tag(self, api: Api) -> None:
        answer = api.ask("POST", JOBS, NEW)
        assert answer.status_code == 201
        assert answer.headers["location"] == "/api/cron/jobs/tide.north"
        assert answer.headers["etag"] == '"1"'
        assert answer.json["args"] == {"place": "Faro"}
        assert answer.json["upcoming"][0] == "2026-07-01T12:15:00+00:00"
        assert (answer.json["words"], answer.json["arm"]) == ("every 15 minutes", "wanted")

    def test_i11_it_answers_201_and_wanted_while_nas_is_away(self, api: Api) -> None:
        api.scheduler.holds = False
        answer = api.ask("POST", JOBS, NEW)
        assert (answer.status_code, answer.json["arm"]) == (201, "wanted")
        assert api.good("GET", f"{JOBS}/tide.north")["arm"] == "wanted"

    def test_it_refuses_an_id_that_is_taken(self, api: Api) -> None:
        api.add()
        answer = api.ask("POST", JOBS, NEW)
        assert code(answer) == (409, "job_exists")
        assert answer.json["error"]["field"] == "id"

    @pytest.mark.parametrize(
        ("change", "status", "field"),
        [
            ({"schedule": "evry 5m"}, 422, "schedule"),
            ({"schedule": "2020-01-01T00:00:00Z"}, 422, "schedule"),
            ({"task": "tyde"}, 422, "task"),
            ({"args": {"plaice": 1}}, 422, "args"),
            ({"id": "_wake.1"}, 422, "id"),
            ({"id": ".hidden"}, 422, "id"),
            ({"timezone": "Mars/Olympus"}, 422, "timezone"),
            ({"policy": {"overlap": "maybe"}}, 422, "overlap"),
            ({"policy": {"repeat": 0}}, 422, "repeat"),
            ({"policy": {"patience": 1}}, 400, "policy.patience"),
            ({"polcy": {}}, 400, "polcy"),
            ({"id": 5}, 400, "id"),
            ({"args": []}, 400, "args"),
            ({"anchor": "moon"}, 400, "anchor"),
        ],
    )
    def test_it_names_the_field_that_cannot_be_so(
        self, api: Api, change: dict[str, Any], status: int, field: str
    ) -> None:  # fmt: skip
        answer = api.ask("POST", JOBS, NEW | change)
        assert (answer.status_code, answer.json["error"].get("field")) == (status, field), answer.text
        assert api.good("GET", JOBS)["items"] == []

    def test_it_names_a_field_that_is_missing(self, api: Api) -> None:
        answer = api.ask("POST", JOBS, {"id": "a", "schedule": "every 5m"})
        assert (answer.status_code, answer.json["error"]["field"]) == (400, "task")

    @pytest.mark.parametrize(
        "raw",
        [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b'{"id": "\\ud800"}', b"[" * 5000, b'{"id": 1e999}',
         b'{"id":"a","schedule":"every 5m","task":"tide","args":' + b'{"a":' * 2000 + b"1" + b"}" * 2001],
    )  # fmt: skip
    def test_it_answers_400_to_what_is_no_order(self, api: Api, raw: bytes) -> None:
        answer = api.ask("POST", JOBS, raw=raw)
        assert answer.status_code in (400, 422), answer.text

    def test_it_takes_arguments_of_64_kib_and_no_endless_body(self, api: Api) -> None:
        api.add(args={"place": "x" * 65_000})
        assert code(api.ask("POST", JOBS, raw=b" " * (MAX_BODY_BYTES + 1))) == (413, "body_too_long")
        assert code(api.ask("POST", JOBS, NEW | {"id": "b", "args": {"place": "x" * 70_000}})) == (422, "job_invalid")

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "-"])
    def test_it_takes_json_only(self, api: Api, kind: str) -> None:
        assert api.ask("POST", JOBS, NEW, headers={"Content-Type": kind}).status_code == 415

    def test_it_takes_no_encoded_body(self, api: Api) -> None:
        assert api.ask("POST", JOBS, NEW, headers={"Content-Encoding": "gzip"}).status_code == 415


class TestIdempotencyKey:
    def test_the_same_request_again_makes_nothing_and_is_answered_201(self, api: Api) -> None:
        first = api.ask("POST", JOBS, NEW, headers={"Idempotency-Key": "k"})
        again = api.ask("POST", JOBS, NEW, headers={"Idempotency-Key": "k"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.headers["idempotent-replayed"] == "true"
        assert first.json == again.json
        assert len(api.good("GET", JOBS)["items"]) == 1

    def test_the_same_key_for_another_body_is_refused(self, api: Api) -> None:
        api.ask("POST", JOBS, NEW, headers={"Idempotency-Key": "k"})
        answer = api.ask("POST", JOBS, NEW | {"schedule": "every 5m"}, headers={"Idempotency-Key": "k"})
        assert code(answer) == (422, "idempotency_key_reused")

    def test_another_key_is_another_request(self, api: Api) -> None:
        api.ask("POST", JOBS, NEW, headers={"Idempotency-Key": "k"})
        assert code(api.ask("POST", JOBS, NEW, headers={"Idempotency-Key": "j"})) == (409, "job_exists")

    def test_without_a_key_nothing_is_taken_for_a_repetition(self, api: Api) -> None:
        api.add()
        assert code(api.ask("POST", JOBS, NEW, headers={"Idempotency-Key": "k"})) == (409, "job_exists")
        assert code(api.ask("POST", JOBS, NEW)) == (409, "job_exists")

    @pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
    def test_a_key_that_is_none_is_refused(self, api: Api, key: str) -> None:
        answer = api.ask("POST", JOBS, NEW, headers={"Idempotency-Key": key})
        assert code(answer) == (400, "idempotency_key_invalid")


class TestList:
    def test_it_pages_by_cursor(self, api: Api) -> None:
        for number in range(5):
            api.add(f"job.{number}")
        seen, cursor = [], ""
        while True:
            page = api.good("GET", f"{JOBS}?limit=2{cursor}")
            seen += [job["id"] for job in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert seen == [f"job.{number}" for number in range(5)]

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=501", "limit=two", "cursor=%%", "cursor=e30", "limit=1&limit=2", "size=3", "limit="]
    )
    def test_it_refuses_a_query_that_it_does_not_know(self, api: Api, query: str) -> None:
        assert code(api.ask("GET", f"{JOBS}?{query}")) == (400, "query_invalid")


class TestOneJob:
    def test_a_job_that_is_not_there_is_404(self, api: Api) -> None:
        for method, path, body in [
            ("GET", "", None), ("PATCH", "", {}), ("DELETE", "", None), ("POST", "/pause", None),
            ("GET", "/next", None), ("POST", "/resume", None), ("POST", "/run", None),
        ]:  # fmt: skip
            assert code(api.ask(method, f"{JOBS}/nobody{path}", body)) == (404, "job_not_found")

    def test_it_changes_what_is_given_and_nothing_else(self, api: Api) -> None:
        api.add(args={"place": "Faro"}, policy={"max_attempts": 3, "timeout": 5})
        job = api.good("PATCH", f"{JOBS}/tide.north", {"schedule": "every 5m", "policy": {"timeout": None}})
        assert (job["schedule"], job["args"], job["revision"]) == ("every 5m", {"place": "Faro"}, 2)
        assert (job["policy"]["max_attempts"], job["policy"]["timeout"]) == (3, None)

    def test_it_puts_a_whole_order_in_the_place_of_the_old(self, api: Api) -> None:
        api.add(args={"place": "Faro"}, policy={"max_attempts": 3}, timezone="Europe/Lisbon")
        job = api.good("PUT", f"{JOBS}/tide.north", {"schedule": "@daily", "task": "tide"})
        assert (job["args"], job["policy"]["max_attempts"], job["timezone"]) == ({}, 1, "UTC")

    def test_what_it_shows_of_a_job_can_be_put_back(self, api: Api) -> None:
        before = api.add(policy={"max_attempts": 3, "ends_at": "2027-01-01T00:00:00Z"})
        order = {name: before[name] for name in ("schedule", "task", "args", "timezone", "anchor", "policy")}
        after = api.good("PUT", f"{JOBS}/tide.north", order)
        assert {name: after[name] for name in order} == order

    @pytest.mark.parametrize(("method", "body"), [("PATCH", {}), ("PUT", {"schedule": "@daily", "task": "tide"})])
    def test_a_change_of_what_was_changed_meanwhile_is_412(self, api: Api, method: str, body: Any) -> None:
        tag = api.ask("POST", JOBS, NEW).headers["etag"]
        answer = api.ask(method, f"{JOBS}/tide.north", body, headers={"If-Match": tag})
        assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
        assert code(api.ask(method, f"{JOBS}/tide.north", body, headers={"If-Match": tag})) == (412, "job_changed")
        assert api.good("GET", f"{JOBS}/tide.north")["revision"] == 2

    @pytest.mark.parametrize(
        ("tags", "status"), [("*", 200), ('"7", "1"', 200), ('W/"1"', 412), ("1", 412), ("", 412), ('"2"', 412)]
    )
    def test_it_reads_if_match_as_the_rfc_says(self, api: Api, tags: str, status: int) -> None:
        api.add()
        assert api.ask("DELETE", f"{JOBS}/tide.north", headers={"If-Match": tags}).status_code == status

    def test_it_removes_a_job(self, api: Api) -> None:
        api.add()
        assert api.good("DELETE", f"{JOBS}/tide.north") == {"id": "tide.north", "removed": True, "arm": "none"}
        assert api.ask("GET", f"{JOBS}/tide.north").status_code == 404
        api.scheduler.holds = False
        api.add()
        assert api.good("DELETE", f"{JOBS}/tide.north")["arm"] == "disarm wanted"

    def test_it_pauses_and_resumes(self, api: Api) -> None:
        api.add()
        paused = api.good("POST", f"{JOBS}/tide.north/pause", {"reason": "storm"})
        assert (paused["state"], paused["reason"], paused["next_fire_at"]) == ("paused", "storm", None)
        assert code(api.ask("POST", f"{JOBS}/tide.north/run")) == (409, "job_state")
        assert api.good("POST", f"{JOBS}/tide.north/resume")["state"] == "scheduled"
        assert api.good("POST", f"{JOBS}/tide.north/pause")["reason"] == ""
        assert api.ask("POST", f"{JOBS}/tide.north/pause", {"why": "storm"}).status_code == 400

    def test_it_writes_a_manual_run_down_and_rings(self, api: Api) -> None:
        api.add()
        answer = api.ask("POST", f"{JOBS}/tide.north/run")
        assert answer.status_code == 202
        assert [fire.job_id for fire in api.rung] == ["tide.north"]
        [fire] = api.good("GET", "/api/cron/runs")["items"]
        assert (fire["key"], fire["manual"], fire["state"]) == (answer.json["key"], True, "waiting")

    def test_it_shows_the_next_fires(self, api: Api) -> None:
        api.add(schedule="30 2 * * *", timezone="Europe/Berlin")
        shown = api.good("GET", f"{JOBS}/tide.north/next?count=2")
        assert shown["upcoming"] == ["2026-07-02T00:30:00+00:00", "2026-07-03T00:30:00+00:00"]
        assert api.ask("GET", f"{JOBS}/tide.north/next?count=0").status_code == 400


class TestStop:
    def test_it_stops_everything_and_ends_that(self, api: Api) -> None:
        api.add()
        assert api.good("GET", "/api/cron/stop") == {"stopped": False}
        assert api.good("POST", "/api/cron/stop") == {"stopped": True}
        assert api.store.stopped()
        assert code(api.ask("POST", f"{JOBS}/tide.north/run")) == (409, "job_state")
        assert api.good("DELETE", "/api/cron/stop") == {"stopped": False}
        assert not api.store.stopped()


class TestArms:
    def test_it_lists_what_is_wanted_and_why_it_is_not_had(self, api: Api) -> None:
        api.add()
        [arm] = api.good("GET", "/api/cron/arms")["items"]
        assert (arm["job_id"], arm["state"], arm["armed_at"]) == ("tide.north", "wanted", None)


def test_a_path_that_is_not_there_is_404_in_the_one_form(api: Api) -> None:
    assert code(api.ask("GET", "/api/cron/nothing")) == (404, "not_found")
    assert code(api.ask("PUT", "/api/cron/jobs", NEW)) == (405, "method_not_allowed")


def test_while_the_store_is_away_it_answers_503_and_then_goes_on(api: Api) -> None:
    away = [StoreError("The store is away.")]

    def client(store: Store) -> Client:
        if away:
            raise away.pop()
        return api.client

    api.http.app = make_webapp(refuse_all, api.broker, lambda: api.store, Desk(client))
    answer = api.ask("GET", JOBS)
    assert code(answer) == (503, "store_unreachable")
    assert int(answer.headers["retry-after"]) > 0
    assert api.good("GET", JOBS)["items"] == []


def test_a_fault_of_ours_is_500_and_tells_nothing(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def client(store: Store) -> Client:
        raise ZeroDivisionError("secret")

    api.http.app = make_webapp(refuse_all, api.broker, lambda: api.store, Desk(client))
    answer = api.ask("GET", JOBS)
    assert code(answer) == (500, "internal")
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_every_answer_is_json_text_of_utf_8(api: Api) -> None:
    api.add(args={"place": "Óbidos \u202e"})
    answer = api.ask("GET", f"{JOBS}/tide.north")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.content)["args"]["place"] == "Óbidos \u202e"
