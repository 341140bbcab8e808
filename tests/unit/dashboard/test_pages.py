"""The pages: they show what there is as text, whatever is in it, and ask for a key where one is needed."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from hermes_cron.apikeys import KeyRing, add_key
from hermes_cron.dashboard.pages import HERE
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.output import Line, Output
from hermes_cron.record import Moment, Record
from hermes_cron.rules import arms, progress
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import Run, RunState
from tests.unit.api.conftest import Api
from tests.unit.parts import LEASE, NOON

PAGES = ["/", "/jobs", "/jobs/tide.north", "/runs", "/runs?job=tide.north&state=failed"]
HOSTILE = [
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", '" onmouseover="alert(1)',
    "javascript:alert(1)", "\u202egnp.exe", "a\x1b[31mb\x00c",
    "{{ 7 * 7 }}", "&lt;b&gt;", "\u2028\u200b", "'><svg/onload=alert(1)>",
]  # fmt: skip


class Page(html.parser.HTMLParser):
    """A page as a browser sees it: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(api: Api, path: str, status: int = 200, **more: Any) -> Page:
    answer = api.ask("GET", path, headers={"Accept": "text/html", **more})
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"].startswith("text/html")
    return Page(answer.text)


def work(api: Api, job_id: str, **more: Any) -> Run:
    run = api.store.change(job_id, partial(claim, fire=Fire(job_id), claimer=Claimer("w", LEASE))).run
    assert run is not None
    begun = api.store.change(job_id, partial(progress.begin, run=run, lease=LEASE))
    assert isinstance(begun, Run)
    api.store.change(job_id, partial(progress.complete, run=replace(begun, **more)))
    return begun


@pytest.fixture
def full(make_api: Callable[..., Api]) -> Api:
    """A job that has failed once, and one that is paused."""
    api = make_api()
    api.add(policy={"max_attempts": 1})
    api.add("quiet")
    api.client.pause("quiet", "for the winter")
    api.clock.advance(900)
    work(api, "tide.north", state=RunState.FAILED, error="the sea is away")
    return api


