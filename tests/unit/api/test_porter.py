"""Who may ask what: keys and scopes; without keys this machine alone, by its own name, and no other's page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hermes_cron import office
from hermes_cron.apikeys import KeyRing, add_key
from tests.unit.api.conftest import Api, Keys, code

SAFE, UNSAFE = "/api/cron/jobs", "/api/cron/stop"
OPEN = ["/healthz", "/readyz", "/metrics", "/api/cron/load"]
ROUTES = [
    (method.upper(), path.replace("{job_id}", "nobody").replace("{run_id}", "nobody"), told["x-scope"])
    for path, methods in office.openapi()["paths"].items()
    for method, told in methods.items()
]
PAGES = [("GET", path, "read") for path in ("/", "/jobs", "/jobs/nobody", "/runs", "/runs/nobody")]
UNKNOWN = [("GET", "/nothing", "read"), ("GET", "/api/cron/nothing", "read"), ("PUT", "/api/cron/jobs", "write"),
           ("TRACE", "/", "write"), ("GET", "/static/../pages.py", "read")]  # fmt: skip


@pytest.fixture
def keyed(make_api: Callable[..., Api], keys: Keys) -> Api:
    """The API as it is with keys."""
    return make_api(keys=KeyRing(keys.file))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class TestKeys:
    @pytest.mark.parametrize(("method", "path", "scope"), ROUTES + PAGES + UNKNOWN)
    def test_every_route_wants_a_key_with_its_scope(
        self, keyed: Api, keys: Keys, method: str, path: str, scope: str
    ) -> None:  # fmt: skip
        strangers = [{}, bearer("hck_nonsense"), {"Authorization": "Basic eA=="}, {"Authorization": keys.read},
                     bearer(f"{keys.read}, {keys.read}"), bearer("")]  # fmt: skip
        answers = [keyed.ask(method, path, headers=sent) for sent in strangers]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 1
        reader = keyed.ask(method, path, headers=bearer(keys.read))
        writer = keyed.ask(method, path, headers=bearer(keys.write))
        assert writer.status_code not in (401, 403)
        if scope == "write":
            assert code(reader) == (403, "scope_missing")
        else:
            assert reader.status_code == writer.status_code

    def test_a_refused_write_changes_nothing(self, keyed: Api, keys: Keys) -> None:
        for sent in ({}, bearer(keys.read)):
            assert keyed.ask("POST", UNSAFE, headers=sent).status_code in (401, 403)
        assert not keyed.store.stopped()

    @pytest.mark.parametrize("path", [*OPEN, "/static/dashboard.js", "/static/dashboard.css"])
    def test_what_holds_no_secret_needs_no_key(self, keyed: Api, path: str) -> None:
        assert keyed.ask("GET", path).status_code in (200, 503)

    def test_a_key_opens_from_anywhere_and_by_any_name(self, keyed: Api, keys: Keys) -> None:
        headers = {**bearer(keys.write), "Origin": "https://elsewhere.example", "X-Forwarded-For": "203.0.113.9"}
        answer = keyed.ask("POST", UNSAFE, headers=headers, peer="203.0.113.9", host="cron.example")
        assert answer.status_code == 200

    def test_a_line_taken_out_is_a_key_withdrawn_and_a_new_line_a_new_key(self, keyed: Api, keys: Keys) -> None:
        other = add_key(keys.file, "late", ["read"])
        assert keyed.ask("GET", SAFE, headers=bearer(other)).status_code == 200
        lines = keys.file.read_text().splitlines(keepends=True)
        keys.file.write_text("".join(line for line in lines if not line.startswith("late ")))
        assert keyed.ask("GET", SAFE, headers=bearer(other)).status_code == 401
        assert keyed.ask("GET", SAFE, headers=bearer(keys.read)).status_code == 200

    @pytest.mark.parametrize("harm", ["remove", "garble", "open"])
    def test_a_file_that_cannot_be_used_any_more_opens_nothing(self, keyed: Api, keys: Keys, harm: str) -> None:
        if harm == "remove":
            keys.file.unlink()
        elif harm == "garble":
            keys.file.write_text(keys.file.read_text() + "root read plaintext\n")
        else:
            keys.file.chmod(0o666)
        assert keyed.ask("GET", SAFE, headers=bearer(keys.read)).status_code == 401
        assert keyed.ask("GET", SAFE).status_code == 401

    def test_no_key_is_ever_in_an_answer_or_the_log(
        self, keyed: Api, keys: Keys, caplog: pytest.LogCaptureFixture
    ) -> None:  # fmt: skip
        caplog.set_level("DEBUG")
        for sent in (bearer(keys.read), bearer(keys.write), bearer("hck_wrong")):
            answers = [keyed.ask("POST", UNSAFE, headers=sent), keyed.ask("GET", SAFE, headers=sent)]
            assert not any(key in answer.text for answer in answers for key in (keys.read, keys.write))
        assert "hck_" not in caplog.text
        assert "operator" in caplog.text


class TestThisMachine:
    @pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
    def test_it_answers_this_machine(self, api: Api, peer: str) -> None:
        assert api.ask("GET", SAFE, peer=peer).status_code == 200

    @pytest.mark.parametrize(
        "peer", ["203.0.113.9", "10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0", "", "unix:", "localhost"]
    )
    def test_it_answers_nobody_else(self, api: Api, peer: str) -> None:
        assert code(api.ask("GET", SAFE, peer=peer)) == (403, "not_local")
        assert code(api.ask("GET", "/api/cron/nothing", peer=peer)) == (403, "not_local")

    @pytest.mark.parametrize(
        "header",
        ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP",
         "CF-Connecting-IP",
         "True-Client-IP", "X-Envoy-External-Address"],
    )  # fmt: skip
    def test_what_came_through_a_proxy_is_not_from_this_machine(self, api: Api, header: str) -> None:
        assert code(api.ask("GET", SAFE, headers={header: "127.0.0.1"})) == (403, "not_local")

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "cron.internal:8080"])
    def test_it_answers_to_its_own_names(self, make_api: Callable[..., Api], host: str) -> None:
        assert make_api(bind="cron.internal:8080").ask("GET", SAFE, host=host).status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "0.0.0.0", "[::]",
                 "localhost.",
                 "localhost:8080@evil.example", "localhost, evil.example", "127.0.0.2"],
    )  # fmt: skip
    @pytest.mark.parametrize("bind", ["0.0.0.0:8080", "[::]:8080", "fd://3", "unix:/run/localhost:1"])
    def test_it_answers_to_no_name_that_a_page_may_have_pointed_here(
        self, make_api: Callable[..., Api], host: str, bind: str
    ) -> None:  # fmt: skip
        api = make_api(bind=bind)
        for path in (SAFE, "/", "/nothing", "/openapi.json", "/static/dashboard.js"):
            assert code(api.ask("GET", path, host=host)) == (421, "host_unknown")

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8080"},
         {"Origin": "http://localhost:8080"}],
    )  # fmt: skip
    def test_it_lets_itself_be_changed_by_its_own_page_and_by_no_browser(self, api: Api, headers: Any) -> None:
        assert api.ask("POST", UNSAFE, headers={"Content-Type": "application/json", **headers}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"},
         {"Origin": "https://evil.example"}, {"Origin": "http://localhost:3000"}, {"Origin": "http://localhost"},
         {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
         {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"}],
    )  # fmt: skip
    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_no_page_of_another_origin_changes_anything(self, api: Api, headers: Any, method: str) -> None:
        sent = {"Content-Type": "application/json", **headers}
        assert code(api.ask(method, UNSAFE, headers=sent)) == (403, "foreign_origin")
        assert not api.store.stopped()

    @pytest.mark.parametrize(
        "headers",
        [{"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
         {"Content-Type": "multipart/form-data; boundary=x"}, {"Origin": "http://localhost:8080"},
         {"Referer": "http://evil.example/"}, {"Sec-Fetch-Site": "none"}],
    )  # fmt: skip
    def test_no_form_changes_anything(self, api: Api, headers: Any) -> None:
        assert code(api.ask("POST", UNSAFE, headers=headers)) == (415, "media_type")
        assert not api.store.stopped()

    def test_the_fire_endpoint_and_the_probes_are_as_they_were(self, api: Api) -> None:
        for path in OPEN:
            assert api.ask("GET", path, peer="203.0.113.9", host="cron.example").status_code == 200
        assert api.ask("POST", "/api/cron/fire", {}, peer="203.0.113.9", host="cron.example").json == {
            "error": "invalid fire token"
        }


@pytest.mark.parametrize("path", ["/", "/jobs", "/api/cron/jobs", "/nothing", "/static/dashboard.js", "/openapi.json"])
def test_every_answer_tells_the_browser_what_a_page_may_do(api: Api, path: str) -> None:
    for host in ("localhost", "evil.example"):
        headers = api.ask("GET", path, host=host, headers={"Accept": "text/html"}).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
