"""The version, where nothing else is: to ask for it imports nothing."""

from __future__ import annotations

__version__ = "0.1.0"
