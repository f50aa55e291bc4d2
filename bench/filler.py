"""Made-up rows for the reference tables, stored the way real files store them.

A benchmark on rows of equal length and equal popularity measures a database nobody has. So sessions are
popular by Zipf's law, message lengths are log-normal with a long tail, some messages answer others, and the
values have the storage forms found in the application's own files: epoch floats, ISO texts with an offset,
CURRENT_TIMESTAMP texts, and two forms in one column where a trigger rewrote some of the rows.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = tuple[Any, ...]
Floats = NDArray[np.float64]

BATCH_ROWS = 20_000
"""Rows turned into Python objects at a time: a million messages need tens of megabytes, not a gigabyte."""

FIRST_SESSION_S = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
FIRST_MESSAGE_S = FIRST_SESSION_S + 7 * 86_400
LAST_MESSAGE_S = FIRST_MESSAGE_S + 90 * 86_400
"""Sessions are opened in the week before the first message, so no row is older than what it points to."""

SENDERS = (
    ("claude-impl", "claude"),
    ("claude-review", "claude"),
    ("claude-docs", "claude"),
    ("gemini.reviewer", "gemini"),
    ("qa-bot", "test"),
    ("perf-architect", "generic"),
    ("o'brien", "claude"),
    ("监督员", "system"),
    ("админ", "admin"),
    ("readonly-watcher", "generic"),
)
"""Agents, the most talkative first."""

VOCABULARY = """
the agent query index session schema cache memory token pool batch commit replica shard latency timeout
checkpoint rollback trigger vacuum planner cursor retry parser snapshot metadata audit permission throughput
websocket baseline regression migration visibility deadlock window ratio lock build deploy review plan result
error failed passed fixed found changed because before after should could needs file line function module
import return value table column row key type null string number list coverage mock
"""
WORDS = VOCABULARY.split()
"""Words by falling frequency."""

RARE_PHRASES = (
    "test",
    "数据库迁移已完成",
    "Проверка целостности",
    "مرحبا بالعالم",
    "naïve café déjà-vu",
    "👩‍💻🚀",
    'it\'s "quoted"; -- x',
    "C:\\temp\\n",
    "\\N",
    "line\r\nbreak",
)
"""One word in a hundred: the one that is searched for, and text that breaks careless copying.

All of it is valid on every engine, so there is no NUL and no lone surrogate here.
"""

EVENTS = {
    "message_added": 0.62,
    "memory_set": 0.2,
    "context_searched": 0.08,
    "session_created": 0.05,
    "token_refreshed": 0.04,
    "login_failed": 0.01,
}
"""Audit events and their shares."""

CORPUS_WORDS = 60_000
"""Contents are cut from one made-up text of this many words, about 400 kB: a cut is rarely seen twice."""

CONTENT_LENGTH_LIMIT = 60_000
"""Below the 100,000 characters of the check and the 65,535 bytes that a MySQL TEXT holds in Latin letters."""


@dataclass(frozen=True)
class Shared:
    """What several tables must agree on, and the texts they are cut from."""

    session_ids: list[str]
    session_created_s: Floats
    session_weights: Floats
    corpus: str
    word_starts: NDArray[np.int64]
    metadata: list[str]

    @classmethod
    def made(cls, count: int, generator: np.random.Generator) -> Shared:
        """Draw this many sessions, and the texts."""
        numbers = generator.integers(0, 2**63, size=count, dtype=np.int64)
        # Popularity by rank (Zipf, exponent 0.9), the ranks shuffled over the sessions.
        weights = generator.permutation(1 / np.arange(1, count + 1) ** 0.9)
        words = _words(generator)
        starts = np.cumsum([0, *(len(word) for word in words)], dtype=np.int64)[:-1]
        return cls(
            session_ids=[f"session_{number:016x}" for number in numbers.tolist()],
            session_created_s=_moments(generator, FIRST_SESSION_S, FIRST_MESSAGE_S, count),
            session_weights=weights / weights.sum(),
            corpus="".join(words),
            word_starts=starts,
            metadata=_metadata_pool(generator),
        )

    def texts(self, generator: np.random.Generator, count: int, median: float, spread: float) -> list[str]:
        """Cut texts of log-normal length out of the corpus; each begins with a word, so none is blank."""
        lengths = generator.lognormal(np.log(median), spread, count)
        tail = generator.random(count) < 0.01
        lengths[tail] = generator.lognormal(np.log(4_000), 0.9, int(tail.sum()))
        lengths = np.clip(lengths, 4, CONTENT_LENGTH_LIMIT).astype(np.int64)
        usable = int(np.searchsorted(self.word_starts, len(self.corpus) - CONTENT_LENGTH_LIMIT))
        starts = self.word_starts[generator.integers(0, usable, count)]
        ends = (starts + lengths).tolist()
        return [self.corpus[start:end] for start, end in zip(starts.tolist(), ends, strict=True)]

    def sessions(self, generator: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw session numbers, the popular ones more often."""
        return generator.choice(len(self.session_ids), size=count, p=self.session_weights)


