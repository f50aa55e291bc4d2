"""Fills one empty database by a checkout's own code; run by its path, with that checkout on the path.

The base's database is thus what the base would have made: a dropped index, another type or other data is
part of what is compared.
"""

from __future__ import annotations

import asyncio
import json
import sys

from bench.dataset import DatasetKey, cached
from bench.places import Place, fill
from bench.reference import TABLES


async def filled(backend: str, url: str, scale: float, seed: int) -> None:
    """Fill it, and settle it where the checkout knows how."""
    await fill(Place(backend, "before"), url, cached(DatasetKey(scale, seed, TABLES)))
    try:
        from bench.gate.settling import settle
    except ImportError:
        # An older commit: its statistics are drawn by chance, and nothing else differs.
        return
    await settle(url)


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    asyncio.run(filled(given["backend"], given["url"], given["scale"], given["seed"]))
