"""Which providers there are, what may be run of them, and who wakes us in the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hermes_cron.errors import ConfigError, ProviderError
from hermes_cron.providers import configured_cron_scheduler, list_providers, resolve_cron_scheduler
from hermes_cron.providers.builtin import InProcessCronScheduler
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.settings import ChronosSettings, CronSettings, Secret

GOOD = """
from .inner import Toy

def register(ctx):
    ctx.register_cron_scheduler(Toy(ctx))
"""
TOY = """
class Toy:
    name = "toy"
    confirms = True

    def __init__(self, ctx=None):
        self.ctx = ctx

    def is_available(self):
        return True

    def attach(self, store): ...
    def start(self, store, broker): ...
    def stop(self): ...
    def arm(self, job_id, within): return True
    def on_jobs_changed(self, job_ids): return ()
    def reconcile(self, full=False, cancel_orphans=False): ...
    def held(self): return None
"""
CONFIGURED = ChronosSettings(
    portal_url="http://127.0.0.1:1", callback_url="https://agent.example", access_token=Secret("x")
)
NOW = datetime(2031, 1, 1, tzinfo=UTC)
Plugin = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "plugins").mkdir(parents=True)
    for folder in (home, home / "plugins"):
        folder.chmod(0o755)
    return home


@pytest.fixture
def plugin(home: Path) -> Plugin:
    """Writes a plugin's folder."""

    def write(name: str = "toy", code: str = GOOD, **files: str) -> Path:
        folder = home / "plugins" / name
        folder.mkdir()
        folder.chmod(0o755)
        about = f'name: {name}\ndescription: >\n  A toy,\n  to play with.\nversion: "1.2"\nauthor: [me]\n'
        for file, text in {"__init__.py": code, "inner.py": TOY, "plugin.yaml": about, **files}.items():
            (folder / file).write_text(text)
            (folder / file).chmod(0o644)
        return folder

    return write


def resolve(home: Path, provider: str = "toy", fallback: str = "builtin", **changes: object) -> object:
    settings = CronSettings(provider=provider, fallback=fallback, **changes)  # type: ignore[arg-type]
    return resolve_cron_scheduler(settings, home=home, clock=lambda: NOW)


def warning(scheduler: object) -> str:
    assert isinstance(scheduler, InProcessCronScheduler)
    return scheduler.warning


def test_listing_describes_bundled_and_user_providers_and_runs_none(home: Path, plugin: Plugin) -> None:
    plugin(code="raise SystemExit('run!')")
    found = {info.name: info for info in list_providers(home)}
    assert {"builtin", "chronos", "toy"} <= set(found)
    assert all(info.description and info.version and not info.problem for info in found.values())
    toy = found["toy"]
    assert (toy.description, toy.version, toy.source) == ("A toy, to play with.", "1.2", "user")
    assert found["chronos"].source == "bundled"
    assert not any("toy" in name for name in sys.modules)


def test_it_works_without_a_home(tmp_path: Path) -> None:
    assert [info.name for info in list_providers(tmp_path / "none")][:2] == ["builtin", "chronos"]


def test_a_plugin_is_loaded_under_a_name_of_its_own(home: Path, plugin: Plugin) -> None:
    before, path = set(sys.modules), list(sys.path)
    plugin("json", GOOD)
    scheduler = resolve(home, "json")
    assert scheduler.name == "toy"  # type: ignore[attr-defined]  # it has it here.
    assert (scheduler.ctx.home, scheduler.ctx.clock()) == (home, NOW)  # type: ignore[attr-defined]  # it has it here.
    assert scheduler.ctx.settings.provider == "json"  # type: ignore[attr-defined]  # it has it here.
    assert all(name.startswith("_hermes_cron_provider_") for name in set(sys.modules) - before)
    assert sys.path == path


