"""A YAML file that a person wrote: read with care, each value with the line it stands on.

The home of PyYAML. What is not asked for is not read: another program's part of the file harms nobody, and neither
does an alias that unfolds to a billion values.
"""

from __future__ import annotations

import re
from pathlib import Path
from stat import S_ISREG, S_IWOTH
from typing import TYPE_CHECKING

from hermes_cron.errors import ConfigError

if TYPE_CHECKING:
    import yaml  # For the names of its types; why it is not simply imported is said in `read`.

MAX_BYTES = 1024 * 1024


class Node:
    """One value of a document, and the line it stands on."""

    def __init__(self, inner: yaml.Node | None, file: Path) -> None:
        self._inner = inner
        self.file = file
        self.line = inner.start_mark.line + 1 if inner is not None else 1

    @property
    def where(self) -> str:
        """The file and the line, for people."""
        return f"{self.file}, line {self.line}"

    def empty(self) -> bool:
        """Whether nothing stands here, as behind a key whose lines are all comments."""
        return self._inner is None or self._inner.tag == "tag:yaml.org,2002:null"

    def entries(self) -> dict[str, Node] | None:
        """The values by their keys, none when nothing stands here; None when this is no mapping.

        Raises:
            ConfigError: A key stands here twice.
        """
        if self._inner is None or self.empty():
            return {}
        if getattr(self._inner, "id", "") != "mapping":
            return None
        found: dict[str, Node] = {}
        for key, value in self._inner.value:
            # A key is taken as it is written: `on` and `1` are names here, not True and a number.
            name, node = str(key.value if key.id == "scalar" else "(a list or mapping)"), Node(value, self.file)
            node.line = key.start_mark.line + 1
            if name in found:
                twice = f"{name} stands twice in {self.file}: in line {found[name].line} and in line {node.line}."
                raise ConfigError(twice, hint="Remove one of them.", field=name)
            found[name] = node
        return found

    def value(self) -> object:
        """The plain value: text, number, truth, list, mapping or None.

        Raises:
            ValueError: It is written as something that it is not, or as no plain value.
        """
        if self._inner is None:
            return None
        import yaml  # noqa: PLC0415 - see `read`: there is a node, so it is loaded by now.

        try:
            plain: object = yaml.SafeLoader("").construct_document(self._inner)
        except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            # None of it is passed on, for a parser's error quotes the text, which may be a secret.
            raise ValueError("must be plain text, a number, true or false, or a list") from None
        return plain


def read(file: Path, content: bytes | None = None) -> Node:
    """The one document of a YAML file; or of `content`, which has come another way and is called by that name.

    Raises:
        ConfigError: It cannot be read, is too large, or is no YAML; says where, and never quotes what stands there.
    """
    # A container that is woken by a fire is mostly configured by its environment alone. This import would be a sixth
    # more than all of that costs it, so only who has a file pays for it.
    import yaml  # noqa: PLC0415 - as was just said.

    text = _text(file, _content(file) if content is None else content)
    try:
        node = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text).get_single_node()
        return Node(node, file)
    except (yaml.YAMLError, RecursionError) as error:
        raise _refusal(file, text, error) from None


def write(value: object) -> str:
    """A plain value as YAML, in its own order; `read` reads it back as it was."""
    import yaml  # noqa: PLC0415 - see `read`: few commands write any.

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110))


def _content(file: Path) -> bytes:
    try:
        mode = file.stat().st_mode
        # A pipe would let us wait for ever.
        if not S_ISREG(mode):
            raise ConfigError(f"{file} is no ordinary file.")
        # It names commands that we run. A group of one's own is common, so only what everybody may write is refused.
        if mode & S_IWOTH:
            raise ConfigError(f"Others may write to {file}.", hint="Run `chmod o-w` on it.")
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error


def _text(file: Path, content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{file} is larger than {MAX_BYTES // 1024} KiB, too large for a configuration.")
    try:
        # Some editors put a byte order mark first.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}, line {line}, is not UTF-8 text.", hint="Save it as UTF-8.") from None


def _refusal(file: Path, text: str, error: yaml.YAMLError | RecursionError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return ConfigError(f"{file} is not YAML: it has control characters or is nested too deeply.")
    line, column = mark.line, mark.column
    rows = text.splitlines() or [""]
    row = rows[min(line, len(rows) - 1)]
    where = f"{file}, line {line + 1}, column {column + 1}"
    if "\t" in row[: column + 1]:
        return ConfigError(f"{where}: a tab stands where YAML takes spaces only.", hint="Indent with spaces.")
    # A quoted word is a piece of the file, so it may be a secret; a quoted sign is YAML's own.
    problem = str(getattr(error, "problem", ""))
    problem = re.sub(r"'[^']*'", lambda quoted: quoted[0] if len(quoted[0]) < 5 else "...", problem)
    return ConfigError(f"{where}: not YAML: {problem}.", hint="Text with : # @ ` or a bracket goes in quotes.")
