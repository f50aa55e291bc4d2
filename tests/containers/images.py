"""Container images of the servers, made here out of Debian's packages, because CI can pull none.

Each takes the environment variables of the official image that it stands for, so that nothing in
``migration.servers`` knows which of them it started. Packages come from the archive that this machine's
`apt` uses, with its keys: nothing is fetched from anywhere else. An image's tag is the digest of all that it
is made from, so it is built once per machine and again when this folder changes.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

BUILD_SECONDS_MAX = 300
"""An image takes ten to thirty seconds; past this the archive is stuck."""

# The shell and the few programs that entry points and the server's own scripts call.
BASE = ("dash", "coreutils", "sed", "hostname", "base-passwd")

# Wanted by scripts that are never run here, or by parts of a server that are never loaded.
LEFT_OUT = ("perl*", "libperl*", "libllvm*", "libz3-*", "debconf*", "adduser", "passwd", "login*", "ssl-cert")


class ImageUnavailable(Exception):
    """The image cannot be built here; the message is the reason."""


@dataclass(frozen=True)
class Image:
    """What an image is made of: packages of a suite of Debian, and an entry point of this folder."""

    name: str
    suite: str
    packages: tuple[str, ...]
    entry_point: str
    port: int

    @property
    def tag(self) -> str:
        """Name the image by its content."""
        content = b"".join(path.read_bytes() for path in (HERE / "images.py", HERE / self.entry_point))
        return f"migration-bench-{self.name}:{hashlib.sha256(content).hexdigest()[:16]}"


IMAGES = {
    image.name: image
    for image in (
        Image("postgresql", "trixie", ("postgresql-17",), "postgresql.sh", 5432),
        Image("mariadb", "trixie", ("mariadb-server-core", "mariadb-client-core"), "mariadb.sh", 3306),
        # No released Debian has MySQL.
        Image("mysql", "sid", ("mysql-server-core",), "mysql.sh", 3306),
    )
}
"""By the name of the recipe that starts it."""


def built_image(name: str) -> str:
    """Return the tag of a server's image, built if need be."""
    image = IMAGES[name]
    lock = Path(tempfile.gettempdir(), f"migration-bench-image-{os.geteuid()}-{name}.lock")
    # Two processes of one run would build the same image at the same time.
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not _is_there(image):
            with tempfile.TemporaryDirectory(prefix="migration-bench-image-") as folder:
                _build(image, Path(folder))
    return image.tag


def _is_there(image: Image) -> bool:
    """Tell whether the Docker engine has the image."""
    return bool(_run(["docker", "image", "ls", "--quiet", image.tag]).strip())


def _build(image: Image, folder: Path) -> None:
    """Fetch the packages, unpack them into a root folder and import that as an image."""
    environment = _private_apt(image.suite, folder)
    _run(["apt-get", "update", "-qq"], environment, folder)
    debs = folder / "packages"
    debs.mkdir()
    _run(["apt-get", "download", "-qq", *_closure(image, environment, folder)], environment, debs)
    root = folder / "root"
    _lay_out(root)
    for deb in sorted(debs.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(deb), str(root)], environment, folder)
    for heavy in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(root / heavy, ignore_errors=True)
    shutil.copy(HERE / image.entry_point, root / "entry-point")
    (root / "entry-point").chmod(0o755)
    archive = folder / "root.tar"
    _run(["tar", "--create", "--owner=0", "--group=0", f"--file={archive}", f"--directory={root}", "."])
    changes = [
        'ENTRYPOINT ["/entry-point"]',
        "ENV PATH=/usr/sbin:/usr/bin",
        f"EXPOSE {image.port}",
        "USER 999:999",
    ]
    _run(
        [
            "docker",
            "import",
            *[word for change in changes for word in ("--change", change)],
            str(archive),
            image.tag,
        ]
    )


def _private_apt(suite: str, folder: Path) -> dict[str, str]:
    """Return an environment in which `apt` knows only that suite and keeps everything in the folder."""
    found = _run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Identifier: Packages"]
    )
    archives = [line.split()[0] for line in found.splitlines() if line.endswith(" Debian Debian")]
    if not archives:
        raise ImageUnavailable("this machine's apt knows no archive of Debian")
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb [signed-by={keys}] {archives[0]} {suite} main\n")
    settings = {
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Install-Recommends": "false",
        # Another account could not write into this folder.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
    }
    configuration = folder / "apt.conf"
    configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}


def _closure(image: Image, environment: dict[str, str], folder: Path) -> list[str]:
    """Return the packages and all that they depend on, as name=version."""
    told = _run(["apt-get", "--simulate", "install", *BASE, *image.packages], environment, folder)
    chosen = []
    for line in told.splitlines():
        if line.startswith("Inst "):
            _, name, version = line.split()[:3]
            if not any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT):
                chosen.append(f"{name}={version.lstrip('(')}")
    return chosen


def _lay_out(root: Path) -> None:
    """Make the folders that every Debian system has, and the accounts."""
    for name in (
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "etc",
        "tmp",
        "run",
        "var/tmp",
        "dev",
        "proc",
        "sys",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nserver:x:999:999::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nserver:x:999:\n")


def _run(command: list[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """Run a command to its end and return what it printed."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
            timeout=BUILD_SECONDS_MAX,
            check=True,
        )
    except FileNotFoundError as error:
        raise ImageUnavailable(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ImageUnavailable(f"{' '.join(command[:2])} does not end") from error
    except subprocess.CalledProcessError as error:
        words = " ".join(error.stderr.split())[-500:]
        raise ImageUnavailable(f"{' '.join(command[:2])}: {words}") from error
    return done.stdout


def main() -> None:
    """Build every image and run a container of each, or end with the reason why that cannot be done."""
    host = os.environ.get("MIGRATION_BENCH_TEST_DOCKER") or os.environ.get("DOCKER_HOST")
    os.environ.update({"DOCKER_HOST": host} if host else {})
    try:
        with ThreadPoolExecutor() as threads:
            for image, tag in zip(IMAGES.values(), threads.map(built_image, IMAGES), strict=True):
                _run(["docker", "run", "--rm", f"--publish={image.port}", "--entrypoint=true", tag])
    except ImageUnavailable as unavailable:
        sys.exit(str(unavailable))


if __name__ == "__main__":
    main()
