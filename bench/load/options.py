"""Flags of a load run; Locust shows the same as fields of its web page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.catalogue import OPERATIONS
from bench.places import BACKENDS
from migration.errors import Refused, UsageError

AGENTS = 25
RATE = 10.0
"""Calls per second of one agent: a pause of 100 ms on average, as in the bench."""

RESULTS = "results/runs"


@dataclass(frozen=True)
class Asked:
    """What a run is asked for."""

    backend: str
    url: str
    scale: float
    seed: int
    rate: float
    mix: Mapping[str, int]
    warm_up_s: float
    results: Path
    migrate_to: str

    @property
    def place(self) -> tuple[str, str, float, int, str]:
        """What makes another database of it."""
        return self.backend, self.url, self.scale, self.seed, self.migrate_to


def add_options(parser: Any) -> None:
    """Add our flags to Locust's."""
    group = parser.add_argument_group("Load on a database")
    # The same as Locust's --users, by the name that this project has for them.
    group.add_argument("--agents", dest="num_users", type=int, help=f"How many agents ({AGENTS}).")
    add = parser.add_argument
    add(
        "--backend",
        choices=BACKENDS,
        default=BACKENDS[0],
        help="Engine of the database that is made and filled for the run.",
    )
    add(
        "--url",
        default="",
        is_secret=True,
        help="A database of your own instead; agents write into it, so --let-agents-write is asked for. "
        "An empty one is filled.",
    )
    add("--let-agents-write", action="store_true", default=False, help="Agents may write into --url.")
    add("--scale", type=float, default=1.0, help="Of the reference data: 1 is 100,000 messages.")
    add("--seed", type=int, default=1, help="Of the data, the pauses and the choices.")
    add("--rate", type=float, default=RATE, help="Calls per second of each agent.")
    add("--mix", default="", help="Instead of the class's own: get_messages=20,add_message=5")
    add(
        "--warm-up", type=float, default=2.0, help="Seconds that are not measured, once all agents are there."
    )
    add("--results", default=RESULTS, include_in_web_ui=False, help="Folder for the JSON and the page.")
    add(
        "--migrate-to",
        choices=("", *BACKENDS),
        default="",
        include_in_web_ui=False,
        help="Target of the scenario during_migration.",
    )
    add(
        "--stage-time",
        type=float,
        default=20.0,
        include_in_web_ui=False,
        help="Seconds of each stage of ramp, spike and during_migration.",
    )


def asked_by(options: Any, *, url: str = "") -> Asked:
    """Read the flags; `url` is the one of the command line, which the web page does not repeat."""
    url = options.url or url
    if url and not options.let_agents_write:
        raise Refused(
            "agents write into the database that they work on, and --url names one of yours",
            done="Nothing was opened",
            next_step="Add --let-agents-write if that is meant, or leave --url out for a throw-away database",
        )
    if options.rate <= 0:
        raise UsageError(f"--rate is {options.rate:g}, and an agent makes some calls", next_step="Give more")
    return Asked(
        backend=options.backend,
        url=url,
        scale=options.scale,
        seed=options.seed,
        rate=options.rate,
        mix=mix_of(options.mix),
        warm_up_s=options.warm_up,
        results=Path(options.results),
        migrate_to=options.migrate_to,
    )


def mix_of(text: str) -> dict[str, int]:
    """Read `operation=weight,...`; nothing where nothing is asked for."""
    mix: dict[str, int] = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        name, _, weight = part.partition("=")
        if name not in OPERATIONS or not weight.isdecimal():
            raise UsageError(
                f"--mix has {part!r}",
                next_step=f"Write operation=weight; the operations are {', '.join(WEIGHTS)}",
            )
        mix[name] = int(weight)
    if mix and not any(mix.values()):
        raise UsageError("--mix leaves nothing to do", next_step="Give one operation a weight above 0")
    return mix


WEIGHTS = {name: one.weight for name, one in OPERATIONS.items() if one.weight}
"""The reference application's mix: operation -> weight."""

WRITES = ("create_session", "add_message", "set_memory", "audit", "refresh_token")
SEARCHES = ("search_context", "search_by_sender", "search_by_timerange")


def mix_heavy_in(names: tuple[str, ...], factor: int) -> dict[str, int]:
    """Give the mix with some operations this many times as common."""
    return {name: weight * (factor if name in names else 1) for name, weight in WEIGHTS.items()}
