"""Every operation of the package: whoever wants them all imports them from here, and none is left out."""

from bench import operations, pool_operations, search_operations
from bench.operation import OPERATIONS, Operation, in_group

SOURCES = (operations, search_operations, pool_operations)
"""The modules that hold them. A new one is named here."""

__all__ = ["OPERATIONS", "SOURCES", "Operation", "in_group"]
