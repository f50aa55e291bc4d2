"""What agents were told is committed, held against what is there. Pure.

Every call of a run has a number of its own, and the reference operations write it into their rows. So each
acknowledged write can be looked for by name, and each row that is there can be asked who was told of it.

A call that raised is in doubt: the connection may have been lost after the commit. It may be there or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WRITTEN_BY: Mapping[str, tuple[str, ...]] = {
    "create_session": ("sessions",),
    "add_message": ("messages", "audit_log"),
    "audit": ("audit_log",),
    "set_memory": ("agent_memory",),
    "refresh_token": ("secure_tokens",),
}
"""Operations of the mix that write, and where. One that is not named here writes nothing that stays."""

NUMBERED = ("sessions", "messages", "audit_log")
"""Tables in which every row of a run stays, with the number of its call."""

SAMPLES_MAX = 20

Memory = tuple[str, str | None, str]
"""Agent, session or None, key."""


@dataclass(frozen=True)
class Remembered:
    """One acknowledged writing of a memory, with the time between which it was committed."""

    number: int
    memory: Memory
    started_ns: int
    ended_ns: int


@dataclass
class Ledger:
    """What one process's agents were told.

    Attributes
    ----------
    told
        Operation -> numbers of the calls that returned.
    in_doubt
        Operation -> numbers of the calls that raised.
    tokens_given, tokens_kept
        Tokens that could be refreshed at the beginning, and those that agents hold at the end.
    """

    told: dict[str, list[int]] = field(default_factory=dict)
    in_doubt: dict[str, list[int]] = field(default_factory=dict)
    remembered: list[Remembered] = field(default_factory=list)
    tokens_given: set[str] = field(default_factory=set)
    tokens_kept: set[str] = field(default_factory=set)

    def merge(self, other: Ledger) -> None:
        """Add another process's."""
        for mine, theirs in ((self.told, other.told), (self.in_doubt, other.in_doubt)):
            for operation, numbers in theirs.items():
                mine.setdefault(operation, []).extend(numbers)
        self.remembered += other.remembered
        self.tokens_given |= other.tokens_given
        self.tokens_kept |= other.tokens_kept

    @property
    def acknowledged_count(self) -> int:
        """Calls of writing operations that returned."""
        return sum(len(numbers) for operation, numbers in self.told.items() if operation in WRITTEN_BY)

    def numbers(self, table: str, *, told: bool) -> set[int]:
        """Give the numbers of the calls that wrote into a table, or that may have."""
        source = self.told if told else self.in_doubt
        return {
            number
            for operation, tables in WRITTEN_BY.items()
            if table in tables
            for number in source.get(operation, ())
        }

    def as_message(self) -> dict[str, Any]:
        """Give it as plain values, for another process."""
        return {
            "told": self.told,
            "in_doubt": self.in_doubt,
            "remembered": [
                [one.number, list(one.memory), one.started_ns, one.ended_ns] for one in self.remembered
            ],
            "tokens_given": sorted(self.tokens_given),
            "tokens_kept": sorted(self.tokens_kept),
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Ledger:
        """Read it back."""
        return cls(
            told={name: list(numbers) for name, numbers in message["told"].items()},
            in_doubt={name: list(numbers) for name, numbers in message["in_doubt"].items()},
            remembered=[
                Remembered(number, (memory[0], memory[1], memory[2]), started, ended)
                for number, memory, started, ended in message["remembered"]
            ],
            tokens_given=set(message["tokens_given"]),
            tokens_kept=set(message["tokens_kept"]),
        )


@dataclass
class Present:
    """What of a run is there.

    Attributes
    ----------
    numbers
        Table -> how often each call's number is in it.
    memories
        Memory -> numbers of the calls whose value it has; several where nothing forbids equal keys.
    may_end
        Memories that were there before and that expire: they may be gone.
    """

    numbers: dict[str, Counter[int]] = field(default_factory=dict)
    memories: dict[Memory, set[int]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    may_end: set[Memory] = field(default_factory=set)


@dataclass(frozen=True)
class Count:
    """The result: how many writes were told of, and every one that is wrong, the first few by name."""

    acknowledged: int
    in_doubt: int
    lost: int
    untold: int
    repeated: int
    samples: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether every acknowledged write is there once, and nothing else is."""
        return not (self.lost or self.untold or self.repeated)

    def sentence(self) -> str:
        """Tell it in a sentence."""
        doubt = f" ({self.in_doubt:,} more calls failed, and are in doubt)" if self.in_doubt else ""
        if self.is_sound:
            return f"{self.acknowledged:,} acknowledged writes, every one of them is there{doubt}"
        return (
            f"{self.acknowledged:,} acknowledged writes{doubt}: {self.lost:,} are lost, {self.untold:,} are "
            f"there that nobody was told of, {self.repeated:,} are there more than once"
        )


def counted(ledger: Ledger, present: Present, *, clock_slack_ns: int = 0) -> Count:
    """Hold what agents were told against what is there."""
    lost: list[str] = []
    untold: list[str] = []
    repeated: list[str] = []
    for table in NUMBERED:
        seen = present.numbers.get(table, Counter())
        told, doubtful = ledger.numbers(table, told=True), ledger.numbers(table, told=False)
        lost += _named("lost", table, told - seen.keys())
        untold += _named("nobody was told of", table, seen.keys() - told - doubtful)
        repeated += _named("repeated", table, (number for number, times in seen.items() if times > 1))
    lost += _lost_memories(ledger, present, clock_slack_ns)
    lost += [f"lost: secure_tokens, {token}" for token in ledger.tokens_kept - present.tokens]
    # A refresh that raised has given its token up, and may not have removed it.
    left = (ledger.tokens_given - ledger.tokens_kept) & present.tokens
    if len(left) > len(ledger.in_doubt.get("refresh_token", ())):
        untold += [f"replaced, and still there: secure_tokens, {token}" for token in left]
    doubts = sum(len(numbers) for name, numbers in ledger.in_doubt.items() if name in WRITTEN_BY)
    samples = tuple(
        sorted(lost)[:SAMPLES_MAX] + sorted(untold)[:SAMPLES_MAX] + sorted(repeated)[:SAMPLES_MAX]
    )
    return Count(ledger.acknowledged_count, doubts, len(lost), len(untold), len(repeated), samples)


def _named(what: str, table: str, numbers: Iterable[int]) -> list[str]:
    return [f"{what}: {table}, call {number}" for number in numbers]


def _lost_memories(ledger: Ledger, present: Present, slack_ns: int) -> list[str]:
    """Name the memories that are not as one of their last writers left them.

    Of two writings at the same time either may be the last. One that began when another had ended came after
    it, and what it wrote may not be gone.
    """
    doubtful = set(ledger.in_doubt.get("set_memory", ()))
    by_memory: dict[Memory, list[Remembered]] = {}
    for one in ledger.remembered:
        by_memory.setdefault(one.memory, []).append(one)
    lost = []
    for memory, calls in by_memory.items():
        newest_start = max(call.started_ns for call in calls)
        last = {call.number for call in calls if call.ended_ns + slack_ns >= newest_start}
        found = present.memories.get(memory, set())
        if found & (last | doubtful):
            continue
        if not found and (memory in present.may_end or any(ends(call.number) for call in calls)):
            continue
        if not found and any(ends(number) for number in doubtful):
            continue
        lost.append(f"lost: agent_memory, call {max(last)}, of {memory[0]}, {memory[2]}")
    return lost


def ends(number: int) -> bool:
    """Tell whether a memory that this call makes expires; as `operations.set_memory` has it."""
    return number % 4 == 0
