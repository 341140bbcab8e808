"""A resolver under the test's control for processes as they are shipped: it leads names where the test wants."""

from __future__ import annotations

import json
import os
from pathlib import Path

# What Python runs before anything of ours: the process itself is none the wiser.
_SITE = """
import json, pathlib, socket, threading, time

FOLDER, LOCK, REAL = pathlib.Path(__file__).parent, threading.Lock(), socket.getaddrinfo

def getaddrinfo(host, port, *args, **options):
    name = str(host).rstrip(".")
    led = json.loads((FOLDER / "names.json").read_text()).get(name, [])
    if not led and not name.endswith(".hang.example"):
        return REAL(host, port, *args, **options)
    with LOCK, (FOLDER / "asked").open("a+") as log:
        log.seek(0)
        before = log.read().split().count(name)
        log.write(name + "\\n")
    if not led:
        time.sleep(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no server answers")
    addresses = led[min(before, len(led) - 1)].split()
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

socket.getaddrinfo = getaddrinfo
"""


class Names:
    """The names; whatever ends in `.hang.example` is never answered, and all others are the machine's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._led: dict[str, tuple[str, ...]] = {}
        (folder / "sitecustomize.py").write_text(_SITE)
        self.lead("nobody.example")

    @property
    def env(self) -> dict[str, str]:
        """What a process must have in its environment."""
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(self._folder), os.environ.get("PYTHONPATH"))))}

    def lead(self, name: str, *addresses: str) -> None:
        """Answer the first look-up with the first of these (one or more addresses), and so on; the last one stays."""
        self._led[name] = addresses
        (self._folder / "names.json").write_text(json.dumps(self._led))

    def asked(self, name: str = "") -> int:
        """How often this name was looked up, or any of ours."""
        try:
            found = (self._folder / "asked").read_text().split()
        except FileNotFoundError:
            return 0
        return found.count(name) if name else len(found)
