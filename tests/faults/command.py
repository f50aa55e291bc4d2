"""The command line of the harness: which seeds, which kinds, how many at once."""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.faults.figures import write_figures
from tests.faults.harness import Harness, Result
from tests.faults.lab import Lab, mount_disk, unmount_disk
from tests.faults.safeguards import SAFEGUARDS
from tests.faults.scenario import KINDS, scenario_of

SEED_BITS = 31


def main(words: list[str] | None = None) -> int:
    """Run seeds and return 0 when every ending was allowed."""
    wanted = _parser().parse_args(words)
    # Being asked to end is being interrupted: servers are stopped, and disks taken away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if wanted.canaries:
        return _show_canaries(_names(wanted.without))
    first = wanted.first if wanted.first is not None else int.from_bytes(os.urandom(4), "big") >> 1
    seeds = [wanted.seed] if wanted.seed is not None else [first + at for at in range(wanted.seeds)]
    _say(f"{len(seeds)} seeds from {seeds[0]}")
    begun = time.monotonic()
    results = run_seeds(
        seeds,
        kinds=_names(wanted.kind),
        engines=_names(wanted.engines),
        jobs=wanted.jobs,
        without=wanted.without,
        told=tell if not wanted.quiet else (lambda result: None),
    )
    write_figures(results, time.monotonic() - begun, wanted.json)
    failed = [result for result in results if result.violation]
    for result in failed:
        _say(explain(result, wanted.kind, wanted.engines))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, help="the first of them; drawn when left out")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--kind", default="", help=f"only these kinds: {','.join(KINDS)}")
    parser.add_argument("--engines", default="", help="only these engines: sqlite,postgresql,mariadb")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once, each with servers of its own")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--without", default="", help="with this safeguard switched off")
    parser.add_argument("--canaries", action="store_true", help="switch off one safeguard after another")
    parser.add_argument("--quiet", action="store_true", help="print only the table, and what is wrong")
    return parser


def _show_canaries(names: tuple[str, ...]) -> int:
    found = run_canaries(names)
    for name, (with_it, without_it) in found.items():
        verdict = "missed" if without_it and not with_it else "NOT MISSED" if not with_it else "WRONG"
        _say(f"{verdict}: {name}\n  with it: {with_it or 'nothing wrong'}\n  without it: {without_it[:300]}")
    return int(not all(without_it and not with_it for with_it, without_it in found.values()))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def run_seeds(
    seeds: Iterable[int],
    *,
    kinds: tuple[str, ...] = (),
    engines: tuple[str, ...] = (),
    jobs: int = 1,
    without: str = "",
    told: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run seeds on so many labs at once and return what came of them, in the order of the seeds."""
    can_fill = _can_mount()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in seeds:
        waiting.put(seed)
    results: list[Result] = []
    broken: list[str] = []
    is_stopped = threading.Event()

    def work() -> None:
        try:
            with laboratory(without) as harness:
                while not (broken or is_stopped.is_set() or waiting.empty()):
                    with contextlib.suppress(queue.Empty):
                        seed = waiting.get_nowait()
                        result = harness.run(scenario_of(seed, kinds, engines, can_fill=can_fill))
                        results.append(result)
                        told(result)
        except BaseException:  # noqa: BLE001 - told by whoever waits for this thread
            broken.append(traceback.format_exc())

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        # Seeds that are under way are ended, servers stopped, and disks taken away.
        is_stopped.set()
        for thread in threads:
            thread.join()
    if broken:
        raise RuntimeError(f"The harness itself went wrong:\n{broken[0]}")
    return sorted(results, key=lambda result: result.seed)


def run_canaries(names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Switch off one safeguard after the other, and return by name what was noticed with and without it.

    Each name has two sentences: what was wrong with the safeguard in place, which should be nothing, and
    what was wrong without it, which must be something.
    """
    found = {}
    with laboratory() as harness:
        for name in names or SAFEGUARDS:
            said = []
            for without in ("", name):
                harness.without = without
                said.append(harness.run(SAFEGUARDS[name].scenario).violation)
            found[name] = said
    return found


@contextlib.contextmanager
def laboratory(without: str = "") -> Iterator[Harness]:
    """Give a harness with a lab of its own; the folders of seeds that went wrong outlive it."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        lab = Lab(folder)
        stack.callback(lab.close)
        harness = Harness(lab, without=without)
        stack.callback(harness.close)
        yield harness
    if not any(folder.glob("seed-*")):
        shutil.rmtree(folder, ignore_errors=True)


def _can_mount() -> bool:
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    is_mounted = mount_disk(folder, 1024 * 1024)
    if is_mounted:
        unmount_disk(folder)
    folder.rmdir()
    return is_mounted


def tell(result: Result) -> None:
    """Print one line on a seed."""
    endings = " ".join(map(str, result.endings))
    verdict = "WRONG" if result.violation else "ok"
    _say(f"{result.seed} {verdict} [{endings}] {result.seconds:.1f} s {result.scenario}")
    if result.violation:
        _say(f"    {result.violation}")


def explain(result: Result, kinds: str = "", engines: str = "") -> str:
    """Say what was wrong with a seed, and how to have it again."""
    again = f"python -m tests.faults --seed {result.seed}"
    again += f" --kind '{kinds}'" if kinds else ""
    again += f" --engines '{engines}'" if engines else ""
    return (
        f"\nseed {result.seed}: {result.scenario}\n  {result.violation}\n"
        f"  fault: {'; '.join(result.fired) or 'it did not come to it'}; runs ended with {result.endings}\n"
        f"  all of it is kept in {result.folder}\n  again: {again}"
    )
