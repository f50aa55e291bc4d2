"""`python -m bench.load [SCENARIO] [Locust's arguments]`: Locust, unpatched, on loopback, with our classes.

SCENARIO is a file of `locustfiles/` by its name: agents (the default), ramp, spike, soak, during_migration.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "locustfiles"


def arguments(words: list[str], folder: Path = FOLDER) -> list[str]:
    """Give Locust's arguments for ours."""
    scenarios = {path.stem: path for path in folder.glob("[!_]*.py")}
    given = list(words)
    if not {"-f", "--locustfile"} & {word.partition("=")[0] for word in given}:
        name = given.pop(0) if given and given[0] in scenarios else "agents"
        given = ["-f", str(scenarios[name]), *given]
    names = {word.partition("=")[0] for word in given}
    if "--worker" not in names:
        # The page starts load and shows what is asked for: nobody else's business by default.
        given += [] if "--web-host" in names else ["--web-host", "127.0.0.1"]
        given += [] if "--master-bind-host" in names else ["--master-bind-host", "127.0.0.1"]
    if "--headless" in names:
        given += [] if names & {"--only-summary", "--print-stats"} else ["--only-summary"]
    elif "--worker" not in names and "--class-picker" not in names:
        given.append("--class-picker")
    return given


def main() -> None:
    """Hand over to Locust."""
    os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
    import bench.load.patching  # noqa: F401

    sys.argv = ["locust", *arguments(sys.argv[1:])]
    from locust.main import main as run_locust

    run_locust()


if __name__ == "__main__":
    main()
