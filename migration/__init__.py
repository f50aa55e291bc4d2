"""Moves a database and proves it.

The whole of the public surface: open two databases, move one into the other, compare them.
"""

from migration.choice import Options
from migration.database import Database, open_database
from migration.errors import (
    CouldNotLook,
    Differs,
    MigrationError,
    Refused,
    RollbackFailed,
    RolledBack,
    Stopped,
    UsageError,
)
from migration.service import DataMigrationService
from migration.validator import MigrationValidator
from migration.version import __version__

__all__ = [
    "CouldNotLook",
    "DataMigrationService",
    "Database",
    "Differs",
    "MigrationError",
    "MigrationValidator",
    "Options",
    "Refused",
    "RollbackFailed",
    "RolledBack",
    "Stopped",
    "UsageError",
    "__version__",
    "open_database",
]