@pytest.mark.parametrize("offer", ["Toy", "Toy()", "lambda: Toy()"])
def test_a_plugin_may_offer_a_scheduler_or_what_makes_one(home: Path, plugin: Plugin, offer: str) -> None:
    plugin(code=f"from .inner import Toy\ndef register(ctx): ctx.register_cron_scheduler({offer})")
    assert type(resolve(home)).__name__ == "Toy"


def test_a_bundled_provider_wins_and_the_other_is_reported(home: Path, plugin: Plugin) -> None:
    plugin("chronos", code="raise SystemExit('run!')")
    plugin("builtin", code="raise SystemExit('run!')")
    shadowed = [info for info in list_providers(home) if info.name in ("chronos", "builtin") and info.source == "user"]
    assert len(shadowed) == 2
    assert all("comes first" in info.problem for info in shadowed)
    assert isinstance(resolve(home, "chronos", chronos=CONFIGURED), ChronosCronScheduler)
    assert warning(resolve(home, "builtin")) == ""


@pytest.mark.parametrize("provider", ["", "builtin"])
def test_i7_nothing_configured_is_the_builtin(home: Path, provider: str) -> None:
    assert warning(resolve(home, provider, fallback="fail")) == ""


def test_i7_an_available_provider_is_taken(home: Path) -> None:
    scheduler = resolve(home, "chronos", chronos=CONFIGURED)
    assert isinstance(scheduler, ChronosCronScheduler)


