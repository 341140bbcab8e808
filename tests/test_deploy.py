"""What stands in deploy/ is parsed, and what can be run here is run."""

from __future__ import annotations

import configparser
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hermes_cron import server
from hermes_cron.bootstrap import the_verifier
from hermes_cron.config import example_yaml, load

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())


def test_gunicorn_conf_says_what_the_package_runs_with() -> None:
    said = runpy.run_path(str(DEPLOY / "gunicorn.conf.py"))
    assert {name: said[name] for name in server.SETTINGS} == dict(server.SETTINGS)
    assert said["wsgi_app"] == "hermes_cron.wsgi:application"


def test_the_example_configuration_is_generated_and_changes_nothing(tmp_path: Path) -> None:
    file = DEPLOY / "config.example.yaml"
    assert file.read_text() == example_yaml()
    environ = {"HERMES_CRON_HOME": str(tmp_path)}
    assert load(file, environ=environ).settings == load(environ=environ).settings


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_systemd_unit_starts_a_command_that_is_one(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd minds the case of a key.
    parser.read(unit)
    if unit.suffix == ".socket":
        assert parser["Socket"]["ListenStream"]
        return
    from click.testing import CliRunner

    from hermes_cron.cli import cli

    words = parser["Service"]["ExecStart"].split()
    assert words[0].endswith("/hermes-cron")
    result = CliRunner().invoke(cli, [*words[1:], "--help"])
    assert result.exit_code == 0, result.output
    flags = [word for word in words if word.startswith("--") and word != "--config"]
    assert [flag for flag in flags if flag not in result.output] == []


def test_compose_starts_what_the_package_has(tmp_path: Path) -> None:
    said: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    services = said["services"]
    assert {"nas", "web1", "web2", "worker1", "worker2", "proxy", "redis", "postgres"} == set(services)
    for name in ("web1", "worker1"):
        given = {k: str(v).replace(":?set POSTGRES_PASSWORD", "") for k, v in services[name]["environment"].items()}
        given["HERMES_CRON_APP"] = ""
        config = load(environ={**given, "HERMES_CRON_HOME": str(tmp_path)})
        assert config.settings.cron.provider == "chronos"
        assert services[name]["command"][0] == "hermes-cron"
        # Nobody may sign fires who only sits between two containers: keys come by https or loopback.
        assert the_verifier(config)
    upstream = re.findall(r"server (\S+):(\d+) max_fails=0;", (DEPLOY / "compose" / "nginx.conf").read_text())
    for (host, port), name in zip(upstream, ("web1", "web2"), strict=True):
        assert services[name]["network_mode"] == f"service:{host}"
        assert services[name]["command"][-1] == f"0.0.0.0:{port}"
        assert f":{port}/healthz" in services[name]["healthcheck"]["test"][-1]


def test_the_lock_has_every_dependency_by_its_hash_and_the_image_takes_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", lock, re.MULTILINE))
    assert len(pins) == len(re.findall(r"^[a-z]", lock, re.MULTILINE))
    for line in (*project["dependencies"], *project["optional-dependencies"]["postgres"]):
        needed = Requirement(line)
        assert needed.specifier.contains(pins[canonicalize_name(needed.name)]), f"run `make lock`: {line}"
    for block in re.split(r"\n(?=[a-z])", lock)[1:]:
        assert "--hash=sha256:" in block, block
    assert "http" not in re.sub(r"\bhttpx?|httpcore", "", lock), "no address of an index"
    installs = re.findall(r"pip install (.*)", (DEPLOY / "Dockerfile").read_text())
    assert all("--require-hashes --only-binary :all:" in flags or "--no-deps" in flags for flags in installs)


def test_the_two_nginx_files_differ_in_addresses_only() -> None:
    def directives(path: Path) -> list[str]:
        lines = [line.strip() for line in path.read_text().splitlines()]
        told = ("#", "server ", "listen ", "pid ")
        return [line for line in lines if line and not line.startswith(told) and "_temp_path" not in line]

    assert directives(DEPLOY / "nginx.conf") == directives(DEPLOY / "compose" / "nginx.conf")
