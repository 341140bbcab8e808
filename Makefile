# Needs Python 3.11 or newer, and nothing else. `make demo` and `make test` make .venv first, once.

.PHONY: demo test lint types audit lock gate clean

demo:  ## The whole circle on this machine, in about 15 s.
	@.ci/venv
	@.venv/bin/hermes-cron demo

test:  ## The tests. ARGS="tests/unit -x" goes to pytest.
	@.ci/venv dev
	@VIRTUALENV_NO_PERIODIC_UPDATE=1 .venv/bin/tox -q -e tests -- $(ARGS)

lint:  ## ruff, and the floors and rooms by import-linter.
	@.ci/venv dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports

types:  ## mypy, strict.
	@.ci/venv dev
	.venv/bin/mypy

audit:  ## Known weaknesses of what requirements.lock names.
	@.ci/venv dev
	PYTHON=.venv/bin/python .ci/audit

lock:  ## requirements.lock from pyproject.toml, by hashes. ARGS=--upgrade takes the newest releases.
	.ci/lock $(ARGS)

gate:  ## All of it, on every Python that is installed.
	@.ci/venv dev
	.venv/bin/tox

clean:
	rm -rf .venv .tox .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist build *.egg-info
	find hermes_cron tests -name __pycache__ -prune -exec rm -rf {} +