BROKEN = {
    "raises": "raise RuntimeError('boom')",
    "exits": "import sys; sys.exit(3)",
    "syntax": "def register(",
    "no_register": "x = 1",
    "registers_none": "def register(ctx): ...",
    "register_raises": "def register(ctx): 1 / 0",
    "wrong_type": "def register(ctx): ctx.register_cron_scheduler(object())",
    "wrong_thing": "def register(ctx): ctx.register_cron_scheduler(lambda: 7)",
    "needs_arguments": "def register(ctx): ctx.register_cron_scheduler(lambda a, b: 7)",
    "unavailable": "from .inner import Toy\nToy.is_available = lambda s: False\n"
    "def register(ctx): ctx.register_cron_scheduler(Toy())",
    "available_raises": "from .inner import Toy\nToy.is_available = lambda s: 1 / 0\n"
    "def register(ctx): ctx.register_cron_scheduler(Toy())",
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN.keys())
def test_i7_a_broken_plugin_falls_back_with_a_warning_or_fails(
    home: Path, plugin: Plugin, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin(code=code)
    said = warning(resolve(home))
    assert "toy" in said
    assert said in caplog.text
    for attempt in (lambda: resolve(home, fallback="fail"), lambda: configured(home)):
        with pytest.raises((ProviderError, ConfigError)) as caught:
            attempt()
        assert caught.value.exit_code == 78
    # I17: and nothing of it stays behind to harm another.
    assert len(list_providers(home)) >= 3
    assert isinstance(resolve(home, "chronos", chronos=CONFIGURED), ChronosCronScheduler)


def configured(home: Path) -> object:
    return configured_cron_scheduler(CronSettings(provider="toy"), home=home)


def test_i7_an_unknown_name_falls_back_or_fails_and_says_what_there_is(home: Path) -> None:
    assert "chronos" in warning(resolve(home, "chronoss"))
    with pytest.raises(ConfigError, match="builtin, chronos"):
        resolve(home, "chronoss", fallback="fail")


def test_i7_chronos_without_configuration_says_what_is_missing(home: Path) -> None:
    said = warning(resolve(home, "chronos"))
    for key in ("portal_url", "callback_url", "access_token"):
        assert f"cron.chronos.{key}" in said


def test_i7_a_one_off_command_never_falls_back(home: Path) -> None:
    with pytest.raises(ConfigError):
        configured_cron_scheduler(CronSettings(provider="chronos", fallback="builtin"), home=home)


@pytest.mark.parametrize("which", ["home", "plugins", "folder", "file", "inner"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_it_runs_nothing_that_others_may_write(home: Path, plugin: Plugin, which: str, mode: int) -> None:
    folder = plugin()
    (folder / "deep").mkdir()
    (folder / "deep").chmod(0o755)
    (folder / "deep" / "x.py").write_text("")
    paths = {
        "home": home, "plugins": home / "plugins", "folder": folder, "file": folder / "__init__.py",
        "inner": folder / "deep" / "x.py",
    }  # fmt: skip
    path = paths[which]
    path.chmod(path.stat().st_mode | mode)
    (info,) = [info for info in list_providers(home) if info.name == "toy"]
    assert str(path) in info.problem
    assert info.description == ""
    assert str(path) in warning(resolve(home))


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root can give files away")
def test_it_runs_nothing_that_belongs_to_another(home: Path, plugin: Plugin) -> None:
    folder = plugin()
    os.chown(folder / "inner.py", 12345, -1)
    assert str(folder / "inner.py") in warning(resolve(home))


def test_it_follows_no_link_out_of_the_folder(home: Path, plugin: Plugin, tmp_path: Path) -> None:
    folder = plugin()
    outside = tmp_path / "outside.py"
    outside.write_text("")
    (folder / "more.py").symlink_to(outside)
    assert str(folder / "more.py") in warning(resolve(home))
    (folder / "more.py").unlink()
    (folder / "more.py").symlink_to(folder / "inner.py")
    assert type(resolve(home)).__name__ == "Toy"


def test_it_takes_no_linked_folder(home: Path, plugin: Plugin, tmp_path: Path) -> None:
    plugin().rename(tmp_path / "elsewhere")
    (home / "plugins" / "toy").symlink_to(tmp_path / "elsewhere")
    assert "link" in warning(resolve(home))


@pytest.mark.parametrize("about", ["[", "- a\n- b", "name: a\nname: b", "description: {", "\0"])
def test_a_description_that_cannot_be_read_harms_only_its_plugin(home: Path, plugin: Plugin, about: str) -> None:
    plugin("bad", **{"plugin.yaml": about})
    plugin("toy")
    problems = {info.name: bool(info.problem) for info in list_providers(home)}
    assert problems == {"builtin": False, "chronos": False, "bad": True, "toy": False}


def test_it_skips_what_is_no_plugin(home: Path, plugin: Plugin) -> None:
    plugin("_private")
    plugin(".hidden")
    (home / "plugins" / "empty").mkdir()
    (home / "plugins" / "file").write_text("")
    assert [info.name for info in list_providers(home)] == ["builtin", "chronos"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Installs a package with an entry point."""

    def install(name: str, target: str, code: str) -> None:
        info = tmp_path / "site" / f"{name}_dist-3.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 3.1\nSummary: Packed.\n")
        (info / "entry_points.txt").write_text(f"[hermes_cron.providers]\n{name} = {target}\n")
        (tmp_path / "site" / f"{name}_packed.py").write_text(TOY + code)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    return install


@pytest.mark.parametrize("target", ["packed_packed", "packed_packed:register"])
def test_an_installed_package_offers_a_provider(home: Path, package: Callable[..., None], target: str) -> None:
    package("packed", target, "\ndef register(ctx): ctx.register_cron_scheduler(Toy(ctx))")
    sys.modules.pop("packed_packed", None)
    (info,) = [info for info in list_providers(home) if info.name == "packed"]
    assert (info.source, info.version, info.description, info.problem) == ("package", "3.1", "Packed.", "")
    assert "packed_packed" not in sys.modules
    assert type(resolve(home, "packed")).__name__ == "Toy"


def test_a_bundled_provider_wins_over_a_package(home: Path, package: Callable[..., None]) -> None:
    package("chronos", "chronos_packed", "raise SystemExit")
    assert isinstance(resolve(home, "chronos", chronos=CONFIGURED), ChronosCronScheduler)
