"""Where Locust calls us: a run begins, agents live, reports arrive, a run ends.

Three roles. A *worker* has agents. The *lead* has the keeper, the run and its verdicts. One process alone is
both; with `--processes` or `--master` the lead has no agents, and what is measured does not share its clock.

    lead                                     worker
    init            open the database        init            listen
    test_start      begin a run, orders  ->  test_start      open the database, make a crew
    spawning done   mark what is measured -> load_mark
                    merge                <-  report_to_master    what was counted since the last
    test_stopping   ask for the rest      -> load_finish     stop agents, wait for their calls
                    merge, count, judge  <-  load_rest
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from dataclasses import asdict
from typing import Any

import gevent
from gevent.event import Event
from locust import events
from locust.exception import StopTest, StopUser
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from bench.load.bridge import Bridge
from bench.load.crew import Crew, Orders, with_place
from bench.load.keeping import KeeperFailed, Keeping
from bench.load.ledger import Count
from bench.load.options import AGENTS, Asked, add_options, asked_by
from bench.load.run import LoadRun
from bench.load.tally import Mark
from bench.load.verdict import Exit
from migration.errors import MigrationError

TICK_S = 0.25
"""How often finished calls are told to Locust's own statistics, all at once."""

REPORT_S = 1.0
REST_S_MAX = 90.0
"""A worker waits 30 seconds for its agents' last calls; one that has not reported by now is gone."""


