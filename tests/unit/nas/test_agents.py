"""Agents: who may arm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hermes_cron.errors import AgentInvalid
from hermes_cron.nas.held import Result
from tests.unit.nas.world import world


def test_a_token_leads_to_its_agent_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    with world(tmp_path, agents=0) as it:
        agent, token = it.agents.add("one", "agent:one")
        assert it.agents.by_token(token.reveal()) == agent
        assert re.fullmatch(r"hcn_[A-Za-z0-9_-]{43}", token.reveal())
        assert repr(token) == "***"
        for wrong in ("", "x", token.reveal()[:-1], token.reveal() + " ", "\ud800"):
            assert it.agents.by_token(wrong) is None
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.reveal().encode() not in kept
    assert token.reveal().removeprefix("hcn_").encode() not in kept


def test_a_name_is_given_once_until_it_is_revoked(tmp_path: Path) -> None:
    with world(tmp_path, agents=0) as it:
        old, old_token = it.agents.add("one", "a")
        with pytest.raises(AgentInvalid, match="exists already"):
            it.agents.add("one", "b")
        it.agents.revoke("one")
        new, _ = it.agents.add("one", "b")
        assert new.id != old.id
        known = it.agents.by_token(old_token.reveal())
        assert known is not None
        assert known.revoked_at is not None
        assert [one.agent.audience for one in it.agents.listed()] == ["a", "b"]


def test_an_unknown_agent_cannot_be_revoked(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.agents.revoke("agent1")
        for name in ("agent1", "nobody"):
            with pytest.raises(AgentInvalid, match=f"no agent {name}"):
                it.agents.revoke(name)


@pytest.mark.parametrize(
    ("name", "audience"), [("", "a"), ("a b", "a"), ("a\n", "a"), ("a" * 101, "a"), ("a", ""), ("a", "a\n")]
)
def test_an_agent_without_a_name_or_an_audience_is_refused(tmp_path: Path, name: str, audience: str) -> None:
    with world(tmp_path) as it, pytest.raises(AgentInvalid):
        it.agents.add(name, audience)


def test_what_was_dead_before_its_agent_was_revoked_keeps_its_reason(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.arm(1, "refused", -1)
        it.arm(1, "armed")
        (due,) = it.book.take(it.clock.now, 1, 1)
        it.book.finish(due.held, Result(400, "the agent answered 400"))
        it.agents.revoke("agent1")
        reasons = {held.job_id: held.reason for held in it.book.listed(1)}
        assert reasons == {"armed": "the agent was revoked", "refused": "the agent answered 400"}
