"""Chaos: a whole system as processes, a seeded script of faults, and a verifier. `python -m tests.chaos --help`."""