class Worker:
    """The agents of this process, between greenlets and the event loop."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.bridge: Bridge | None = None
        self.crew: Crew | None = None
        self.parts = 0

    def begin(self, orders: Orders) -> None:
        """Open the database and be ready for agents."""
        self.bridge = self.bridge or Bridge()
        crew = Crew(orders)
        self.bridge.run(crew.open())
        self.parts = 0
        self.crew = crew
        gevent.spawn(self._tell_locust, crew)

    def live(self, weights: dict[str, int]) -> None:
        """Let an agent live, in its greenlet; come back when the run is over."""
        if self.crew is None or self.bridge is None:
            raise StopTest("there is no database to work on; the reason stands above")
        bridge, crew = self.bridge, self.crew
        agent = bridge.run(crew.hire(weights))
        try:
            bridge.run(crew.live(agent))
        except gevent.GreenletExit:
            # Locust wants fewer agents. This one ends the call that it has begun.
            bridge.loop.call_soon_threadsafe(agent.stop)
            raise
        raise StopUser

    def put(self, mark: Mark | None) -> None:
        """Say what is measured from now on."""
        if self.crew is not None and self.bridge is not None:
            self.bridge.loop.call_soon_threadsafe(self.crew.put, mark)

    def report(self) -> dict[str, Any] | None:
        """Give what was counted since the last report; nothing when nobody works."""
        if self.crew is None or self.bridge is None:
            return None
        self.parts += 1
        return self.bridge.run(self.crew.take())

    def finish(self) -> dict[str, Any]:
        """Stop all agents, wait for their calls, and give the rest of what was counted."""
        crew, bridge = self.crew, self.bridge
        if crew is None or bridge is None:
            return {"parts": 0, "report": None}
        bridge.run(crew.stop())
        self.crew = None
        report = bridge.run(crew.take())
        self.parts += 1
        self._tell(crew)
        bridge.run(crew.close())
        return {"parts": self.parts, "report": report}

    def _tell_locust(self, crew: Crew) -> None:
        while self.crew is crew:
            gevent.sleep(TICK_S)
            self._tell(crew)

    def _tell(self, crew: Crew) -> None:
        while crew.finished:
            call = crew.finished.popleft()
            self.environment.events.request.fire(
                request_type="SQL",
                name=call.operation,
                response_time=call.took_ms,
                response_length=call.rows,
                exception=call.error or None,
                context={},
            )


class Lead:
    """The database, the run and its verdicts."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.runner = environment.runner
        self.run: LoadRun | None = None
        self.prepared: dict[str, Any] = {}
        self.worker: Worker | None = None
        self._keeping: Keeping | None = None
        self._place: tuple[Any, ...] | None = None
        self.url = str(environment.parsed_options.url or "")
        self._parts: dict[str, int] = {}
        self._rests: dict[str, int] = {}
        self._arrived = Event()
        self._is_finishing = False
        atexit.register(self.close)

    @property
    def asked(self) -> Asked:
        """What the flags or the fields of the page ask for."""
        return asked_by(self.environment.parsed_options, url=self.url)

    @property
    def keeping(self) -> Keeping:
        """The keeper."""
        assert self._keeping is not None, "the database was not prepared"
        return self._keeping

    def prepare(self, asked: Asked) -> None:
        """Have the database that is asked for; the one of the last run serves again where it is the same."""
        if asked.place == self._place:
            return
        self.close()
        self._keeping = Keeping()
        self.prepared = self._keeping.ask(
            "prepare",
            backend=asked.backend,
            url=asked.url,
            scale=asked.scale,
            seed=asked.seed,
            target=asked.migrate_to,
        )
        self._place = asked.place

    def begin(self) -> None:
        """Begin a run, and leave its orders where workers find them."""
        self.prepare(self.asked)
        self.keeping.ask("begin")
        places = self.runner.worker_count if isinstance(self.runner, MasterRunner) else 1
        scenario = os.path.splitext(os.path.basename(self.environment.locustfile or "agents"))[0]  # noqa: PTH119, PTH122
        self.run = LoadRun(self.asked, self.prepared, scenario, places)
        self._parts, self._rests = {}, {}
        self._is_finishing = False
        run = self.run
        orders = Orders(self.prepared["url"], run.base, run.asked.seed, run.asked.rate, places=places)
        self.environment.parsed_options.load_orders = asdict(orders)
        gevent.spawn(self._watch, run)

    def put(self, mark: Mark | None) -> None:
        """Say what is measured from now on, here and in every worker."""
        if self.run is None:
            return
        self.run.mark = mark
        if self.worker is not None:
            self.worker.put(mark)
        else:
            self.runner.send_message("load_mark", asdict(mark) if mark else {})

    def spawned(self) -> None:
        """Measure from the end of the warm-up on, where no shape says what is measured."""
        run = self.run
        if run is not None and self.environment.shape_class is None:
            self.put(None)
            gevent.spawn_later(run.asked.warm_up_s, self._mark_steady, run)

    def _mark_steady(self, run: LoadRun) -> None:
        if self.run is run and not self._is_finishing:
            self.put(Mark("", max(1, self.runner.target_user_count)))

    def merge(self, worker: str, report: dict[str, Any]) -> None:
        """Take a worker's report."""
        if self.run is not None and self.run.exit is None:
            self.run.merge(worker, report)
            self._parts[worker] = self._parts.get(worker, 0) + 1
            self._arrived.set()

    def rest(self, worker: str, parts: int, report: dict[str, Any] | None) -> None:
        """Take a worker's last report, which says how many there were in all."""
        if report is not None:
            self.merge(worker, report)
        self._rests[worker] = parts
        self._arrived.set()

    def finish(self) -> None:
        """End the run: gather what all agents did, count what is written, judge, and write it down."""
        run = self.run
        if run is None or self._is_finishing:
            return
        self._is_finishing = True
        # Whatever stops us from here on, nobody takes it for a pass.
        self.environment.process_exit_code = int(Exit.BROKEN)
        self._gather(run)
        self._count_and_judge(run)

    def _gather(self, run: LoadRun) -> None:
        if self.worker is not None:
            self.rest("local", **self.worker.finish())
            while not self._has_told_all("local"):
                gevent.sleep(0.01)
            return
        asked = [client.id for client in self.runner.clients.all]
        self.runner.send_message("load_finish", {})
        until_s = time.monotonic() + REST_S_MAX
        while missing := [one for one in asked if not self._has_told_all(one)]:
            self._arrived.clear()
            if time.monotonic() > until_s or not self._arrived.wait(until_s - time.monotonic()):
                run.failures.append(f"{len(missing)} workers did not tell what their agents did")
                return
        if len(asked) < run.workers:
            run.failures.append(f"{run.workers - len(asked)} of {run.workers} workers were lost on the way")

    def _has_told_all(self, worker: str) -> bool:
        """Tell whether the last report came, and each before it: they may overtake one another."""
        return worker in self._rests and self._parts.get(worker, 0) >= self._rests[worker]

    def _count_and_judge(self, run: LoadRun) -> None:
        base, end = run.span()
        # Clocks of several machines differ; which of two writings was the last is asked more mildly.
        slack_ns = 1_000_000_000 if run.workers > 1 else 0
        count = None
        try:
            told = self.keeping.ask(
                "count", ledger=run.ledger.as_message(), base=base, end=end, clock_slack_ns=slack_ns
            )
            count = Count(**{**told, "samples": tuple(told["samples"])})
        except KeeperFailed as error:
            run.failures.append(str(error))
        for entry in self.runner.exceptions.values():
            run.failures.append(f"an agent ended: {entry['msg']}")
        record = run.finish(count)
        print(run.told(record, colour=sys.stdout.isatty()), flush=True)
        assert run.exit is not None
        self.environment.process_exit_code = int(run.exit)

    def _watch(self, run: LoadRun) -> None:
        """Have the newest of everything once a second."""
        while self.run is run and not self._is_finishing:
            if self.worker is not None and (report := self.worker.report()) is not None:
                self.merge("local", report)
            try:
                run.add_statistics(self.keeping.ask("statistics"))
            except KeeperFailed as error:
                run.failures.append(f"the database's statistics: {error}")
                return
            gevent.sleep(REPORT_S)

    def close(self) -> None:
        """Let the database go."""
        if self._keeping is not None:
            self._keeping.close()
        self._keeping, self._place = None, None


