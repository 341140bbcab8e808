"""`hermes-cron fire`: sign and send one test fire, and say what this agent makes of it, claim by claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from hermes_cron import bootstrap
from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, emit_table
from hermes_cron.clock import read_instant, utc_now
from hermes_cron.config import Config
from hermes_cron.contract import FIRE_PATH, is_job_id
from hermes_cron.errors import ConfigError, FireInvalid, KeysUnavailable, OutboundError, TokenRejected
from hermes_cron.interfaces import FireVerifier
from hermes_cron.logs import one_line
from hermes_cron.nas.delivery import DEADLINE_S, claims_of, fire_body
from hermes_cron.nas.keys import FILE
from hermes_cron.nas.room import open_keys
from hermes_cron.outbound import Answer, Outbound
from hermes_cron.verify.reasons import Reason

_STEPS: tuple[tuple[str, tuple[Reason, ...]], ...] = (
    ("form", (Reason.NOT_CONFIGURED, Reason.FORM)),
    ("header", (Reason.HEADER, Reason.ALGORITHM, Reason.CRITICAL)),
    ("key", (Reason.UNKNOWN_KEY, Reason.WRONG_KEY, Reason.AMBIGUOUS_KEY)),
    ("signature", (Reason.SIGNATURE,)),
    ("exp", (Reason.CLAIMS, Reason.NO_EXPIRY, Reason.EXPIRED, Reason.NOT_YET, Reason.LIFE)),
    ("iss", (Reason.ISSUER,)),
    ("aud", (Reason.AUDIENCE,)),
    ("purpose", (Reason.PURPOSE,)),
    ("job_id", (Reason.JOB,)),
    ("fire_at", (Reason.INSTANT,)),
    ("body_sha256", (Reason.BODY, Reason.UNBOUND)),
)
"""What the verifier looks at, in its order, and with which reasons each of it is refused."""

OK, UNSEEN = "ok", "not looked at"


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--at", "instant", metavar="INSTANT", default=None, help="The instant it is for; now if not given.")
@click.option(
    "--sign-with", "home", required=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help=f"The folder of NAS's keys, or its {FILE} (`hermes-cron nas keys new`).",
)  # fmt: skip
@click.option("--issuer", default=None, help="The token's `iss`; else cron.chronos.portal_url.")
@click.option("--audience", default=None, help="The token's `aud`; else cron.chronos.expected_audience.")
@click.option("--url", default=None, help="Where to send it; else cron.chronos.callback_url.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def fire(
    session: Session, job_id: str, instant: str | None, home: Path, issuer: str | None, audience: str | None,
    url: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Sign and send one test fire, as NAS would. A 401 never tells why: the table does, by this configuration.

    Whether anything runs is decided by the claim: a fire for an instant at which nothing is due changes nothing.
    """
    config = session.config
    chronos = config.settings.cron.chronos
    names = _names(job_id, instant)
    body = fire_body(*names)
    issuer, audience = issuer or chronos.portal_url, audience or chronos.expected_audience
    claims = claims_of(issuer, audience, names, body, utc_now())
    token = open_keys(home.parent if home.name == FILE else home).sign(claims)
    rows = list(_verdict(_verifier(config), token, body, claims))
    if not as_json:
        # Ahead of the answer: whoever hangs there is still told what is wrong here.
        emit_table(("CLAIM", "SAYS", "VERDICT"), rows, "")
    target = (url or chronos.callback_url).rstrip("/")
    if not target.startswith(("http://", "https://")):
        words = f"{target!r} is no http:// or https:// URL." if target else "There is nowhere to send it to."
        raise ConfigError(words, hint="Give --url http://127.0.0.1:8080.", field="cron.chronos.callback_url")
    answer = _sent(target if target.endswith(FIRE_PATH) else target + FIRE_PATH, token, body)
    text = one_line(answer.body.decode(errors="replace")[:500])
    if as_json:
        verdict = [{"claim": name, "says": says, "verdict": word} for name, says, word in rows]
        emit_json({"verdict": verdict, "status": answer.status, "answer": text})
    else:
        click.echo(f"{answer.status}  {text}")
    if answer.status != 202:
        raise click.exceptions.Exit(1)


def _names(job_id: str, instant: str | None) -> tuple[str, datetime]:
    if not is_job_id(job_id):
        raise FireInvalid(f"{job_id!r} cannot be a job id.", field="job_id")
    try:
        return job_id, utc_now() if instant is None else read_instant(instant)
    except ValueError as error:
        hint = "Write an instant like 2030-01-31T09:00:00Z."
        raise FireInvalid(f"--at: {error}.", hint=hint, field="fire_at") from error


def _verifier(config: Config) -> FireVerifier | ConfigError:
    try:
        return bootstrap.the_verifier(config)
    except ConfigError as error:
        return error


def _verdict(
    verifier: FireVerifier | ConfigError, token: str, body: bytes, claims: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Each thing that is looked at: what the token says there, and what came of it."""
    at, why = _refusal(verifier, token, body)
    for place, (name, _) in enumerate(_STEPS):
        word = OK if at is None or place < at else why if place == at else UNSEEN
        yield name, str(claims.get(name, "")), word


def _refusal(verifier: FireVerifier | ConfigError, token: str, body: bytes) -> tuple[int | None, str]:
    if isinstance(verifier, ConfigError):
        return 0, f"refused: {verifier.message}"
    try:
        verifier(token, body)
    except TokenRejected as error:
        places = [place for place, (_, reasons) in enumerate(_STEPS) if error.reason in reasons]
        return (places or [0])[0], f"refused: {error.reason}"
    except KeysUnavailable as error:
        return 2, f"cannot be judged now: {error.message}"
    return None, OK


def _sent(url: str, token: str, body: bytes) -> Answer:
    outbound = Outbound()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        return outbound.request("POST", url, headers=headers, body=body, deadline=DEADLINE_S)
    except OutboundError as error:
        error.hint = error.hint or "Is `hermes-cron serve` (or `web`) up there? --url sends it elsewhere."
        raise
    finally:
        outbound.close()
