"""Fuzz one target by coverage, with atheris, which the project itself does not need:

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris -e .
    /tmp/fuzz/bin/python -m tests.fuzz.run verifier /tmp/corpus-verifier -max_total_time=600

Targets: verifier, webhook, fields, message. What comes after the folder goes to libFuzzer. A finding is left in the
current folder as crash-*, and given to the same command instead of the folder it is run again.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hermes_cron", "jwt", "falcon"]):
    from tests.fuzz import targets


def main() -> None:
    """Look for bytes that break a promise."""
    name, corpus = sys.argv[1], Path(sys.argv[2])
    logging.disable()
    if not corpus.is_file():
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(targets.seeds(name)):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], targets.TARGETS[name])
    atheris.Fuzz()


main()
