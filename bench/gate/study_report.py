"""The study's recordings -> what the gate reached, beside what other rules make of the same recordings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from bench.gate.comparing_times import log_ratios, void_reason
from bench.gate.rivals import LATER, RIVALS
from bench.gate.sides import Recording
from bench.gate.times import Thresholds, TimeVerdict, judge_time

GATE = "this gate"
CONFIDENCE = 0.95

WANTED = (
    ("no A/A alarm in at least 300 verdicts", 0.0, 300, 0.0),
    ("+10 % seen in at least 99 of 100", 0.10, 100, 0.99),
    ("+5 % seen in at least 80 of 100", 0.05, 100, 0.80),
)
"""What was asked for: words, the injected share, the least number of verdicts, the least share seen."""


class Tally:
    """Counts verdicts of one rule on one kind of recording."""

    def __init__(self) -> None:
        self.verdicts = 0
        self.alarms = 0
        self.unproved = 0

    def add(self, *, alarm: bool, unproved: bool = False) -> None:
        """Count one."""
        self.verdicts += 1
        self.alarms += alarm
        self.unproved += unproved

    def as_facts(self) -> dict[str, float]:
        """Give the counts, and the bounds of the share of alarms."""
        lower, upper = share_bounds(self.alarms, self.verdicts)
        return {
            "verdicts": self.verdicts,
            "alarms": self.alarms,
            "unproved": self.unproved,
            "share": self.alarms / max(1, self.verdicts),
            "lower": lower,
            "upper": upper,
        }


def share_bounds(hits: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Bound a share from each side, exactly, each bound with this confidence (Clopper and Pearson)."""
    if count == 0:
        return 0.0, 1.0
    alpha = 1 - confidence
    lower = 0.0 if hits == 0 else _solved(lambda share: 1 - _at_most(hits - 1, count, share), alpha)
    upper = 1.0 if hits == count else _solved(lambda share: 1 - _at_most(hits, count, share), 1 - alpha)
    return lower, upper


def _at_most(hits: int, count: int, share: float) -> float:
    return math.fsum(
        math.comb(count, number) * share**number * (1 - share) ** (count - number)
        for number in range(hits + 1)
    )


