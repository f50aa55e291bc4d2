"""One seed from its beginning to its end: a migration, a fault, what is done about it, and the judgement.

Only two endings are allowed: proved and equal, or an error that says so with the state kept or rolled back.
What is equal is told by the engines' own dumps.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import oracle
from tests.faults import data, looking
from tests.faults.lab import (
    SMALL_DISK_BYTES,
    Ending,
    Lab,
    Server,
    fill_disk,
    free_disk,
    mount_disk,
    unmount_disk,
)
from tests.faults.lies import IN_CHUNKS
from tests.faults.scenario import LATENCY_SECONDS, Scenario, Shape
from tests.line import Cut, Line, line_to

RUNS_MAX = 12
"""Nothing takes more runs than this to come to an end."""

UNLOCK_SECONDS_MAX = 20.0
RESTART_SECONDS = 0.3

MARKED = "INSERT INTO keyless VALUES ('passer-by', 4711); INSERT INTO paired VALUES (4711, 'passer-by', 0.5);"
UNMARKED = "DELETE FROM keyless WHERE n = 4711; DELETE FROM paired WHERE a = 4711;"


class Violation(Exception):
    """An ending that is not allowed; the message says which rule it breaks."""


@dataclass(frozen=True)
class Known:
    """What an undisturbed run of a shape was like: its doors, and the target before and after it."""

    count: int
    phases: dict[str, int]
    doors: Counter[str]
    before: str
    after: str
    code: int


@dataclass
class Result:
    """What came of one seed."""

    seed: int
    scenario: str
    kind: str
    violation: str = ""
    fired: list[str] = field(default_factory=list)
    endings: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    folder: str = ""
    doors: int = 0


class Harness:
    """Runs seeds in one lab; what it has learned of a shape serves all seeds of that shape."""

    def __init__(self, lab: Lab, *, without: str = "") -> None:
        self.lab = lab
        self.without = without
        self._known: dict[Shape, Known] = {}
        self._sources: dict[tuple[str, int, bool], str] = {}
        self._sources_open = contextlib.ExitStack()

    def run(self, scenario: Scenario) -> Result:
        """Run one scenario and judge it; a folder with all that it left is kept when an ending is wrong."""
        result = Result(scenario.seed, str(scenario), scenario.kind)
        folder = self.lab.folder / f"seed-{scenario.seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        begun = time.monotonic()
        try:
            known = self.known(scenario.shape)
            result.doors = known.count
            with self.lab.database(scenario.shape.target, folder, "target") as target:
                trial = Trial(self, scenario, known, folder, target, result)
                trial.run()
        except Violation as violation:
            result.violation = str(violation)
        result.seconds = time.monotonic() - begun
        if result.violation:
            result.folder = str(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return result

    def source(self, shape: Shape, *, is_bad: bool = False) -> str:
        """Return the URL of a source, which is made when first asked for; nobody writes to it."""
        key = (shape.source, shape.variation, is_bad)
        if key not in self._sources:
            name = f"source_{shape.variation}_{'bad' if is_bad else 'good'}"
            url = self._sources_open.enter_context(self.lab.database(shape.source, self.lab.folder, name))
            if shape.source == "sqlite":
                data.make_file(oracle.path_of(url), shape.variation, with_bad_words=is_bad)
            else:
                self.lab.loop.call(oracle.run(url, data.script(shape.source, shape.variation)))
            self._sources[key] = url
        return self._sources[key]

    def known(self, shape: Shape) -> Known:
        """Return what an undisturbed run of a shape is like: run once, and compared row by row."""
        if shape not in self._known:
            self._known[shape] = self._learn(shape)
        return self._known[shape]

    def close(self) -> None:
        """Drop the sources."""
        self._sources_open.close()

    def _learn(self, shape: Shape) -> Known:
        folder = self.lab.folder / f"known-{len(self._known)}"
        # One may be there from a run that did not end well.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        source = self.source(shape, is_bad=shape.options == "rejects")
        with self.lab.database(shape.target, folder, "target") as target:
            call = self.lab.loop.call
            if shape.options == "own rows":
                call(oracle.run(target, data.own(shape.target)))
            before = call(looking.told(target))
            ending = self.lab.nursery.run(
                folder, "known", migrate(shape, source, target, folder / "audit", 1)
            )
            wanted = 1 if shape.options == "rejects" else 0
            if ending.code != wanted:
                raise Violation(f"undisturbed, it ends with {ending.code}: {ending.stderr[-600:]}")
            found = call(
                looking.missing_or_more(source, target, is_without_bad_words=shape.options == "rejects")
            )
            if found:
                raise Violation(f"undisturbed, it is not equal: {found[:3]}")
            notes = ending.notes
            after = call(looking.told(target))
        shutil.rmtree(folder, ignore_errors=True)
        return Known(notes["count"], notes["phases"], Counter(notes["doors"]), before, after, wanted)


def migrate(
    shape: Shape,
    source: str,
    target: str,
    audit: Path,
    number: int,
    backups: Path | None = None,
    rejects: Path | None = None,
) -> list[str]:
    """Return the arguments of a migration; each generation has a file of its own for what it sets aside."""
    argv = ["migrate", source, target, "--audit", str(audit)]
    if shape.options == "own rows":
        argv += [word for name in data.ACCEPT_OWN for word in ("--accept", name)]
    if shape.options == "backup":
        argv += ["--backup", str(backups or audit.parent / "backups")]
    if shape.options == "rejects":
        argv += ["--reject-to", str((rejects or audit.parent) / f"rejects-{number}.jsonl")]
    return argv


class Trial:
    """One scenario under way."""

    def __init__(
        self,
        harness: Harness,
        scenario: Scenario,
        known: Known,
        folder: Path,
        target: str,
        result: Result,
    ) -> None:
        self.harness, self.scenario, self.known = harness, scenario, known
        self.folder, self.direct_target, self.result = folder, target, result
        self.shape = scenario.shape
        self.lab = harness.lab
        self.call = harness.lab.loop.call
        self.direct_source = harness.source(self.shape, is_bad=self.shape.options == "rejects")
        self.source, self.target = self.direct_source, self.direct_target
        self.audit, self.backups = folder / "audit.jsonl", folder / "backups"
        self.line: Line | None = None
        self.lines: list[Line] = []
        self.disk: Path | None = None
        self.disk_server: Server | None = None
        self.rival: Ending | None = None
        self.restarting: asyncio.Future[None] | None = None
        self.number = 0
        self.generation = 1
        self.deaths_left = scenario.deaths if scenario.kind == "kill" else 0
        self._open = contextlib.ExitStack()

    # --- from the beginning to the end ----------------------------------------------------------------

    def run(self) -> None:
        """Run it, with whatever is done afterwards."""
        kind = self.scenario.kind
        with self._open:
            self._prepare()
            ending = self._run_with_fault(self._migrate())
            self._repair()
            self._judge(ending)
            if kind == "source changed":
                self._refuse_other_source(ending)
                return
            for _ in range(RUNS_MAX):
                following = self._what_follows(ending)
                if following is None:
                    break
                ending = self._run_again(following)
                self._judge(ending)
            else:
                raise Violation(f"it does not come to an end in {RUNS_MAX} runs")
            self._check_log(ending)
            if not looking.is_sound(self.direct_target):
                raise Violation("the target is damaged")

    def _prepare(self) -> None:
        kind, detail = self.scenario.kind, self.scenario.detail
        if kind == "disk full":
            self._prepare_disk()
        if self.shape.options == "own rows":
            self.call(oracle.run(self.direct_target, data.own(self.shape.target)))
        if kind in ("source written", "source changed") and self.shape.source == "sqlite":
            path = self.folder / "source.db"
            data.make_file(path, self.shape.variation)
            self.source = self.direct_source = f"sqlite:///{path}"
            # Who reads keeps nobody from writing there.
            self.call(oracle.run(self.source, "PRAGMA journal_mode = WAL"))
        if kind in ("cut", "commit lost"):
            url = self.target if detail["side"] == "target" else self.source
            line, through = self._line(url)
            self.line = line
            if detail["side"] == "target":
                self.target = through
            else:
                self.source = through
        if kind == "slow":
            if self.shape.source != "sqlite":
                _, self.source = self._line(self.source, LATENCY_SECONDS)
            if self.shape.target != "sqlite":
                _, self.target = self._line(self.target, LATENCY_SECONDS)

    def _line(self, url: str, latency_seconds: float = 0) -> tuple[Line, str]:
        manager = line_to(url, latency_seconds)
        line, through = self.call(manager.__aenter__())
        self.lines.append(line)
        self._open.callback(lambda: self.call(manager.__aexit__(None, None, None)))
        return line, through

    def _prepare_disk(self) -> None:
        detail = self.scenario.detail
        if detail["disk"] == "target" and self.shape.target != "sqlite":
            self.disk_server = self.lab.server(self.shape.target)
            self.disk = self.disk_server.folder
            return
        small = self.folder / "small"
        small.mkdir(mode=0o755)
        if detail["way"] == "full disk":
            if not mount_disk(small, SMALL_DISK_BYTES):
                raise RuntimeError("this scenario needs a disk of its own")
            self._open.callback(unmount_disk, small)
            self.disk = small
        if detail["disk"] == "audit":
            self.audit = small / "audit.jsonl"
        elif detail["disk"] == "backup":
            self.backups = small / "backups"
        else:
            self.target = self.direct_target = f"sqlite:///{small / 'target.db'}"

    # --- runs -----------------------------------------------------------------------------------------

    def _migrate(self, *, resume: bool = False) -> list[str]:
        where = (self.source, self.target, self.audit)
        argv = migrate(self.shape, *where, self.generation, self.backups, self.folder)
        return [*argv, "--resume"] if resume else argv

    def _run(self, argv: list[str], **job: Any) -> Ending:
        self.number += 1
        self.result.counts["runs"] += 1
        if "door" in self.scenario.detail and self.number == 1:
            job["door"] = self.scenario.detail["door"]
        ending = self.lab.nursery.run(
            self.folder, f"run-{self.number}", argv, without=self.harness.without, **job
        )
        self.result.endings.append(ending.code)
        if ending.fired:
            self.result.fired.append(ending.fired.strip())
        if ending.is_hung:
            raise Violation(f"{ending.name} hangs: {ending.fired.strip()}")
        return ending

    def _run_with_fault(self, argv: list[str]) -> Ending:
        kind, detail = self.scenario.kind, self.scenario.detail
        at = self._place()
        if kind == "source changed":
            return self._counted("kills", self._run(argv, act="SIGKILL", at=at))
        if kind == "kill":
            self.deaths_left -= 1
            return self._counted("kills", self._run(argv, act="SIGKILL", at=at))
        if kind in ("SIGINT", "SIGTERM"):
            return self._counted("signals", self._run(argv, act=kind, at=at))
        if kind == "lie":
            where = detail["at"]
            if detail["what"] in IN_CHUNKS:
                where = 1 + int(where * self.known.doors["chunk begins"])
            self.result.counts["lies"] += 1
            return self._run(argv, lie={"what": detail["what"], "at": where})
        if kind in ("clock", "slow"):
            job: dict[str, Any] = {"clock_seed": self.scenario.seed} if kind == "clock" else {}
            if detail["then"]:
                job |= {"act": "SIGKILL", "at": at}
            ending = self._run(argv, **job)
            return self._counted("kills", ending) if detail["then"] else ending
        if kind == "disk full" and detail["way"] == "small files":
            file = {"audit": self.audit, "target": oracle.path_of(self.direct_target)}.get(detail["disk"])
            job = {"file": str(file or self.folder / "none"), "spare_bytes": detail["spare bytes"]}
            return self._counted("disk fulls", self._run(argv, act="small-files", at=at, **job))
        counted = {
            "cut": "cuts",
            "commit lost": "cuts",
            "server killed": "restarts",
            "disk full": "disk fulls",
        }
        ending = self._run(argv, act="call", at=at, answer=self._strike)
        return self._counted(counted.get(kind, kind), ending)

    def _counted(self, what: str, ending: Ending) -> Ending:
        if ending.fired:
            self.result.counts[what] += 1
        return ending

    def _place(self) -> int:
        """Return the number of the door at which it happens: somewhere in the phase that was drawn."""
        if "nth" in self.scenario.detail:
            return int(self.scenario.detail["nth"])
        starts = [*sorted(self.known.phases.values()), self.known.count + 1]
        begins = self.known.phases[self.scenario.phase]
        ends = min(start for start in starts if start > begins)
        return begins + int(self.scenario.share * (ends - begins))

    async def _strike(self) -> None:
        """Do what the fault is, outside, while the tool waits at the door."""
        kind, detail = self.scenario.kind, self.scenario.detail
        if kind == "cut":
            assert self.line is not None
            cut = Cut(detail["after"], detail["from client"], detail["half"])
            self.line.arm(cut, stays_cut=detail["stays away"])
        elif kind == "commit lost":
            assert self.line is not None
            self.line.arm(Cut(swallows_commit=True), stays_cut=detail["stays away"])
        elif kind == "server killed":
            server = self.lab.server(self._struck_engine())
            await asyncio.to_thread(server.kill)
            if not detail["stays away"]:
                self.restarting = asyncio.ensure_future(self._restart(server))
        elif kind == "disk full":
            assert self.disk is not None
            await asyncio.to_thread(fill_disk, self.disk, detail["spare bytes"])
        elif kind == "rival":
            argv = migrate(self.shape, self.source, self.target, self.folder / "rival.jsonl", 99)
            self.rival = await asyncio.to_thread(
                self.lab.nursery.run, self.folder, "rival", argv, without=self.harness.without
            )
            self.result.counts["runs"] += 1
        else:
            is_there = bool(await oracle.rows(self.source, "SELECT 1 FROM keyless WHERE n = 4711"))
            await oracle.run(self.source, UNMARKED if is_there else MARKED)

    async def _restart(self, server: Server) -> None:
        await asyncio.sleep(RESTART_SECONDS)
        await asyncio.to_thread(server.start)

    def _struck_engine(self) -> str:
        side = self.scenario.detail["side"]
        return self.shape.target if side == "target" else self.shape.source

    def _repair(self) -> None:
        """Let the fault be over: lines are whole, disks have room, servers run."""
        if self.restarting is not None:
            self.call(_ended(self.restarting))
        for line in self.lines:
            self.lab.loop.loop.call_soon_threadsafe(line.mend)
        if self.disk is not None:
            free_disk(self.disk)
        if self.disk_server is not None or self.scenario.kind == "server killed":
            server = self.disk_server or self.lab.server(self._struck_engine())
            server.start()
        if self.scenario.kind == "source written":
            self.call(oracle.run(self.source, UNMARKED))

    def _run_again(self, argv: list[str]) -> Ending:
        if argv[-1] == "--resume" and self.deaths_left:
            self.deaths_left -= 1
            at = 1 + int(self.scenario.share * self.known.count / (1 + self.scenario.deaths))
            return self._counted("kills", self._run(argv, act="SIGKILL", at=at * (1 + self.deaths_left)))
        return self._run(argv)

    def _refuse_other_source(self, ending: Ending) -> None:
        """With another schema in its source a migration is not gone on with, and can still be undone."""
        if ending.code != -9 or not self.call(looking.begun(self.direct_target)):
            raise RuntimeError("this scenario is made for a process that is killed in the copy")
        self.call(oracle.run(self.source, "ALTER TABLE vacant ADD COLUMN late text"))
        self.result.counts["resumes"] += 1
        resumed = self._run(self._migrate(resume=True))
        if resumed.code != 3 or "migration: " not in resumed.stderr:
            said = resumed.stderr[-300:]
            raise Violation(f"with another source it is gone on with: {resumed.code}, {said}")
        undone = self._run(self._back())
        if undone.code:
            raise Violation(f"it cannot be undone: {undone.code}, {undone.stderr[-300:]}")
        self._expect_as_before("undone")
        self._check_log(undone)

    # --- the judgement --------------------------------------------------------------------------------

    def _judge(self, ending: Ending) -> None:
        """Accept how one run ended, or say which rule it breaks."""
        said = ending.stderr.strip()
        told = f"{ending.name} ended with {ending.code}: {said[-500:]}"
        self._wait_for_sessions()
        if self.rival is not None and self.rival.code != 3:
            raise Violation(f"a second migration into the same target ended with {self.rival.code}")
        if ending.code < 0:
            if ending.code != -9 or not ending.fired.startswith("SIGKILL"):
                raise Violation(f"{ending.name} died of signal {-ending.code}: {said[-500:]}")
            return
        if ending.code and "migration: " not in said:
            raise Violation(f"{told} (no sentence)")
        if ending.code in (0, 1, 3, 5):
            self._judge_closed(ending, told)
        elif ending.code == 6:
            if self.scenario.kind != "disk full":
                raise Violation(told)
        elif ending.code != 4:
            raise Violation(told)

    def _judge_closed(self, ending: Ending, told: str) -> None:
        """What is closed has arrived, or is as it was before; a refusal to go on changes nothing."""
        is_migration = ending.argv[0] == "migrate"
        if not is_migration and not ending.code:
            self._expect_as_before(told)
            return
        if is_migration and ending.code == self.known.code and (not ending.code or "set aside" in told):
            self._expect_arrived(told)
            if self.scenario.kind == "lie" and ending.name == "run-1" and self._was_told():
                raise Violation(f"{told}: a lie was believed")
            return
        if ending.code == 3 and ("--resume" in ending.argv or not is_migration):
            if "being undone" not in told:
                raise Violation(told)
            return
        if ending.name != "run-1":
            raise Violation(f"{told} (nothing was wrong any more)")
        self._expect_as_before(told)

    def _was_told(self) -> bool:
        """Tell whether there was anything to lie about; there are not always so many counts."""
        detail = self.scenario.detail
        return detail["what"] in IN_CHUNKS

    def _what_follows(self, ending: Ending) -> list[str] | None:
        """Return what to do next; None when it has arrived."""
        is_migration = ending.argv[0] == "migrate"
        is_well = not ending.code or "set aside" in ending.stderr
        if is_migration and is_well and ending.code == self.known.code:
            return None
        if ending.code == 3 and "being undone" in ending.stderr:
            return self._back()
        if ending.code in (-9, 4, 6):
            if self.call(looking.begun(self.direct_target)):
                if self.scenario.goes_back or ending.code == 6:
                    return self._back()
                self.result.counts["resumes"] += 1
                return self._migrate(resume=True)
            self.call(looking.sweep(self.direct_target))
            state = self.call(looking.told(self.direct_target))
            is_said = "All had arrived" in ending.stderr
            if state == self.known.after and (ending.code == -9 or is_said):
                return None
            if not is_migration or state != self.known.before:
                self._expect_as_before(f"{ending.name} ended with {ending.code}")
        self.result.counts["reruns"] += 1
        self.generation += 1
        return self._migrate()

    def _back(self) -> list[str]:
        self.result.counts["rollbacks"] += 1
        return rollback(self.source, self.target, self.audit)

    def _expect_arrived(self, told: str) -> None:
        self.call(looking.sweep(self.direct_target))
        self._expect(self.known.after, f"{told}: what arrived is not what should")
        if self.shape.options == "rejects":
            rows = looking.rejected_rows(self.folder / f"rejects-{self.generation}.jsonl")
            if len(rows) != len(set(rows)) or len(rows) != len(data.BAD_WORDS):
                raise Violation(f"{told}: {len(rows)} rows are in the file of rejects")

    def _expect_as_before(self, told: str) -> None:
        self.call(looking.sweep(self.direct_target))
        self._expect(self.known.before, f"{told}: the target is not what it was")

    def _expect(self, wanted: str, otherwise: str) -> None:
        found = self.call(looking.told(self.direct_target))
        if found == wanted:
            return
        ours, theirs = Counter(wanted.splitlines()), Counter(found.splitlines())
        missing, more = list((ours - theirs).elements()), list((theirs - ours).elements())
        raise Violation(
            f"{otherwise}; {len(missing)} lines missing: {missing[:2]}, {len(more)} too many: {more[:2]}"
        )

    def _check_log(self, ending: Ending) -> None:
        if said := looking.broken_chain(self.audit):
            raise Violation(f"the audit log: {said}")
        wanted = ("rejected",) if self.known.code else ("proved",)
        if ending.argv[0] == "migrate" and ending.code == self.known.code and self.audit.exists():
            last = looking.last_event(self.audit)
            if last not in (*wanted, "failed"):
                raise Violation(f"the audit log ends with {last!r}, and the migration is proved")

    def _wait_for_sessions(self) -> None:
        """Wait until the server has noticed that a process is gone, with its lock and its sessions."""
        until = time.monotonic() + UNLOCK_SECONDS_MAX
        while self.call(looking.session_count(self.direct_target)):
            if time.monotonic() > until:
                raise Violation("a process that has ended still has sessions")
            time.sleep(0.02)


async def _ended(work: asyncio.Future[None]) -> None:
    await work


def rollback(source: str, target: str, audit: Path) -> list[str]:
    """Return the arguments that undo a migration."""
    import inspect

    from migration import cli

    named = [source, target] if "source" in inspect.signature(cli.rollback).parameters else [target]
    return ["rollback", *named, "--audit", str(audit)]
