"""Texts cut to what a run may keep: a result is JSON of 64 KiB at most, an error one line of 500 characters."""

from __future__ import annotations

from collections.abc import Callable
from json import dumps

_ERROR_CHARS = 300


def json_bytes(text: str) -> int:
    """How long a text is inside JSON that is kept as UTF-8."""
    return len(dumps(text, ensure_ascii=False).encode(errors="replace")) - 2


def first_of(text: str, most: int) -> str:
    """The text, or the longest beginning that takes no more than `most` bytes inside JSON, and a word about it."""
    count = _longest(text, most, lambda count: text[:count])
    return text if count == len(text) else text[:count] + "\n[the rest is left out]"


def last_of(text: str, most: int) -> str:
    """The longest end that takes no more than `most` bytes inside JSON."""
    count = _longest(text, most, lambda count: text[len(text) - count :])
    return text[len(text) - count :]


def one_line(text: str, *, end: bool = False) -> str:
    """The beginning of a text, or its end, fit for an error: one line without control characters."""
    words = " ".join("".join(char if char.isprintable() or char.isspace() else "\ufffd" for char in text).split())
    if len(words) <= _ERROR_CHARS:
        return words
    return "..." + words[-_ERROR_CHARS:] if end else words[:_ERROR_CHARS] + "..."


def _longest(text: str, most: int, part: Callable[[int], str]) -> int:
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if json_bytes(part(middle)) <= most else (low, middle - 1)
    return low
