"""The whole protocol as a state machine: whatever crashes, is lost, late, early or doubled, every promise holds.

And the machine is held to account itself: it must catch each of the faults in `mutants.py` by the very search that
the protocol passes. `HERMES_CRON_TEST_LONG=1` searches twenty times as long, at random.
"""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.simulation.machine import Whole, search
from tests.unit.simulation.mutants import MUTANTS

SEARCH = search(400, 40)


@pytest.mark.timeout(3600)
def test_i5_to_i17_the_whole_protocol_keeps_its_promises() -> None:
    run_state_machine_as_test(Whole, settings=SEARCH)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", MUTANTS)
def test_it_is_caught_when(fault: str) -> None:
    with pytest.raises(AssertionError, match=r"^I\d+|a claim left the next fire in the past"):
        run_state_machine_as_test(partial(Whole, MUTANTS[fault]), settings=SEARCH)
