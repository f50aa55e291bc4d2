"""Every way this package can fail, each with its own exit code and a sentence a person can act on.

::

    MigrationError                what happened, where, what was done about it, what to do next
    ├── UsageError           2    the request cannot be understood
    ├── Refused              3    nothing was touched
    │   ├── SourceUnusable        the source cannot be opened or read
    │   ├── TargetUnusable        the target cannot be reached, entered or written to
    │   │   └── NoDump            the engine's own programs cannot make or restore a backup
    │   ├── HazardsNotAccepted    the plan would lose or change something nobody accepted
    │   ├── TargetLocked          another migration holds the target
    │   ├── PlanChanged           the checkpoint belongs to another plan, source or target
    │   ├── AuditUnusable         the audit log is broken or cannot be written
    │   └── RejectsUnusable       the file of rejected rows is not what it was, or cannot be written
    ├── Differs              1    both sides were read, and they are not equal
    ├── Rejected             1    what could not go is in a file; all the rest is proved
    ├── CouldNotLook         1    a side could not be read to its end; nothing is known about it
    ├── Stopped              4    interrupted, state kept, --resume goes on
    │   └── LockLost              somebody else may be at work in the target by now
    ├── RolledBack           5    failed, undone, and the undoing was verified
    └── RollbackFailed       6    failed, and the undoing failed too: a person must look
"""

from __future__ import annotations


class MigrationError(Exception):
    """Base of every failure: four short sentences and an exit code.

    Parameters
    ----------
    what
        What happened, in one sentence without a full stop.
    where
        Database, table, column or key it happened at; empty when it is nowhere in particular.
    done
        What was done about it, for instance "nothing was written".
    next_step
        What the reader should do now.
    """

    exit_code: int = 1

    def __init__(self, what: str, *, where: str = "", done: str = "", next_step: str = "") -> None:
        self.what, self.where, self.done, self.next_step = what, where, done, next_step
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """Tell the failure as one line of prose."""
        place = f" ({self.where})" if self.where else ""
        parts = [f"{self.what}{place}", self.done, self.next_step]
        text = ". ".join(part.rstrip(".") for part in parts if part) + "."
        # Servers answer in several lines, the first of which is seldom the one that helps.
        return " ".join(line.strip() for line in text.splitlines())


class UsageError(MigrationError):
    """The request cannot be understood."""

    exit_code = 2


class Refused(MigrationError):
    """Stopped before anything was touched."""

    exit_code = 3

    def __init__(
        self, what: str, *, where: str = "", done: str = "Nothing was touched", next_step: str = ""
    ) -> None:
        super().__init__(what, where=where, done=done, next_step=next_step)


class SourceUnusable(Refused):
    """The source cannot be opened or read."""


class TargetUnusable(Refused):
    """The target cannot be reached, entered or written to."""


class NoDump(TargetUnusable):
    """The engine's own programs are missing, too old, or would lose something."""


class HazardsNotAccepted(Refused):
    """The plan would lose or change something that nobody accepted by name."""


class TargetLocked(Refused):
    """Another migration holds the target."""


class PlanChanged(Refused):
    """The checkpoint belongs to another plan, source or target."""


class AuditUnusable(Refused):
    """The audit log is broken, or cannot be written."""


class RejectsUnusable(Refused):
    """The file of rejected rows is not what was written, or cannot be written."""


class Rejected(MigrationError):
    """Rows could not go and were set aside; all the rest arrived, which was verified."""

    exit_code = 1


class Differs(MigrationError):
    """Both sides were read, and they are not equal."""

    exit_code = 1


class CouldNotLook(MigrationError):
    """A side could not be read to its end, so nothing is known about it."""

    exit_code = 1


class Stopped(MigrationError):
    """Interrupted; the state is kept and ``--resume`` goes on."""

    exit_code = 4


class LockLost(Stopped):
    """The lock on the target is gone, so somebody else may be at work in it: nothing more is written."""


class RolledBack(MigrationError):
    """Failed, undone, and the undoing was verified."""

    exit_code = 5


class RollbackFailed(MigrationError):
    """Failed, and the undoing failed too: a person must look."""

    exit_code = 6
