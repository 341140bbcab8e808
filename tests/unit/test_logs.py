"""The log: one event, one line; nothing that a job, a task or a client says can forge a second one."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Iterator

import pytest

from hermes_cron.errors import ConfigError
from hermes_cron.logs import LEVELS, one_line, set_up_logging

log = logging.getLogger("hermes_cron.test")


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = kept, level
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().split("\n")[:-1]


def set_up(level: str = "", form: str = "", *, terminal: bool = False, **environ: str) -> io.StringIO:
    stream = Terminal() if terminal else io.StringIO()
    set_up_logging(level, form, environ=environ, stream=stream)
    return stream


def test_is_json_where_there_is_no_terminal() -> None:
    stream = set_up()
    log.info("run %s succeeded", "a:1")
    event = json.loads(lines(stream)[0])
    assert {key: event[key] for key in ("level", "logger", "message")} == {
        "level": "info", "logger": "hermes_cron.test", "message": "run a:1 succeeded",
    }  # fmt: skip
    assert event["at"].endswith("+00:00")
    assert isinstance(event["pid"], int)


def test_is_for_people_on_a_terminal() -> None:
    stream = set_up(terminal=True)
    log.warning("tide")
    assert lines(stream)[0].endswith(" WARNING test: tide")


@pytest.mark.parametrize("form", ["human", "json", "JSON", "Human"])
def test_the_format_can_be_chosen(form: str) -> None:
    for given in ({"form": form}, {"HERMES_CRON_LOG_FORMAT": form}):
        stream = set_up(**given)  # type: ignore[arg-type]  # loosely typed, as tests are.
        log.info("x")
        assert lines(stream)[0].startswith("{") == (form.lower() == "json")


@pytest.mark.parametrize("level", [*LEVELS, "INFO"])
def test_the_level_can_be_chosen(level: str) -> None:
    for given in ({"level": level}, {"HERMES_CRON_LOG_LEVEL": level}):
        stream = set_up(**given)  # type: ignore[arg-type]  # loosely typed, as tests are.
        for name in LEVELS:
            log.log(getattr(logging, name.upper()), name)
        assert [json.loads(line)["level"] for line in lines(stream)] == list(LEVELS)[LEVELS.index(level.lower()) :]


def test_is_info_by_default_and_what_is_given_goes_before_the_environment() -> None:
    stream = set_up("error", HERMES_CRON_LOG_LEVEL="debug")
    log.warning("x")
    assert lines(stream) == []
    stream = set_up()
    log.debug("x")
    log.info("y")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize(("level", "form", "field"), [("loud", "", "log_level"), ("", "xml", "log_format")])
def test_an_unknown_level_or_format_is_one_sentence(level: str, form: str, field: str) -> None:
    environ = {"HERMES_CRON_LOG_LEVEL": level, "HERMES_CRON_LOG_FORMAT": form}
    with pytest.raises(ConfigError, match=level or form) as told:
        set_up(**environ)
    assert told.value.field == field
    with pytest.raises(ConfigError):
        set_up(level, form)


NASTY = [
    "a\nINFO forged", "a\r\nforged", "a\x0bb\x0cc", "a\x1b[2Jb", "a\x00b", "a\x85b", "a\u2028b\u2029c",
    "a\u202egnp.exe", "a\u2066b\u2069", "a\u200bb\u200d\ufeff", "a\ud800b", "a\U000e0001b",
    "a\x7fb\x9b", "\t", "a\u00a0b\u3000",
]  # fmt: skip


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize("nasty", NASTY)
def test_no_text_forges_a_line_or_turns_the_terminal(form: str, nasty: str) -> None:
    stream = set_up("", form)
    log.info("job %s ran", nasty)
    log.info(nasty)
    assert len(stream.getvalue().splitlines()) == 2
    assert not any(unicodedata.category(char)[0] == "C" for char in stream.getvalue() if char != "\n")
    stream.getvalue().encode()


def test_words_of_every_script_stay_as_they_are() -> None:
    assert one_line("Zürich 東京 عمان 🙂 {}") == "Zürich 東京 عمان 🙂 {}"


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_traceback_is_one_line_and_keeps_its_end(form: str) -> None:
    stream = set_up("", form)

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError(f"here\nit {'x' * 200} ends")

    def other(left: int) -> None:
        return deep(0) if left == 0 else (other if left % 2 else again)(left - 1)

    def again(left: int) -> None:
        return other(left)

    try:
        other(100)
    except ValueError:
        log.exception("it failed")
    assert len(lines(stream)) == 1
    assert "it failed" in lines(stream)[0]
    assert "ends" in lines(stream)[0]
    assert len(lines(stream)[0]) < 10_000


def test_a_very_long_text_is_cut_and_says_so() -> None:
    text = one_line("start" + "x" * 1_000_000 + "end")
    assert len(text) < 4_100
    assert text.startswith("start")
    assert text.endswith("end")
    assert "1000008 characters" in text


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("arguments", [(), (1, 2), (Rude(),)])
def test_a_message_that_cannot_be_made_is_still_one_line(
    arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    stream = set_up()
    log.info("run %s of a plugin", *arguments)
    log.info("%s %s", *arguments)
    assert len(lines(stream)) == 2
    assert "of a plugin" in lines(stream)[0]
    assert capsys.readouterr().err == ""


def test_chatty_libraries_are_quiet_unless_it_is_debug() -> None:
    stream = set_up()
    logging.getLogger("httpx").info("GET https://x/?token=secret")
    logging.getLogger("httpx").warning("news")
    assert len(lines(stream)) == 1
    stream = set_up("debug")
    logging.getLogger("kombu").debug("x")
    logging.getLogger("httpx").info("GET https://x/?token=secret")
    logging.getLogger("httpcore.http11").debug("receive_response_headers.complete [(b'Set-Cookie', b'secret')]")
    assert len(lines(stream)) == 1


def test_setting_up_twice_is_setting_up_once() -> None:
    set_up()
    stream = set_up()
    log.info("x")
    assert len(lines(stream)) == 1