WORKER: list[Worker] = []
LEAD: list[Lead] = []
"""This process's own, where it has that role."""


def worker() -> Worker:
    """Give this process's agents."""
    if not WORKER:
        raise StopTest("this process has no agents")
    return WORKER[0]


def lead() -> Lead:
    """Give what leads the run; only scenarios ask, in the process that leads."""
    return LEAD[0]


def _add_options(parser: Any) -> None:
    add_options(parser)


def _begin_process(environment: Any, runner: Any, **_: Any) -> None:
    options = environment.parsed_options
    if isinstance(runner, WorkerRunner | LocalRunner):
        WORKER[:] = [Worker(environment)]
    if isinstance(runner, WorkerRunner):
        runner.register_message("load_mark", _on_mark)
        runner.register_message("load_finish", _on_finish, concurrent=True)
        return
    if options.num_users is None:
        options.num_users = AGENTS
    if options.spawn_rate is None:
        options.spawn_rate = min(100.0, float(options.num_users))
    LEAD[:] = [Lead(environment)]
    LEAD[0].worker = WORKER[0] if WORKER else None
    if isinstance(runner, MasterRunner):
        runner.register_message("load_rest", _on_rest)
    if options.headless and not options.user_classes:
        _keep_the_usual_class(environment)
    try:
        # Before Locust's clock of --run-time begins.
        LEAD[0].prepare(LEAD[0].asked)
    except (MigrationError, KeeperFailed) as error:
        sys.stderr.write(f"{error}\n")
        if options.headless:
            raise SystemExit(getattr(error, "exit_code", Exit.BROKEN)) from None
    if environment.web_ui is not None:
        from bench.load.web import add_page

        add_page(environment, LEAD[0])


def _keep_the_usual_class(environment: Any) -> None:
    """Without a choice agents are those of the reference's own mix, not a mix of all mixes."""
    usual = [one for one in environment.user_classes if getattr(one, "is_usual", False)]
    environment.user_classes = usual or environment.user_classes


def _begin_run(environment: Any, **_: Any) -> None:
    if LEAD:
        LEAD[0].begin()
    if WORKER:
        orders = Orders(**environment.parsed_options.load_orders)
        place = max(0, getattr(environment.runner, "worker_index", 0))
        WORKER[0].begin(with_place(orders, place, orders.places))


def _spawned(**_: Any) -> None:
    if LEAD:
        LEAD[0].spawned()


def _end_run(**_: Any) -> None:
    if LEAD:
        LEAD[0].finish()


def _report(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001  Locust calls by these names
    if WORKER:
        data["load"] = WORKER[0].report()


def _merge(client_id: str, data: dict[str, Any]) -> None:
    if LEAD and data.get("load") is not None:
        LEAD[0].merge(client_id, data["load"])


def _end_process(environment: Any, **_: Any) -> None:  # noqa: ARG001
    # Ctrl-C and SIGTERM come here first; Locust would end the run after it has chosen its exit code.
    if LEAD:
        LEAD[0].finish()


def _on_mark(environment: Any, msg: Any) -> None:  # noqa: ARG001
    WORKER[0].put(Mark(**msg.data) if msg.data else None)


def _on_finish(environment: Any, msg: Any) -> None:  # noqa: ARG001
    environment.runner.send_message("load_rest", WORKER[0].finish())


def _on_rest(environment: Any, msg: Any) -> None:  # noqa: ARG001
    LEAD[0].rest(msg.node_id, **msg.data)


events.init_command_line_parser.add_listener(_add_options)
events.init.add_listener(_begin_process)
events.test_start.add_listener(_begin_run)
events.spawning_complete.add_listener(_spawned)
events.test_stopping.add_listener(_end_run)
events.quitting.add_listener(_end_process)
events.report_to_master.add_listener(_report)
events.worker_report.add_listener(_merge)
