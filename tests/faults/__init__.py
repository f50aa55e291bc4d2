"""Faults: damage that checks must see, and a harness that lets faults happen while the tool runs.

:mod:`tests.faults.damage` is damage done to a copy. The rest (see ``python -m tests.faults --help``) runs the
tool as a process of its own, lets one fault happen at a place drawn from a seed, and accepts two endings
only: proved and equal, or an error that says so with the state kept or rolled back.
"""

from tests.faults.damage import CONTENT, FAULTS, SHOP, Fault

__all__ = ["CONTENT", "FAULTS", "SHOP", "Fault"]
