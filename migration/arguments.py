"""The words of the command line: what each option is called, what its help says, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from migration.backends import backends
from migration.choice import TYPES_TO_CHOOSE, Options
from migration.errors import UsageError
from migration.plan_file import read_plan_file

DEFAULT_AUDIT = Path("migration-audit.jsonl")


def servers() -> list[str]:
    """Return the names of the servers that can be had for a rehearsal, the usual one first."""
    return [name for backend in backends() for name in backend.servers]


Source = Annotated[
    str, typer.Argument(help="Where the rows come from; opened read-only.", show_default=False)
]
Target = Annotated[str, typer.Argument(help="Where they go.", show_default=False)]
Tables = Annotated[
    list[str],
    typer.Option(
        "--table",
        default_factory=list,
        show_default=False,
        help="A table that goes, by name or pattern (audit_*); without it all of them do.",
    ),
]
Excluded = Annotated[
    list[str],
    typer.Option(
        "--exclude-table",
        default_factory=list,
        show_default=False,
        help="A table (or a view) that stays, by name or pattern; named in the report.",
    ),
]
Map = Annotated[
    list[str],
    typer.Option(
        "--map",
        default_factory=list,
        show_default=False,
        help="Another name in the target: table=other or table.column=table.other.",
    ),
]
Types = Annotated[
    list[str],
    typer.Option(
        "--type",
        default_factory=list,
        show_default=False,
        help=f"The type of a column in a new table: table.column=TYPE, one of {TYPES_TO_CHOOSE}.",
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        show_default=False,
        help="A plan file of --save-plan. Options given beside it win: --table and --exclude-table replace "
        "its lists, --map and --type its entries of the same name, --accept adds to it.",
    ),
]
SavePlan = Annotated[
    Path | None,
    typer.Option("--save-plan", show_default=False, help="With --dry-run: write the plan to this new file."),
]
Accept = Annotated[
    list[str],
    typer.Option(
        "--accept",
        default_factory=list,
        show_default=False,
        help="A hazard that may happen, by its name in the plan.",
    ),
]
RejectTo = Annotated[
    Path | None,
    typer.Option(
        "--reject-to",
        show_default=False,
        help="Set rows that cannot go aside in this new file, whole; the outcome is then never proved.",
    ),
]
Rejects = Annotated[
    Path | None,
    typer.Option(
        "--rejects",
        show_default=False,
        help="The file of rows that were set aside: each must be there, unchanged, or in the target.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--on",
        show_default=False,
        help=f"The server to rehearse on: {', '.join(servers())}.",
    ),
]
BackedUp = Annotated[
    str, typer.Argument(help="The database that is backed up; opened read-only.", show_default=False)
]
BackupFolder = Annotated[
    Path,
    typer.Argument(
        help="Where backups lie, each in a folder of its own; made when it is missing.", show_default=False
    ),
]
BackupPlace = Annotated[
    Path, typer.Argument(help="A backup, or the folder it lies in alone.", show_default=False)
]
EmptyTarget = Annotated[str, typer.Argument(help="An empty database of its engine.", show_default=False)]
Logical = Annotated[
    bool,
    typer.Option(
        "--logical",
        help="Write the backup without the engine's own programs; so it is where these are missing.",
    ),
]
NotInBackup = Annotated[
    list[str],
    typer.Option(
        "--accept",
        default_factory=list,
        show_default=False,
        help="A thing that a backup without the engine's programs does not hold: not-in-backup:NAME.",
    ),
]
Backup = Annotated[
    Path | None, typer.Option(help="Folder for backups, made and read before anything is written.")
]
TargetBackup = Annotated[
    Path | None,
    typer.Option(
        "--backup",
        show_default=False,
        help="Where the backup of TARGET is now, when it is not where it was made.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a migration that was stopped.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data for machines, and nothing else, on stdout.")]
AuditFile = Annotated[Path, typer.Option("--audit", help="The audit log; continued when it is there.")]


@dataclass(frozen=True)
class Wanted:
    """The options that choose what goes, as they were typed."""

    tables: list[str]
    excluded: list[str]
    mapping: list[str]
    types: list[str] = field(default_factory=list)
    plan: Path | None = None

    def options(self, **others: Any) -> Options:
        """Return what they come to, over the plan file beside them; ``others`` are options of other kinds.

        Raises
        ------
        UsageError
            When an option or the file cannot be understood.
        """
        options = Options(
            tables=tuple(self.tables),
            excluded=tuple(self.excluded),
            mapping=_pairs(
                self.mapping, "--map", "table=other_table or --map table.column=table.other_column"
            ),
            types=_pairs(self.types, "--type", f"table.column=TYPE, where TYPE is one of: {TYPES_TO_CHOOSE}"),
            **others,
        )
        return options if self.plan is None else read_plan_file(self.plan).under(options)


def server_named(name: str | None) -> str:
    """Return the server to rehearse on; the usual one where none is named.

    Raises
    ------
    UsageError
        When there is none of that name; the sentence lists those there are.
    """
    known = servers()
    if name is None:
        return known[0]
    if name not in known:
        raise UsageError(
            f"--on names {name!r}, which is no server that can be had for a rehearsal",
            done="Nothing was touched",
            next_step=f"Name one of: {', '.join(known)}",
        )
    return name


def _pairs(words: list[str], option: str, form: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not (name and separator and value):
            raise UsageError(f"{option} does not understand {word!r}", next_step=f"Write {option} {form}")
        pairs[name] = value
    return pairs
