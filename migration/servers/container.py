"""The second road: a container, when a Docker engine answers."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from migration.servers.recipe import Recipe, RoadClosed, ThrowawayServer, version_when_ready, words_of

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

DOCKER_HOST_USUAL = "unix:///var/run/docker.sock"
"""Where a Docker engine listens unless the environment says otherwise."""

DOCKER_PING_SECONDS_MAX = 3
"""A Docker engine on this machine answers at once; longer means that there is none worth waiting for."""


@asynccontextmanager
async def from_container(engine: str, recipe: Recipe) -> AsyncIterator[ThrowawayServer]:
    """Start a container of the engine's image."""
    image = os.environ.get(f"MIGRATION_BENCH_{engine.upper()}_IMAGE", recipe.image)
    password = secrets.token_urlsafe(24)
    container = await asyncio.to_thread(_start_container, recipe, image, password)
    try:
        host = container.get_container_host_ip()
        url = recipe.url(host, int(container.get_exposed_port(recipe.image_port)), password)
        yield ThrowawayServer(url, "container", await version_when_ready(recipe, url, lambda: True))
    finally:
        await asyncio.to_thread(container.stop)


def _start_container(recipe: Recipe, image: str, password: str) -> DockerContainer:
    """Return a running container, or say why there is none."""
    try:
        import docker
        from docker.errors import DockerException
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.exceptions import ContainerConnectException, ContainerStartException
    except ModuleNotFoundError as error:
        raise RoadClosed(f"the Python package {error.name} is not installed") from error
    try:
        _knock(os.environ.get("DOCKER_HOST") or DOCKER_HOST_USUAL)
        client = docker.from_env(timeout=DOCKER_PING_SECONDS_MAX)
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, OSError) as error:
        raise RoadClosed(f"no Docker engine answers: {words_of(error)}") from error
    try:
        container = DockerContainer(image, env=recipe.image_environment(password), ports=[recipe.image_port])
        return container.start()
    except (DockerException, ContainerStartException, ContainerConnectException, OSError) as error:
        raise RoadClosed(f"the image {image} cannot be started: {words_of(error)}") from error


def _knock(host: str) -> None:
    """Raise OSError when nobody listens on the engine's Unix socket; other addresses are left to the client.

    The client would find out as well, but it leaves its socket open when it does.
    """
    scheme, _, path = host.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(DOCKER_PING_SECONDS_MAX)
            probe.connect(path)