def _sessions(count: int, generator: np.random.Generator, shared: Shared) -> Iterator[Row]:
    created = shared.session_created_s.tolist()
    purposes = shared.texts(generator, count, median=45, spread=0.5)
    updated_later = (generator.random(count) < 0.2).tolist()
    active = (generator.random(count) < 0.8).astype(int).tolist()
    creators = _agents(generator, count)
    metadata = _picked(generator, shared.metadata, count, share=0.3)
    for index in range(count):
        # The trigger writes a text where the application wrote a number.
        updated = sql_text(created[index] + 3_600) if updated_later[index] else created[index]
        yield (
            shared.session_ids[index],
            purposes[index][:200],
            created[index],
            updated,
            active[index],
            SENDERS[creators[index]][0],
            metadata[index],
        )


def _messages(count: int, generator: np.random.Generator, shared: Shared) -> Iterator[Row]:
    sessions = shared.sessions(generator, count)
    moments = np.sort(_moments(generator, FIRST_MESSAGE_S, LAST_MESSAGE_S, count))
    parents = _parents(generator, sessions)
    for first in range(0, count, BATCH_ROWS):
        size = min(BATCH_ROWS, count - first)
        part = slice(first, first + size)
        contents = shared.texts(generator, size, median=164, spread=0.55)
        agents = _agents(generator, size)
        visibilities = generator.choice(4, size=size, p=(0.72, 0.14, 0.12, 0.02)).tolist()
        metadata = _picked(generator, shared.metadata, size, share=0.35)
        numbers = range(first + 1, first + size + 1)
        in_session = sessions[part].tolist()
        for index, (number, moment, parent) in enumerate(
            zip(numbers, moments[part].tolist(), parents[part].tolist(), strict=True)
        ):
            sender, sender_type = SENDERS[agents[index]]
            yield (
                number,
                shared.session_ids[in_session[index]],
                sender,
                sender_type,
                contents[index],
                ("public", "private", "agent_only", "admin_only")[visibilities[index]],
                "agent_response",
                metadata[index],
                moment,
                parent or None,
            )


def _memories(count: int, generator: np.random.Generator, shared: Shared) -> Iterator[Row]:
    agents = _agents(generator, count)
    sessions = shared.sessions(generator, count).tolist()
    is_global = (generator.random(count) < 0.3).tolist()
    names = ("state", "plan", "notes.v2", "ключ", "todo list", "findings")
    picked_names = generator.integers(0, len(names), count).tolist()
    texts = shared.texts(generator, count, median=120, spread=0.9)
    as_json = (generator.random(count) < 0.6).tolist()
    created = np.sort(_moments(generator, FIRST_MESSAGE_S, LAST_MESSAGE_S, count)).tolist()
    lifetimes_s = generator.choice((3_600, 86_400, 30 * 86_400), size=count).tolist()
    expiring = (generator.random(count) < 0.11).tolist()
    rewritten = (generator.random(count) < 0.25).tolist()
    metadata = _picked(generator, shared.metadata, count, share=0.4)
    for index in range(count):
        text, moment = texts[index], created[index]
        if as_json[index]:
            text = json.dumps({"state": text, "done": False, "at": moment}, ensure_ascii=False)
        yield (
            index + 1,
            SENDERS[agents[index]][0],
            None if is_global[index] else shared.session_ids[sessions[index]],
            # The number makes the key unique for its agent and session, which both schemas ask for.
            f"{names[picked_names[index]]}.{index + 1}",
            text,
            # Memories are written with the default spelling: blanks, ASCII escapes, and {} for nothing.
            json.dumps(json.loads(metadata[index] or "{}")),
            moment,
            sql_text(moment + 60) if rewritten[index] else datetime.fromtimestamp(moment, UTC).isoformat(),
            moment + lifetimes_s[index] if expiring[index] else None,
        )


def _audit_rows(count: int, generator: np.random.Generator, shared: Shared) -> Iterator[Row]:
    picked = generator.choice(len(EVENTS), size=count, p=list(EVENTS.values())).tolist()
    names = list(EVENTS)
    agents = _agents(generator, count)
    sessions = shared.sessions(generator, count).tolist()
    sizes = generator.integers(1, 5_000, count).tolist()
    moments = np.sort(_moments(generator, FIRST_MESSAGE_S, LAST_MESSAGE_S, count)).tolist()
    for index in range(count):
        event = names[picked[index]]
        about_token = event in {"token_refreshed", "login_failed"}
        yield (
            index + 1,
            sql_text(moments[index]),
            event,
            SENDERS[agents[index]][0],
            None if about_token else shared.session_ids[sessions[index]],
            "secure_tokens" if about_token else None,
            "refresh" if event == "token_refreshed" else None,
            "denied" if event == "login_failed" else None,
            json.dumps({} if about_token else {"value_size": sizes[index], "note": "ünï", "ok": True}),
        )