def _solved(rising: Any, wanted: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def write_report(
    recordings: Sequence[tuple[dict[str, Any], Recording]],
    thresholds: Thresholds,
    out: Path,
    missing: int,
) -> Path:
    """Write the table for people and the figures behind it."""
    frozen = orjson.loads(orjson.dumps(asdict(thresholds)))
    if any(facts["thresholds"] != frozen for facts, _ in recordings):
        raise ValueError("a recording was made with other thresholds: it is no part of this study")
    figures = _figures(recordings, thresholds)
    figures["missing_parts"] = missing
    out.mkdir(parents=True, exist_ok=True)
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
    (out / "figures.json").write_bytes(orjson.dumps(figures, option=options))
    path = out / "README.md"
    path.write_text(_page(figures), encoding="utf-8")
    return path


def _figures(
    recordings: Sequence[tuple[dict[str, Any], Recording]], thresholds: Thresholds
) -> dict[str, Any]:
    rules: dict[str, dict[float, Tally]] = defaultdict(lambda: defaultdict(Tally))
    by_regime: dict[str, dict[float, Tally]] = defaultdict(lambda: defaultdict(Tally))
    by_kind: dict[str, dict[float, Tally]] = defaultdict(lambda: defaultdict(Tally))
    measured_shares: dict[float, list[float]] = defaultdict(list)
    voids, seconds = [], []
    for facts, recording in recordings:
        part, share = facts["part"], float(facts["part"]["share"])
        seconds.append(facts["took_s"])
        if reason := void_reason(recording, thresholds):
            # A void run says so and gives no verdict; it counts as no alarm and as nothing seen.
            voids.append({"at": facts["at"], "part": part, "reason": reason})
        for groups in recording.values():
            verdict = judge_time(log_ratios(groups, "head"), thresholds, len(recording)).verdict
            alarm = verdict is TimeVerdict.REGRESSED and not reason
            unproved = verdict is TimeVerdict.UNPROVED or bool(reason)
            tallies = [rules[GATE][share], by_regime[part["regime"]][share]]
            tallies += [by_kind[part["kind"]][share]] if part["kind"] else []
            for tally in tallies:
                tally.add(alarm=alarm, unproved=unproved)
            if len(groups) > LATER:
                for name, rule in RIVALS.items():
                    rules[name][share].add(alarm=rule(groups))
            measured_shares[share] += [group.facts["measured"] for group in groups if group.facts]
    return {
        "runs": len(recordings),
        "seconds": {"median": median(seconds), "most": max(seconds)},
        "rules": _as_facts(rules),
        "regimes": _as_facts(by_regime),
        "kinds": _as_facts(by_kind),
        "voids": voids,
        "injected": {f"{share:g}": median(found) for share, found in measured_shares.items() if found},
        "machines": sorted({f"{one['machine']['processor']}" for one, _ in recordings}),
    }


def _as_facts(tallies: dict[str, dict[float, Tally]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {f"{share:g}": tally.as_facts() for share, tally in sorted(found.items())}
        for name, found in sorted(tallies.items())
    }


def _page(figures: dict[str, Any]) -> str:
    lines = [
        "# The gate's own study",
        "",
        f"{figures['runs']} runs of real measurements; {figures['missing_parts']} planned ones are missing.",
        "Made by `nox -s gate-study` from the recordings in `raw/`, which hold every block. The thresholds",
        "are those of `bench/gate/thresholds.toml`; a recording made with others is refused. Bounds are",
        "one-sided, 95 %. A void run counts as no alarm, and as nothing seen.",
        "",
        "| wanted | verdicts | reached | |",
        "|---|---|---|---|",
    ]
    for words, share, count, least in WANTED:
        found = figures["rules"].get(GATE, {}).get(f"{share:g}")
        lines.append(_wanted_line(words, found, count, least))
    most = figures["seconds"]["most"]
    mark = "reached" if most <= 180 else "not reached"
    lines.append(f"| at most 180 s for a run | {figures['runs']} | slowest {most:.0f} s | {mark} |")
    for heading, key in (("rule", "rules"), ("regime", "regimes"), ("injected work", "kinds")):
        lines += ["", *_table(heading, figures[key])]
    injected = ", ".join(
        f"{float(share):.0%} asked, {found:.1%} measured" for share, found in figures["injected"].items()
    )
    lines += [
        "",
        f"Injected work, median of what was measured in the process itself: {injected or 'none yet'}.",
    ]
    lines += ["", f"Void runs, whose two copies of the base differed: {len(figures['voids'])}."]
    lines += [
        f"- {void['part']['regime']} {void['part']['kind']}: {void['reason']}" for void in figures["voids"]
    ]
    return "\n".join(lines) + "\n"


def _wanted_line(words: str, found: dict[str, float] | None, count: int, least: float) -> str:
    if found is None:
        return f"| {words} | 0 | nothing recorded yet | unproved |"
    is_aa = least == 0.0
    told = (
        f"{found['alarms']:.0f} alarms, at most {found['upper']:.1%}"
        if is_aa
        else f"{found['share']:.1%} seen"
    )
    good = found["alarms"] == 0 if is_aa else found["share"] >= least
    enough = found["verdicts"] >= count
    mark = "reached" if good and enough else "too few yet" if good else "not reached"
    return f"| {words} | {found['verdicts']:.0f} | {told}, {found['unproved']:.0f} unproved | {mark} |"


def _table(heading: str, tallies: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    lines = [f"| {heading} | A/A alarm | sees +5 % | sees +10 % |", "|---|---|---|---|"]
    for name, found in tallies.items():
        cells = []
        for share in ("0", "0.05", "0.1"):
            one = found.get(share)
            cells.append(f"{one['share']:.3f} ({one['alarms']:.0f} of {one['verdicts']:.0f})" if one else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