class TestOverview:
    def test_it_says_in_one_sentence_what_is(self, full: Api) -> None:
        shown = page(full, "/")
        assert "things need you" in shown.text
        assert "1 fire of tide.north failed within a day." in shown.text
        assert "The alarm of tide.north is wanted" in shown.text

    def test_it_says_that_all_is_well_where_it_is(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        assert "Nothing is to fire." in page(api, "/").text
        api.scheduler.confirms = False
        api.add()
        assert "All is well. tide.north fires in 15m" in page(api, "/").text

    def test_it_tells_how_to_begin_where_there_are_no_jobs(self, make_api: Callable[..., Api]) -> None:
        assert "There are no jobs. hermes-cron jobs add --help shows how to add one." in page(make_api(), "/").text

    def test_alarms_of_the_ticker_are_not_taken_for_what_nas_does_not_hold(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        api.add()
        assert "wanted arms" in page(api, "/").text
        api.scheduler.confirms = False
        shown = page(api, "/").text
        assert "The built-in ticker of a running worker holds the alarms, so it must stay up." in shown
        assert "of the ticker" in shown
        assert "wanted arms" not in shown

    def test_it_tells_why_nas_refuses_an_alarm(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        api.add()
        order = api.store.change("tide.north", partial(arms.lease, token="t"))
        assert order is not None
        api.store.change("tide.north", partial(arms.give_up, order=order, settled=True, refused="invalid_client"))
        assert "NAS refuses the alarm of tide.north: invalid_client" in page(api, "/").text

    def test_it_tells_that_nothing_runs_what_is_due(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        api.add()
        api.clock.advance(1000)
        assert "Due for over a minute: tide.north" in page(api, "/").text

    def test_it_tells_that_everything_is_stopped(self, full: Api) -> None:
        full.client.stop()
        shown = page(full, "/")
        assert "Everything is stopped" in shown.text
        assert {"DELETE"} == {button.get("data-method") for button in shown.all("button")} - {None}


class TestJobs:
    def test_it_lists_them_with_their_last_outcomes(self, full: Api) -> None:
        shown = page(full, "/jobs")
        assert [a["class"] for a in shown.all("a") if "tick" in (a.get("class") or "")] == ["tick failed"]
        assert "every 15 minutes" in shown.text

    def test_a_job_that_fires_seldom_shows_its_outcomes_beside_those_that_fire_often(
        self, full: Api, store: Store
    ) -> None:
        full.add("often", schedule="every 1s")
        often = store.fires("tide.north")[0]
        many = [
            replace(often, job_id="often", key=f"manual:{number}", fire_at=full.clock.now) for number in range(2500)
        ]

        def write(record: Record, moment: Moment) -> tuple[Record, None]:
            return replace(record, entries=(*record.entries, *many)), None

        store.change("often", write)
        ticks = [a["href"] for a in page(full, "/jobs").all("a") if "tick" in (a.get("class") or "")]
        assert ticks.count("/runs?job=often") == 20
        assert ticks.count("/runs?job=tide.north") == 1

    @pytest.mark.parametrize(("query", "ids"), [("q=TIDE.", ["tide.north"]), ("state=paused", ["quiet"]), ("q=zz", [])])
    def test_it_finds_some(self, full: Api, query: str, ids: list[str]) -> None:
        links = [a["href"] or "" for a in page(full, f"/jobs?{query}").all("a")]
        assert [link.removeprefix("/jobs/") for link in links if link.startswith("/jobs/")] == ids

    @pytest.mark.parametrize(
        ("job_id", "methods"), [("tide.north", ["POST", "POST", "DELETE"]), ("quiet", ["POST", "DELETE"])]
    )
    def test_one_job_offers_what_can_be_done_with_it(self, full: Api, job_id: str, methods: list[str]) -> None:
        buttons = [button for button in page(full, f"/jobs/{job_id}").all("button") if button.get("data-url")]
        assert [button["data-method"] for button in buttons] == methods
        assert all(str(button["data-url"]).startswith(f"/api/cron/jobs/{job_id}") for button in buttons)

    def test_a_job_that_is_not_there_has_a_page_that_says_so(self, full: Api) -> None:
        assert "There is no job" in page(full, "/jobs/nobody", 404).text
        assert "nothing at this path" in page(full, "/nothing", 404).text


class TestRuns:
    def test_it_leads_to_older_ones(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        api.add(schedule="every 1m")
        for _ in range(55):
            api.clock.advance(60)
            work(api, "tide.north", state=RunState.SUCCEEDED)
        first = page(api, "/runs")
        [older] = [a["href"] for a in first.all("a") if "cursor" in (a.get("href") or "")]
        assert older is not None
        rows = [len(shown.all("tr")) - 1 for shown in (first, page(api, older))]
        assert rows == [50, 5]
        assert page(api, "/runs?cursor=nonsense", 400).text

    def test_it_shows_one_run(self, full: Api) -> None:
        run = full.client.runs("tide.north")[0]
        assert "the sea is away" in page(full, f"/runs/{run.id}").text

    def test_it_shows_what_a_run_said_where_its_job_is(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        api.add(timezone="Asia/Tokyo")
        api.clock.advance(900)
        run = work(api, "tide.north", state=RunState.SUCCEEDED)
        assert "it said nothing, or it is too long ago" in page(api, f"/runs/{run.id}").text
        logged = Line(NOON, "app.tide", "late\nby an hour", "error")
        api.store.keep_output(
            run, Output((Line(NOON, "stdout", "high water"), logged), (Line(NOON, "stderr", "end"),), 9)
        )
        shown = page(api, f"/runs/{run.id}")
        said = shown.text.partition("Output")[2].partition("Arguments")[0]
        assert said.strip().splitlines() == [
            "21:00:00.000 stdout high water", "21:00:00.000 error app.tide: late", "    by an hour",
            "... 9 bytes are left out here ...", "21:00:00.000 stderr end",
        ]  # fmt: skip
        assert {"grave"} == {span["class"] for span in shown.all("span") if span["class"] in ("grave", "bad")}

    def test_it_says_that_a_run_has_not_ended(self, full: Api) -> None:
        full.clock.advance(900)
        live = full.store.change("tide.north", partial(claim, fire=Fire("tide.north"), claimer=Claimer("w", LEASE))).run
        assert live is not None
        assert "The run has not ended" in page(full, f"/runs/{live.id}").text


@pytest.mark.parametrize("evil", HOSTILE)
def test_whatever_a_text_holds_it_is_shown_as_text(make_api: Callable[..., Api], evil: str) -> None:
    api = make_api()
    api.add("tide.north", args={"place": evil})
    api.clock.advance(900)
    run = work(api, "tide.north", state=RunState.FAILED, error=evil, result=f'"{evil[:3]}" {evil}')
    api.client.pause("tide.north", evil)
    api.store.keep_output(run, Output((Line(NOON, "stdout", evil), Line(NOON, evil, f"{evil}\n{evil}", "error"))))
    for path in [*PAGES, f"/runs/{run.id}", f"/jobs?q={evil!r}", f"/runs?job={evil!r}"]:
        shown = page(api, path.replace("#", "%23").replace("&lt", "%26lt"))
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u2028\u202e]", shown.text)
        assert {"img", "svg", "b"}.isdisjoint({tag for tag, _ in shown.elements})
        assert len(shown.all("script")) == 1
        assert not [name for _, attributes in shown.elements for name in attributes if name.startswith("on")]
        links = [str(element["href"]) for element in shown.all("a")]
        assert all(link.startswith("/") and not link.startswith("//") for link in links)


class TestFiles:
    @pytest.mark.parametrize("path", sorted(HERE.glob("templates/*.html")), ids=lambda path: path.name)
    def test_no_page_holds_code_or_style_or_asks_anybody_else(self, path: Any) -> None:
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://|\|\s*safe|autoescape", text)
        assert not re.findall(r"<script(?! src=\"/static/dashboard.js\" defer></script>)", text)

    def test_the_script_is_small_and_makes_no_code_of_text(self) -> None:
        text = (HERE / "static" / "dashboard.js").read_text()
        assert len(text) < 12_000
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|https?:|localStorage|cookie", text
        )

    def test_the_sheet_asks_nobody(self) -> None:
        assert not re.search(r"url\(|@import", (HERE / "static" / "dashboard.css").read_text())

    @pytest.mark.parametrize("name", ["..%2fpages.py", "pages.py", "dashboard.js%00", "DASHBOARD.JS"])
    def test_there_is_no_other_file(self, make_api: Callable[..., Api], name: str) -> None:
        assert make_api().ask("GET", f"/static/{name}").status_code == 404


class TestSignIn:
    def test_a_page_that_needs_a_key_asks_for_it_and_shows_nothing_else(
        self, full: Api, tmp_path: Any, make_api: Callable[..., Api]
    ) -> None:  # fmt: skip
        key = add_key(tmp_path / "keys", "looker", ["read"])
        api = make_api(keys=KeyRing(tmp_path / "keys"))
        asked = [api.ask("GET", path, headers={"Accept": "text/html"}) for path in (*PAGES, "/nothing")]
        assert {answer.status_code for answer in asked} == {401}
        assert len({answer.text for answer in asked}) == 1
        assert "tide" not in asked[0].text
        assert Page(asked[0].text).all("input")[0]["type"] == "password"
        assert "tide.north" in page(api, "/jobs", Authorization=f"Bearer {key}").text

    def test_a_program_is_answered_in_json(self, full: Api, tmp_path: Any, make_api: Callable[..., Api]) -> None:
        add_key(tmp_path / "keys", "looker", ["read"])
        api = make_api(keys=KeyRing(tmp_path / "keys"))
        assert api.ask("GET", "/").json["error"]["code"] == "unauthorized"
        assert api.ask("GET", "/api/cron/jobs", headers={"Accept": "text/html"}).json["error"]["code"] == "unauthorized"
