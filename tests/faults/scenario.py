"""What a seed means: two engines, rows, options, one kind of fault, and where it happens.

Pure: the same seed is the same scenario, today and on another machine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.faults.data import VARIATIONS
from tests.faults.lies import IN_CHUNKS, LIES

KINDS = {
    "kill": 30,
    "SIGTERM": 6,
    "SIGINT": 6,
    "cut": 16,
    "commit lost": 8,
    "server killed": 8,
    "disk full": 12,
    "lie": 10,
    "clock": 3,
    "slow": 2,
    "rival": 3,
    "source written": 3,
    "source changed": 2,
}
"""The kinds of fault, each with its share."""

PAIRS = {
    ("sqlite", "postgresql"): 6,
    ("postgresql", "mariadb"): 4,
    ("sqlite", "mariadb"): 3,
    ("mariadb", "postgresql"): 2,
    ("postgresql", "postgresql"): 1,
    ("mariadb", "mariadb"): 1,
    ("postgresql", "sqlite"): 1,
    ("mariadb", "sqlite"): 1,
    ("sqlite", "sqlite"): 1,
}
"""Which engines, each with its share."""

OPTIONS = {"": 5, "own rows": 3, "rejects": 1, "backup": 2}
"""What the migration is asked for besides; `own rows` are in the target already, and are replaced."""

# From the phase in which a fault happens; most of what can go wrong goes wrong while rows are on their way.
PHASE_SHARES = {"begin": 1, "plan": 2, "prepared": 8, "copied": 3, "finished": 3, "proof": 2, "proved": 1}
PHASES: dict[str, Mapping[str, int]] = {
    # The proof is what must see a lie; the lie is told where there is something to lie about.
    "lie": {"finished": 1},
    "commit lost": {"plan": 2, "prepared": 6, "copied": 2, "finished": 1, "proof": 3},
    # From the beginning on, or killed in the copy besides.
    "clock": {"prepared": 1},
    "slow": {"prepared": 1},
    # Before that there is no lock yet.
    "rival": {"plan": 2, "prepared": 3, "copied": 1, "finished": 1},
    "source written": {"prepared": 1},
    # Where a checkpoint is there for certain.
    "source changed": {"copied": 1},
}
"""The phases in which a kind of fault makes sense, where that is not all of them."""

NOT_WITH_REJECTS = ("lie", "source written", "source changed")
LATENCY_SECONDS = 0.02
DEATHS_MAX = 3


@dataclass(frozen=True)
class Shape:
    """What two undisturbed runs have in common: all but the fault."""

    source: str
    target: str
    variation: int
    options: str

    def __str__(self) -> str:
        """Write it for a person."""
        extra = f", {self.options}" if self.options else ""
        return f"{self.source} to {self.target}{extra}"


@dataclass(frozen=True)
class Scenario:
    """One seed: ``share`` says where in its phase the fault happens, ``detail`` all that its kind asks for.

    ``goes_back`` means that what is left is undone, and not gone on with. ``deaths`` are how often a process
    is killed, those that go on included.
    """

    seed: int
    shape: Shape
    kind: str
    phase: str
    share: float
    goes_back: bool
    deaths: int = 1
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Write it for a person."""
        detail = ", ".join(f"{name}: {value}" for name, value in self.detail.items())
        more = f" ({detail})" if detail else ""
        return f"{self.shape}; {self.kind}{more} in phase {self.phase!r}"


def scenario_of(
    seed: int, kinds: Collection[str] = (), engines: Collection[str] = (), *, can_fill: bool = True
) -> Scenario:
    """Return what a seed means; ``kinds`` and ``engines`` allow only some, and so change the meaning.

    ``can_fill`` tells whether a disk can be made full for a server, too.
    """
    random = Random(seed)
    kind = _drawn(random, {name: share for name, share in KINDS.items() if not kinds or name in kinds})
    pairs = {
        pair: share
        for pair, share in PAIRS.items()
        if (not engines or set(pair) <= set(engines)) and _suits(kind, pair)
    }
    assert pairs, f"no pair of {', '.join(engines)} can have the fault {kind!r}"
    source, target = _drawn(random, pairs)
    options = _drawn(random, OPTIONS)
    if options == "rejects" and (source != "sqlite" or target == "sqlite" or kind in NOT_WITH_REJECTS):
        options = ""
    phase, detail = _drawn(random, PHASES.get(kind, PHASE_SHARES)), {}
    if kind == "lie":
        detail = _lie(random, source, target)
    elif kind == "disk full":
        options, detail = _disk_full(random, options, target, can_fill=can_fill)
        if detail["disk"] == "backup":
            phase = "plan"
    elif kind in ("clock", "slow"):
        detail = {"then": random.choice(["", "kill"])}
    elif kind in ("cut", "commit lost", "server killed"):
        detail = _cut(random, kind, source, target)
    return Scenario(
        seed=seed,
        shape=Shape(source, target, (len(source + target) + len(options)) % VARIATIONS, options),
        kind=kind,
        phase=phase,
        share=random.random() * (0.25 if kind == "source written" else 1),
        goes_back=random.random() < 0.35,
        deaths=random.choice([1, 1, 1, 2, DEATHS_MAX]) if kind == "kill" else 1,
        detail=detail,
    )


def _suits(kind: str, pair: tuple[str, str]) -> bool:
    if kind in ("cut", "server killed", "slow"):
        return pair != ("sqlite", "sqlite")
    if kind == "source changed":
        return pair[0] == "sqlite"
    return pair[1] != "sqlite" if kind == "commit lost" else True


def _cut(random: Random, kind: str, source: str, target: str) -> dict[str, Any]:
    sides = [side for side, engine in (("source", source), ("target", target)) if engine != "sqlite"]
    side = "target" if kind == "commit lost" else random.choice(sides)
    detail: dict[str, Any] = {"side": side, "stays away": random.random() < 0.3}
    if kind == "cut":
        detail["after"] = random.randint(0, 12)
        detail["from client"] = random.random() < 0.5
        detail["half"] = random.random() < 0.5
    return detail


def _lie(random: Random, source: str, target: str) -> dict[str, Any]:
    has_stream = "postgresql" in (source, target)
    what = random.choice([lie for lie in LIES if has_stream or lie != "count of a stream"])
    # Where it is told, as a share of the chunks; the others are few.
    at = random.random() if what in IN_CHUNKS else random.randint(1, 6)
    return {"what": what, "at": at}


def _disk_full(random: Random, options: str, target: str, *, can_fill: bool) -> tuple[str, dict[str, Any]]:
    disks = ["audit", "backup", "target"]
    disk = random.choice(disks)
    options = "backup" if disk == "backup" else options
    is_server = disk == "target" and target != "sqlite"
    way = "small files" if not is_server and random.random() < 0.4 else "full disk"
    spare = random.choice([0, 100, 4_096, 16_384])
    if not can_fill:
        # No rights to mount a small disk: then files may not grow, and a server's disk is left out.
        way, disk = "small files", "audit" if is_server else disk
    return options, {"disk": disk, "way": way, "spare bytes": spare}


def _drawn(random: Random, shares: Mapping[Any, int]) -> Any:
    return random.choices(list(shares), weights=list(shares.values()))[0]
