"""What is taken down of what a run says: its beginning and its end, and never more than its bound."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_cron.output import MAX_BYTES, Line, Output, Recorder
from tests.unit.parts import NOON, FakeClock

SECOND = timedelta(seconds=1)


def texts(output: Output) -> list[str]:
    return [line.text for line in output.lines]


def test_each_line_has_the_instant_at_which_it_began_its_source_and_its_level() -> None:
    clock = FakeClock()
    recorder = Recorder(clock)
    recorder.printed("stdout", b"one\ntw")
    clock.advance(1)
    recorder.printed("stderr", b"oh")
    recorder.logged("app.tide", "warning", "late\nby an hour")
    clock.advance(1)
    recorder.printed("stdout", b"o\n\nthree")
    assert recorder.end() == Output((
        Line(NOON, "stdout", "one"), Line(NOON + SECOND, "app.tide", "late\nby an hour", "warning"),
        Line(NOON, "stdout", "two"), Line(NOON + 2 * SECOND, "stdout", ""),
        Line(NOON + SECOND, "stderr", "oh"), Line(NOON + 2 * SECOND, "stdout", "three"),
    ))  # fmt: skip


def test_after_its_end_it_takes_nothing_more() -> None:
    recorder = Recorder(FakeClock())
    recorder.printed("stdout", b"one\n")
    ended = recorder.end()
    recorder.printed("stdout", b"two\n")
    recorder.logged("app", "info", "three")
    assert recorder.end() == ended


def test_of_much_it_keeps_the_beginning_and_the_end_and_says_how_much_is_missing() -> None:
    recorder = Recorder(FakeClock())
    for number in range(20_000):
        recorder.printed("stdout", f"line {number}\n".encode())
    output = recorder.end()
    assert texts(output)[:3] == ["line 0", "line 1", "line 2"]
    assert texts(output)[-1] == "line 19999"
    first, last = (int(part[edge].text.split()[1]) for part, edge in ((output.head, -1), (output.tail, 0)))
    assert output.left_out == sum(len(f"line {number}\n") for number in range(first + 1, last))
    assert MAX_BYTES * 0.8 < len(output.to_text()) < MAX_BYTES


def test_a_flood_in_one_piece_is_kept_as_the_same_flood_line_by_line() -> None:
    whole, pieces = Recorder(FakeClock()), Recorder(FakeClock())
    lines = [b"%d" % number for number in range(50_000)]
    whole.printed("stdout", b"\n".join(lines[:10_000]) + b"\n")
    whole.printed("stdout", b"\n".join(lines[10_000:]) + b"\n")
    for line in lines:
        pieces.printed("stdout", line + b"\n")
    assert whole.end() == pieces.end()


def test_a_line_without_end_is_cut_where_no_character_is() -> None:
    recorder = Recorder(FakeClock())
    recorder.printed("stdout", "é€𝄞".encode() * 2000)
    assert "".join(texts(recorder.end())) == "é€𝄞" * 2000


def test_a_line_that_comes_byte_by_byte_is_one_line() -> None:
    recorder = Recorder(FakeClock())
    for byte in "Çà et là\n".encode():
        recorder.printed("stdout", bytes([byte]))
    assert texts(recorder.end()) == ["Çà et là"]


@pytest.mark.parametrize("secrets", [0, 3000])
def test_of_a_line_that_was_cut_nothing_is_shown_as_if_it_were_whole(secrets: int) -> None:
    recorder = Recorder(FakeClock(), ("hunter2",))
    line = b"begin " + b"hunter2" * 10 + b" end"
    recorder.printed("stdout", b"first\n" + b"hunter2\n" * secrets)
    for _ in range(5000):
        recorder.printed("stdout", line)
        recorder.printed("stdout", b"\n")
    recorder.printed("stdout", b"hunter2\n" * secrets + b"last\n")
    said = texts(recorder.end())
    assert (said[0], said[-1]) == ("first", "last")
    assert set(said) <= {"first", "last", "***", f"begin {'***' * 10} end"}


@pytest.mark.parametrize("flood", [b"\x01" * 300_000, b"\xff" * 300_000, b'"' * 300_000, b"\n" * 300_000])
def test_whatever_it_is_it_stays_below_its_bound(flood: bytes) -> None:
    recorder = Recorder(FakeClock())
    recorder.printed("stdout", flood)
    recorder.printed("stdout", b"\nend\n")
    output = recorder.end()
    assert texts(output)[-1] == "end"
    assert len(output.to_text().encode()) < MAX_BYTES + 100
    assert output.left_out > 100_000 or flood[:1] == b"\n"


def test_of_a_logged_text_that_is_too_long_the_middle_is_left_out() -> None:
    recorder = Recorder(FakeClock())
    recorder.logged("app", "error", f"begin {'x' * 100_000} end\ud800")
    (text,) = texts(recorder.end())
    assert text.startswith("begin ")
    assert text.endswith(" end\\ud800")
    assert len(text) < 10_000


def test_a_secret_of_ours_stands_in_no_line() -> None:
    recorder = Recorder(FakeClock(), ("hunter2", ""))
    recorder.printed("stdout", b"HERMES_CRON_STORE__URL=postgresql://u:hun")
    recorder.printed("stdout", b"ter2@db/cron\n")
    recorder.logged("app", "info", "token hunter2, hunter2")
    text = recorder.end().to_text()
    assert "hunter2" not in text
    assert text.count("***") == 3


def test_threads_may_speak_at_once() -> None:
    recorder = Recorder(FakeClock())

    def speak(name: str) -> None:
        for number in range(100):
            recorder.printed(name, f"{number}\n".encode())

    threads = [threading.Thread(target=speak, args=(name,)) for name in ("stdout", "stderr")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = recorder.end().lines
    for name in ("stdout", "stderr"):
        assert [line.text for line in lines if line.source == name] == [str(number) for number in range(100)]


@given(st.lists(st.text() | st.text(st.sampled_from('\0\n\x1b"\\\ud800é')), max_size=20))
def test_it_is_the_same_again_after_it_was_kept(said: list[str]) -> None:
    recorder = Recorder(FakeClock())
    for text in said:
        recorder.printed("stdout", text.encode(errors="backslashreplace"))
        recorder.logged("app", "info", text)
    output = recorder.end()
    text = output.to_text()
    assert Output.from_text(text) == output
    assert "\0" not in text
    text.encode()


@pytest.mark.parametrize("damage", [
    "", "[]", "{}", "nonsense", '{"v":2,"head":[],"tail":[],"left_out":0}',
    '{"v":1,"head":[[1]],"tail":[],"left_out":0}',
    '{"v":1,"head":[["x","","",""]],"tail":[],"left_out":0}', '{"v":1,"head":7,"tail":[],"left_out":0}',
    json.dumps({"v": 1, "head": [[2**80, "", "", ""]], "tail": [], "left_out": 0}),
])  # fmt: skip
def test_what_was_damaged_is_refused(damage: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Output.from_text(damage)
