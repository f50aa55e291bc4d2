"""Removes a container as soon as whoever asked for it is gone.

This file is a program of its own, started by ``container.py``: a process that was killed can no longer remove
anything, and a container belongs to the Docker engine, not to us. So a tiny process holds one end of a pipe.
When the other end is closed without a word, by an error or by the kernel, it looks for the container by its
label and removes it.

The library brings such a watchman as a container of its own; that would need a second image and the engine's
socket inside of it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker import DockerClient

LABEL = "migration-bench.server"
"""What every container of ours is labelled with; the value tells them apart."""

OWNER_LABEL = f"{LABEL}.owner"
"""Whose it is: the number of a process, for whoever looks through the containers of a machine."""

SETTLED = "settled"
"""The word that says that no container will be made any more."""

LOOK_SECONDS_MAX = 15.0
"""The engine may still be creating a container whose owner was killed meanwhile."""

LOOK_SECONDS = 0.5
"""How often it is looked for."""


def reap(client: DockerClient, value: str, *, is_settled: bool) -> int:
    """Remove the containers with that value of the label; return how many there were.

    Unless all is settled, one that is not there yet is waited for, :data:`LOOK_SECONDS_MAX` at most.
    """
    from docker.errors import NotFound

    limit = time.monotonic() + LOOK_SECONDS_MAX
    while True:
        found = client.containers.list(all=True, filters={"label": f"{LABEL}={value}"}, ignore_removed=True)
        for container in found:
            try:
                container.remove(force=True, v=True)
            except NotFound:
                continue
        if found or is_settled or time.monotonic() > limit:
            return len(found)
        time.sleep(LOOK_SECONDS)


def main() -> None:
    """Wait for the end of standard input, whose first line is the label's value; then do what is left."""
    value = sys.stdin.readline().strip()
    is_settled = sys.stdin.read().strip() == SETTLED
    import docker

    client = docker.from_env()
    try:
        reap(client, value, is_settled=is_settled)
    finally:
        client.close()


if __name__ == "__main__":
    main()
