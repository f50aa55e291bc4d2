"""What happened in one job: a list for whoever asks now, and the audit log for whoever asks later.

Nothing secret is in either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from migration.audit import Audit
from migration.clock import Clock, stamp
from migration.errors import AuditUnusable
from migration.redaction import redact_value


class Journal:
    """Takes down events in the order in which they happen.

    Parameters
    ----------
    clock
        The time of each event.
    secrets
        Texts that no event may contain; see :func:`migration.redaction.secrets_of`.
    """

    def __init__(self, clock: Clock, secrets: tuple[str, ...]) -> None:
        self.entries: list[dict[str, Any]] = []
        self._clock = clock
        self._secrets = secrets
        self._audit: Audit | None = None

    @contextlib.asynccontextmanager
    async def kept_in(self, path: Path | None, run: str) -> AsyncIterator[None]:
        """Write every event of the block to the audit log at ``path`` too, if there is one."""
        if path is None:
            yield
            return
        async with await Audit.open(path, clock=self._clock, run=run, secrets=self._secrets) as audit:
            self._audit = audit
            yield

    async def write(self, name: str, **details: Any) -> None:
        """Take down one event; one that cannot be written stops the job."""
        plain = redact_value(details, self._secrets)
        self.entries.append({"timestamp": stamp(self._clock()), "message": name, "details": plain})
        if self._audit is not None:
            await self._audit.write(name, **details)

    async def write_last(self, name: str, **details: Any) -> None:
        """Take down how it ended; what is raised next says more than a log that cannot be written."""
        with contextlib.suppress(AuditUnusable):
            await asyncio.shield(self.write(name, **details))
