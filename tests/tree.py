"""The checks of `test_architecture.py`: each a function from a source tree to its faults."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAX_FILE, MAX_FUNCTION = 350, 40
Function = ast.FunctionDef | ast.AsyncFunctionDef
_WAIVER = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:|fmt:\s*off|ruff:|mypy:)(.*)")
_REASON = re.compile(r"^(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[a-z, -]+\])\s+(-|#)\s+\S+")


@dataclass(frozen=True)
class Module:
    """One file of a package: its path below the package, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """Its name below the package: `store.sql`, or nothing for the package's own `__init__`."""
        return self.path.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")

    @property
    def room(self) -> str:
        """The file or folder of the package it stands in: `store`, `webhook`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Tree:
    """A package on disk."""

    root: Path

    @cached_property
    def modules(self) -> list[Module]:
        """Every Python file of it."""
        files = sorted(self.root.rglob("*.py"))
        return [Module(file.relative_to(self.root).as_posix(), file.read_text(encoding="utf-8")) for file in files]

    @cached_property
    def names(self) -> set[str]:
        """The names of its modules."""
        return {module.name for module in self.modules}

    def own(self, imported: str) -> str | None:
        """The name below the package of one of its modules, of which something is imported; None for another's."""
        top, _, rest = imported.partition(".")
        if top != self.root.name:
            return None
        while rest not in self.names:
            rest = rest.rpartition(".")[0]
        return rest


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """Every name that a module imports, wherever in it and if only for types, with the line."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def long_files(tree: Tree) -> list[str]:
    """Files that are longer than a room should be."""
    return [f"{m.path}: {n} lines" for m in tree.modules if (n := len(m.text.splitlines())) > MAX_FILE]


def long_functions(tree: Tree) -> list[str]:
    """Functions that are longer than a page."""
    return [
        f"{module.path}:{node.lineno}: {node.name} has {length} lines"
        for module in tree.modules
        for node in ast.walk(module.tree)
        if isinstance(node, Function) and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION
    ]


def undocumented(tree: Tree) -> list[str]:
    """What others may use and nothing is said about."""
    faults = []
    for module in tree.modules:
        for name, node in _public(module.path, module.tree):
            if not (ast.get_docstring(node) or "").strip():
                faults.append(name)
    return faults


def _public(
    name: str, node: ast.Module | ast.ClassDef | Function
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    yield name, node
    if isinstance(node, Function):
        return
    for child in node.body:
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_") and not _overload(child):
            yield from _public(f"{name}: {child.name}", child)


def _overload(node: ast.ClassDef | Function) -> bool:
    return any(isinstance(found, ast.Name) and found.id == "overload" for found in node.decorator_list)


def cycles(tree: Tree) -> list[str]:
    """Modules that import each other in a circle, also for types only, and inside functions."""
    edges = {
        module.name: {own for name, _ in imports(module) if (own := tree.own(name)) is not None and own != module.name}
        for module in tree.modules
    }
    left = dict(edges)
    # What imports nothing that is left, or is imported by nothing that is left, stands in no circle.
    while loose := [n for n in left if not left[n] & left.keys() or not any(n in left[m] for m in left)]:
        for name in loose:
            del left[name]
    return [f"{name} imports {', '.join(sorted(found & left.keys()))}" for name, found in sorted(left.items())]


def homeless(tree: Tree, homes: Mapping[str, Collection[str]], known: Collection[str]) -> list[str]:
    """Imports of third-party libraries outside their home; `known` are the names of the standard library."""
    return [
        f"{module.path}:{line}: {name} is at home in {', '.join(homes.get(top, ['no room']))}"
        for module in tree.modules
        for name, line in imports(module)
        if (top := name.partition(".")[0]) not in known
        and top != tree.root.name
        and not _at_home(module, homes.get(top))
    ]


def _at_home(module: Module, homes: Collection[str] | None) -> bool:
    return homes is not None and (module.room in homes or module.name in homes)


def hidden_imports(tree: Tree, allowed: Collection[str]) -> list[str]:
    """Imports of our own modules inside a function or for types only, where none may be."""
    faults = []
    for module in tree.modules:
        top = {line for node in module.tree.body for line in [getattr(node, "lineno", 0)]}
        for name, line in imports(module):
            if tree.own(name) is not None and line not in top and module.name not in allowed:
                faults.append(f"{module.path}:{line}: {name}")
    return faults


def tricks(tree: Tree) -> list[str]:
    """Packages and modules that answer for names they do not have, or export whatever there is."""
    faults = []
    for module in tree.modules:
        for node in module.tree.body:
            if isinstance(node, Function) and node.name in ("__getattr__", "__dir__"):
                faults.append(f"{module.path}:{node.lineno}: {node.name}")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                faults.append(f"{module.path}:{node.lineno}: import *")
    return faults


def bare_waivers(tree: Tree) -> list[str]:
    """Silenced warnings without the reason on their line."""
    return [
        f"{module.path}:{number}: {found[0]}"
        for module in tree.modules
        for number, line in enumerate(module.text.splitlines(), 1)
        if (found := _WAIVER.search(line)) and not _REASON.match(found[2])
    ]


def mentions(files: Collection[Path], pattern: re.Pattern[str]) -> list[str]:
    """Lines of text files that match."""
    return [
        f"{file}:{number}: {found[0]}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (found := pattern.search(line))
    ]
