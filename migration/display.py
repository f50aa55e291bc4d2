"""Shows plans, proofs and progress to a person; data for machines is made in :mod:`migration.payload`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from migration.audit import AuditReading
from migration.difference import Difference, Report
from migration.load_rejects import Misfit
from migration.manifest import BackupMade
from migration.payload import counted
from migration.plan import Hazard, Plan, Severity
from migration.printable import escape
from migration.progress import Progress as Watcher
from migration.progress import Step, silent

_COLOURS = {
    Severity.BLOCKING: "bold red",
    Severity.HAZARD: "yellow",
    Severity.SET_ASIDE: "bold yellow",
    Severity.NOTICE: "dim",
}
# As much of a digest as tells two apart at a glance; --json has all of it.
SHORT_DIGEST = 12


def show_plan(console: Console, plan: Plan, accept: Sequence[str]) -> None:
    """Print what would be done, and every hazard."""
    table = Table(title="Plan", title_justify="left")
    for heading in ("table", "goes to", "rows", "columns", "keys and indexes", "foreign keys"):
        table.add_column(
            heading, justify="right" if heading in ("rows", "columns") else "left", overflow="fold"
        )
    for planned in plan.tables:
        target = planned.target
        indexes = bool(target.primary_key) + len(target.uniques) + len(target.indexes)
        table.add_row(
            escape(planned.source.name),
            escape(target.name) + (" (new)" if planned.is_new else " (there already)"),
            f"{planned.row_count:,}",
            str(len(planned.columns)),
            str(indexes),
            str(len(target.foreign_keys)),
        )
    console.print(table)
    if plan.views:
        console.print(f"Views: {', '.join(escape(view.name) for view in plan.views)}", highlight=False)
    show_left_out(console, plan.left_out)
    show_hazards(console, plan.hazards, accept)


def show_left_out(console: Console, left_out: Mapping[str, str]) -> None:
    """Print what stays behind, each with the reason."""
    for name, reason in left_out.items():
        console.print(f"Left out: {escape(name)} ({escape(reason)})", highlight=False)


def show_hazards(console: Console, hazards: Sequence[Hazard], accept: Sequence[str]) -> None:
    """Print every hazard and notice, worst first."""
    if not hazards:
        console.print("Nothing would be lost or changed.")
        return
    table = Table(title="What would not arrive as it was", title_justify="left")
    for heading in ("", "name", "where", "how many", "what"):
        table.add_column(heading, justify="right" if heading == "how many" else "left", overflow="fold")
    for hazard in hazards:
        place = ".".join(part for part in (hazard.table, hazard.column) if part)
        examples = "".join(f"\n  {escape(example)}" for example in hazard.examples)
        accepted = hazard.severity is Severity.HAZARD and hazard.accepted_by(accept)
        table.add_row(
            Text("accepted" if accepted else hazard.severity.value, style=_COLOURS[hazard.severity]),
            hazard.name,
            escape(place),
            f"{hazard.count:,}" if hazard.count else "",
            escape(hazard.sentence) + examples,
        )
    console.print(table)


def show_report(console: Console, report: Report) -> None:
    """Print what the proof rests on, what differs, and the verdict."""
    table = Table(title="Proof", title_justify="left")
    is_whole = not report.rejected_count
    set_aside = () if is_whole else ("set aside",)
    for heading in (
        "table",
        "source rows",
        "target rows",
        *set_aside,
        "missing",
        "extra",
        "changed",
        "digest",
        "",
    ):
        table.add_column(
            heading, justify="left" if heading in ("table", "digest", "") else "right", overflow="fold"
        )
    for compared in report.tables:
        table.add_row(
            escape(compared.table),
            f"{compared.source.row_count:,}",
            f"{compared.target.row_count:,}",
            *(() if is_whole else (f"{compared.rejected.row_count:,}",)),
            f"{compared.missing_count:,}",
            f"{compared.extra_count:,}",
            f"{compared.changed_count:,}",
            str(compared.target)[:SHORT_DIGEST],
            Text("equal", style="green") if compared.equal else Text("differs", style="bold red"),
        )
    console.print(table)
    checks = ", ".join(
        f"{check.name} {check.looked_at - check.difference_count}/{check.looked_at}"
        for check in report.checks
    )
    console.print(f"Checks: {checks}", highlight=False)
    show_left_out(console, report.left_out)
    show_differences(console, report.differences, report.difference_count)
    for reason in report.could_not_look:
        console.print(f"Could not look: {escape(reason)}", style="bold red", highlight=False)
    for note in report.notes:
        console.print(escape(note), style="bold yellow", highlight=False)
    console.print(verdict_line(report), style="green" if report.proved else "bold red", highlight=False)


def show_differences(console: Console, differences: Sequence[Difference], count: int) -> None:
    """Print the differences that are named, with the exact number of all."""
    if not differences:
        return
    table = Table(title=f"Differences: {count:,} in all, {len(differences)} shown", title_justify="left")
    for heading in ("what", "where", "key", "source", "target"):
        table.add_column(heading, overflow="fold")
    for found in differences:
        place = ".".join(part for part in (found.table, found.column) if part)
        table.add_row(*(escape(cell) for cell in (found.what, place, found.key, found.source, found.target)))
    console.print(table)


def show_misfits(console: Console, misfits: Sequence[Misfit], count: int) -> None:
    """Print the rows that still cannot go, with the exact number of all."""
    if not misfits:
        return
    table = Table(title=f"Still not fitting: {count:,} in all, {len(misfits)} shown", title_justify="left")
    for heading in ("table", "row", "why"):
        table.add_column(heading, overflow="fold")
    for misfit in misfits:
        table.add_row(*(escape(cell) for cell in (misfit.table, misfit.key, misfit.reason)))
    console.print(table)


def verdict_line(report: Report) -> str:
    """Say the verdict in one line."""
    rows = counted(sum(table.source.row_count for table in report.tables), "row")
    if report.proved:
        tables = counted(len(report.tables), "table")
        but = ", but for what was left out" if report.left_out else ""
        return f"proved: {rows} in {tables}; every column of both sides was read and is equal{but}"
    if report.rejected_count and report.verdict.startswith("rejected"):
        return (
            f"{report.verdict}: so many of {rows} are set aside in the file; all others arrived and are equal"
        )
    if report.verdict == "differs":
        return f"differs: {counted(report.difference_count, 'difference')}"
    things = counted(len(report.could_not_look), "thing")
    return f"could not look: {things} could not be read, so nothing is proved"


def show_log(console: Console, reading: AuditReading) -> None:
    """Print the events of an audit log, and whatever is odd about it."""
    table = Table(title=counted(len(reading.events), "event"), title_justify="left")
    for heading in ("number", "time", "run", "event", "details"):
        table.add_column(heading, overflow="fold")
    for event in reading.events:
        details = ", ".join(f"{name}={value}" for name, value in event.details.items())
        table.add_row(str(event.number), *map(escape, (event.time, event.run, event.name, details)))
    console.print(table)
    for problem in reading.problems:
        console.print(
            f"Line {problem.line_number}: {escape(problem.what)}", style="bold red", highlight=False
        )
    if reading.is_whole:
        console.print("The chain of hashes is whole.", highlight=False)


def show_backup(console: Console, backup: BackupMade, verdict: str) -> None:
    """Print what a backup holds, and what is proved of it."""
    table = Table(title="Backup", title_justify="left")
    for heading in ("table", "rows", "next number", "digest"):
        table.add_column(heading, justify="left" if heading in ("table", "digest") else "right")
    for name, found in backup.contents.items():
        known = found.digest is not None
        table.add_row(
            escape(name),
            f"{found.row_count:,}" if known else "",
            "" if found.next_number is None else f"{found.next_number:,}",
            str(found.digest)[:SHORT_DIGEST] if known else Text("written to meanwhile", style="yellow"),
        )
    console.print(table)
    tables, rows = counted(len(backup.tables), "table"), counted(backup.row_count, "row")
    console.print(f"{rows} in {tables}: {verdict}", style="green", highlight=False)
    for what, things in (("Not in it", backup.lacking), ("Written to meanwhile", backup.written_to)):
        if things:
            console.print(f"{what}: {escape(', '.join(things))}", style="bold yellow", highlight=False)
    others = [f"{thing.what} {thing.name}" for thing in backup.schema.uncarried]
    if others := [thing for thing in others if thing not in backup.lacking]:
        console.print(f"Held, and not compared by rows: {escape(', '.join(others))}", highlight=False)


class _Rate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before there is one."""
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "", style="dim")


@contextlib.contextmanager
def progress_bars(console: Console) -> Iterator[Watcher]:
    """Draw a bar per table and one for each phase in all; quiet where nobody watches."""
    if not console.is_terminal:
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bars(bars)


class _Bars:
    """Keeps the bars of tables in work, and one for each phase."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tables: dict[tuple[str, str], tuple[TaskID, int]] = {}
        self._phases: dict[str, tuple[TaskID, int]] = {}

    def __call__(self, step: Step) -> None:
        """Move the bar of a table, and that of its phase."""
        place = (step.phase, step.table)
        if step.phase not in self._phases:
            self._phases[step.phase] = (self._bars.add_task(f"{step.phase}: all", total=0), 0)
        phase, total = self._phases[step.phase]
        if place not in self._tables:
            self._tables[place] = (
                self._bars.add_task(f"{step.phase}: {escape(step.table)}", total=step.total),
                0,
            )
            self._phases[step.phase] = (phase, total + step.total)
            self._bars.update(phase, total=total + step.total)
        bar, before = self._tables[place]
        self._tables[place] = (bar, step.done)
        self._bars.update(bar, completed=step.done, visible=step.done < step.total)
        self._bars.advance(phase, step.done - before)
