"""The base commit as a folder of its own, and which files decide how a database is filled."""

from __future__ import annotations

import compileall
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILLING = (
    *("bench/reference", "bench/dataset.py", "bench/filler.py", "bench/loading.py", "bench/places.py"),
    *(
        "bench/search_index.py",
        "bench/tuning.py",
        "bench/message_counts.py",
        "bench/subject.py",
        "bench/gate/settling.py",
    ),
)
"""Two checkouts in which these are equal fill equal databases, and may share one."""


class NoBase(Exception):
    """The base commit cannot be had; the message says why."""


@contextmanager
def checked_out(repository: Path, ref: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Give a folder with the files of a commit, and the commit's name.

    The files come from `git archive`, not from `git worktree`: nothing is written into the repository, and
    a run that is killed leaves nothing behind in it.
    """
    commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
    packed = _git(repository, "archive", "--format=tar", commit)
    tree = folder / "base"
    tree.mkdir()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tree, filter="data")
    # Each group of processes imports it anew, and none of them writes into the folder that it runs from.
    compileall.compile_dir(tree / "bench", quiet=2)
    yield tree, commit


def filling_of(tree: Path) -> str:
    """Give a digest of everything that decides how a database is filled."""
    digest = hashlib.sha256()
    for name in FILLING:
        path = tree / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(str(file.relative_to(tree)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _git(repository: Path, *arguments: str) -> bytes:
    try:
        asked = subprocess.run(
            ["git", "-C", str(repository), *arguments],  # noqa: S607  whichever git the user has
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise NoBase("git is not installed") from None
    if asked.returncode != 0:
        complaint = asked.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise NoBase(f"git {arguments[0]} {arguments[-1]} fails: {complaint or 'there is no such commit'}")
    return asked.stdout
