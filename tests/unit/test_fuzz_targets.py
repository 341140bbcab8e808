"""The fuzz targets hold for what a search begins with; the search itself is no part of the tests."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_target_holds_for_its_seeds_and_their_pieces(name: str) -> None:
    for seed in seeds(name):
        for end in range(0, len(seed) + 1, max(1, len(seed) // 40)):
            TARGETS[name](seed[:end])
            TARGETS[name](seed[end:] + seed[:end])