def _tokens(count: int, generator: np.random.Generator, _: Shared) -> Iterator[Row]:
    agents = _agents(generator, count)
    moments = np.sort(_moments(generator, FIRST_SESSION_S, LAST_MESSAGE_S, count)).tolist()
    for index, moment in enumerate(moments):
        digits = generator.bytes(16).hex()
        token = f"sct_{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
        # The form of a Fernet token: a version byte, the time, 16 bytes, whole blocks, 32 bytes of signature.
        blocks = int(generator.integers(24, 32))
        raw = b"\x80" + int(moment).to_bytes(8, "big") + generator.bytes(16 + 16 * blocks + 32)
        expires = datetime.fromtimestamp(moment + 3_600, UTC).isoformat()
        agent = SENDERS[agents[index]][0]
        yield index + 1, token, base64.urlsafe_b64encode(raw), agent, expires, sql_text(moment)


def _words(generator: np.random.Generator) -> list[str]:
    """Draw the words of the corpus, each with the blank or line break that follows it."""
    weights = 1 / np.arange(1, len(WORDS) + 1, dtype=np.float64)
    picked = generator.choice(len(WORDS), size=CORPUS_WORDS, p=weights / weights.sum()).tolist()
    rare = (generator.random(CORPUS_WORDS) < 0.01).tolist()
    phrases = generator.integers(0, len(RARE_PHRASES), CORPUS_WORDS).tolist()
    words = [
        RARE_PHRASES[phrase] if is_rare else WORDS[word]
        for word, phrase, is_rare in zip(picked, phrases, rare, strict=True)
    ]
    return [word + ("\n" if index % 12 == 11 else " ") for index, word in enumerate(words)]


def _metadata_pool(generator: np.random.Generator) -> list[str]:
    kinds = ("review", "finding", "plan", "question")
    pool: list[str] = []
    for number in range(2_000):
        priority = int(generator.integers(0, 4))
        meaning: dict[str, Any] = {"message_type": kinds[number % len(kinds)], "priority": priority}
        if number % 2:
            tags = generator.choice(WORDS, size=int(generator.integers(0, 4)), replace=False)
            meaning["tags"] = tags.tolist()
        if number % 3 == 0:
            score = round(float(generator.random()), 6)
            meaning["nested"] = {"files": ["src/a.py", "ünï/ç.py"], "ok": False, "score": score}
        pool.append(json.dumps(meaning, ensure_ascii=False, separators=(",", ":")))
    return pool


def _parents(generator: np.random.Generator, sessions: NDArray[np.int64]) -> NDArray[np.int64]:
    """For 28 % of the messages, the number of one of the five before it in its session; 0 for the others."""
    count = len(sessions)
    by_session = np.argsort(sessions, kind="stable")
    back = generator.integers(1, 6, count)
    answers = generator.random(count) < 0.28
    place = np.arange(count)
    earlier = place - back
    same = (earlier >= 0) & (sessions[by_session[np.maximum(earlier, 0)]] == sessions[by_session]) & answers
    parents = np.zeros(count, dtype=np.int64)
    parents[by_session[same]] = by_session[earlier[same]] + 1
    return parents


def _moments(generator: np.random.Generator, first_s: float, last_s: float, count: int) -> Floats:
    """Draw epoch seconds with the microseconds that the application's own floats have."""
    return np.round(generator.uniform(first_s, last_s, count), 6)


def _agents(generator: np.random.Generator, count: int) -> list[int]:
    weights = 1 / np.arange(1, len(SENDERS) + 1, dtype=np.float64)
    picked: list[int] = generator.choice(len(SENDERS), size=count, p=weights / weights.sum()).tolist()
    return picked


def _picked(generator: np.random.Generator, pool: list[str], count: int, *, share: float) -> list[str | None]:
    """Take texts from the pool for this share of the rows, and None for the others."""
    chosen = generator.integers(0, len(pool), count).tolist()
    present = (generator.random(count) < share).tolist()
    return [pool[index] if here else None for index, here in zip(chosen, present, strict=True)]


def sql_text(moment_s: float) -> str:
    """Write a moment in the form of CURRENT_TIMESTAMP: UTC, whole seconds, no zone."""
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


FILLERS: dict[str, Callable[[int, np.random.Generator, Shared], Iterator[Row]]] = {
    "sessions": _sessions,
    "messages": _messages,
    "agent_memory": _memories,
    "audit_log": _audit_rows,
    "secure_tokens": _tokens,
}
"""How the rows of each table are made; `schema_version` has the row that its script inserts."""
