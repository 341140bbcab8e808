"""The laws of the house: floors, rooms, homes of libraries, lengths, docstrings, errors, and words that may not stand.

Floors and rooms are the contracts of import-linter in pyproject.toml; the rest is in `tree.py`. Each law is also
shown a tree that breaks it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_cron import errors
from tests import tree

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "hermes_cron"
HERE = tree.Tree(PACKAGE)

HOMES = {
    "amqp": ["transport"],  # Errors of Kombu's own AMQP library that Kombu lets through.
    "click": ["cli", "__main__"],
    "cronsim": ["schedule", "grammar"],  # One reads fields, the other asks for instants.
    "cryptography": ["nas", "verify"],  # The key classes that PyJWT works with.
    "falcon": ["api", "dashboard", "nas", "office", "webapp", "webhook", "wsgi"],
    "gunicorn": ["server"],
    "httpcore": ["outbound", "pinned"],
    "httpx": ["outbound", "pinned"],
    "jwt": ["nas", "verify"],  # One signs and the other verifies; they share nothing but the contract.
    "kombu": ["transport"],
    "jinja2": ["dashboard"],
    "markupsafe": ["dashboard"],  # Jinja2's own half: what is safe to stand in a page.
    "msgspec": ["api", "config", "transport"],
    "prometheus_client": ["api"],
    "psycopg": ["store"],
    "redis": ["store", "transport"],
    "sqlalchemy": ["store"],
    "yaml": ["document"],
}

LOADED_LATE = {
    "store": "a backend is loaded by the scheme of its URL",
    "transport": "a backend is loaded by the scheme of its URL",
    "verify": "a verifier is loaded by its name in the configuration",
    "webapp": "API and dashboard are loaded at their first request: wake-up time is a feature",
    "outbound": "the HTTP library is loaded with the first call: wake-up time is a feature",
}

INSIDE = {
    "NasLacks(NasError": "it never leaves its provider, which then makes single calls",
}

# Backwards, so that this file does not name them.
VENDORS = [
    word[::-1]
    for word in (
        "hsatsq", "hsatspu", "tsegnni", "eguhtsop", "krowlepez", "lerriuq", "tnegrem", "oleppez", "revirdpoh",
        "egdirbtneve", "sevomrorm", "gro.boj-norc", "norcysae", "skoohnorc", "ved.reggirt", "skcedkooh", "kcedkooh",
        "reludehcs duolc", "sksat duolc", "reludehcs noc", "nur.refed", "snoitcnuf pets", "hctawduolc",
    )
]  # fmt: skip
VENDOR = re.compile("|".join(re.escape(word) for word in VENDORS), re.IGNORECASE)
MACHINE = re.compile(r"(?<![\w.~}-])/(?:work|root|farm|Users|home/\w+/(?!\.))(?:/|\b)")
UNFINISHED = re.compile(rf"\b(?:{'TO'}{'DO'}|{'FIX'}{'ME'}|{'XX'}{'X'})\b")
SCRAP = re.compile(r"/__pycache__/|\.pyc$|/\.[a-z_]+_cache/")


def files(*places: str) -> list[Path]:
    """Every text file in these places of the project."""
    found = [path for place in places for path in [PROJECT / place, *(PROJECT / place).rglob("*")]]
    return sorted({path for path in found if path.is_file() and not SCRAP.search(path.as_posix())})


def lint_imports(where: Path) -> subprocess.CompletedProcess[str]:
    """Hold the package in this folder to the contracts of import-linter."""
    script = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", script, "--config", str(PROJECT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, check=False, cwd=where, capture_output=True, text=True, timeout=100)


def test_it_keeps_to_its_floors_and_no_room_knows_another() -> None:
    done = lint_imports(PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("fire.py", "import hermes_cron.run"),
        ("rules/claim.py", "import hermes_cron.interfaces"),
        ("store/rows.py", "import hermes_cron.transport"),
        ("verify/token.py", "def late() -> None:\n    import hermes_cron.nas"),
        ("webhook.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import hermes_cron.store"),
        ("upstairs.py", ""),
    ],
)
def test_the_floors_give_way_to_no_wrong_import_and_no_new_module_without_a_floor(
    path: str, line: str, tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "hermes_cron", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "hermes_cron" / path
    before = file.read_text() if file.exists() else ""
    file.write_text(f"{before}\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert path.partition(".")[0].replace("/", ".") in done.stdout


LAWS: dict[str, tuple[Callable[[tree.Tree], list[str]], dict[str, str]]] = {
    "files are short": (tree.long_files, {"a.py": "x = 1\n" * 351}),
    "functions are short": (tree.long_functions, {"a.py": "def f():\n" + "    pass\n" * 40}),
    "what is public is documented": (
        tree.undocumented, {"a.py": '"""A."""\nclass B:\n    """B."""\n    def c(self): ...\n'},
    ),
    "no imports run in a circle": (
        tree.cycles, {
            "a.py": "import planted.b", "b.py": "def f():\n    from planted import c",
            "c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from planted.a import x",
        },
    ),
    "every library has one home": (
        lambda found: tree.homeless(found, HOMES, sys.stdlib_module_names), {"a.py": "from httpx import get"},
    ),
    "no library is without a home": (
        lambda found: tree.homeless(found, HOMES, sys.stdlib_module_names), {"a.py": "import attr"},
    ),
    "own modules are imported at the top": (
        lambda found: tree.hidden_imports(found, LOADED_LATE), {"a.py": "def f():\n    import planted.b", "b.py": ""},
    ),
    "no module plays tricks": (tree.tricks, {"__init__.py": "def __getattr__(name): ..."}),
    "no module exports whatever there is": (tree.tricks, {"__init__.py": "from planted.a import *", "a.py": ""}),
    "a waiver has its reason": (tree.bare_waivers, {"a.py": "x = 1  # no" + "qa: E501"}),
    "an ignored type has its reason": (tree.bare_waivers, {"a.py": "x = 1  # type: " + "ignore[misc]"}),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
def test_it_keeps_the_law_that(law: str) -> None:
    assert LAWS[law][0](HERE) == []


@pytest.mark.parametrize("law", LAWS)
def test_it_notices_when_it_is_broken_that(law: str, tmp_path: Path) -> None:
    check, planted = LAWS[law]
    root = tmp_path / "planted"
    for name, text in planted.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert check(tree.Tree(root)) != []


def test_every_exception_to_a_law_is_still_needed() -> None:
    rooms = {module.room for module in HERE.modules} | {module.name for module in HERE.modules}
    assert set(LOADED_LATE) <= rooms


def test_i1_no_scheduler_vendor_is_named() -> None:
    assert tree.mentions(files("hermes_cron", "deploy", "docs", "README.md"), VENDOR) == []


def test_no_path_of_a_machine_stands_in_the_project() -> None:
    places = ("hermes_cron", "deploy", "docs", "tests", "bench", "README.md", "Makefile", "tox.ini", "CONTRIBUTING.md")
    assert tree.mentions(files(*places), MACHINE) == []


def test_nothing_is_left_unfinished() -> None:
    assert tree.mentions(files("hermes_cron", "deploy", "docs", "tests", "README.md"), UNFINISHED) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(VENDOR, VENDORS[0].upper()), (MACHINE, f"see /{'work'}/main"), (UNFINISHED, f"# {'TO'}{'DO'}: later")],
)
def test_it_notices_a_word_that_may_not_stand(pattern: re.Pattern[str], text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(f"a line\n{text}\n")
    assert tree.mentions([file], pattern)


def error_classes() -> list[type[errors.HermesCronError]]:
    """Every error class, the root first."""
    found = [errors.HermesCronError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


def test_every_error_has_a_code_of_its_own_and_an_exit_code_of_the_known() -> None:
    codes = [kind.__dict__.get("code") for kind in error_classes()]
    assert all(isinstance(code, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert len(set(codes)) == len(codes)
    assert {kind.exit_code for kind in error_classes()} <= {1, 2, 69, 75, 78}


def test_every_error_stands_in_the_tree_below_its_parent() -> None:
    drawn: dict[str, str] = {}
    above = ["HermesCronError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]*)([A-Z]\w+)  ", line):
            depth = len(found[1]) // 4
            drawn[found[2]] = above[depth - 1] if depth else ""
            above[depth:] = [found[2]]
    assert drawn == {
        kind.__name__: "" if kind is errors.HermesCronError else kind.__mro__[1].__name__ for kind in error_classes()
    }


def test_no_error_that_may_reach_a_caller_is_defined_elsewhere() -> None:
    names = "|".join(kind.__name__ for kind in error_classes())
    outside = [PACKAGE / module.path for module in HERE.modules if module.name != "errors"]
    found = tree.mentions(outside, re.compile(rf"^class [A-Z]\w*\((?:{names})\b"))
    assert [line.rpartition(" ")[2] for line in found] == list(INSIDE)
