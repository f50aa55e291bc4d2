"""Where the Docker engine is that the tests of containers use, and why there is none.

``MIGRATION_BENCH_TEST_DOCKER`` names its address. CI starts one of its own at an address that nothing else
knows, so that every other test runs as on a machine without Docker. Otherwise it is the machine's own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.containers.images import ImageUnavailable, built_image

ANSWER_SECONDS_MAX = 20
"""An engine on this machine answers at once; one that is being started takes longer."""


def docker_host() -> str:
    """Return the address of the Docker engine that tests use."""
    chosen = os.environ.get("MIGRATION_BENCH_TEST_DOCKER") or os.environ.get("DOCKER_HOST")
    return chosen or "unix:///var/run/docker.sock"


def version_or_reason() -> tuple[str, str]:
    """Return the engine's version and nothing, or nothing and why no engine can be used."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    environment = {**os.environ, "DOCKER_HOST": docker_host()}
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=ANSWER_SECONDS_MAX, check=False
        )
    except FileNotFoundError:
        return "", "the program docker is not installed"
    except subprocess.TimeoutExpired:
        return "", f"no Docker engine answers at {docker_host()} within {ANSWER_SECONDS_MAX} s"
    if asked.returncode:
        return "", " ".join(asked.stderr.split())
    return asked.stdout.strip(), ""


@contextmanager
def only_containers(name: str) -> Iterator[None]:
    """Have servers of that name come out of containers, of the image that is built here.

    Raises :class:`ImageUnavailable` when no engine answers or the image cannot be built.
    """
    _, reason = version_or_reason()
    if reason:
        raise ImageUnavailable(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(f"MIGRATION_BENCH_{name.upper()}_URL", raising=False)
        patch.setenv("DOCKER_HOST", docker_host())
        patch.setenv("MIGRATION_BENCH_SERVER", "container")
        patch.setenv(f"MIGRATION_BENCH_{name.upper()}_IMAGE", built_image(name))
        yield
