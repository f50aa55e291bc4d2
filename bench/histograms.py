"""Latencies as HDR percentile files, which other tools plot: one `.hgrm` for each measurement of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hdrh.histogram import HdrHistogram

from bench.measurement import Measurement

NS_PER_MS = 1e6


def write_histograms(measurements: Iterable[Measurement], run_path: Path) -> Path:
    """Write the files into a folder beside the run's JSON, in milliseconds, and give the folder."""
    folder = run_path.with_suffix(".hdr")
    folder.mkdir(exist_ok=True)
    for measurement in measurements:
        crowd = f"{measurement.agents}-agents" if measurement.agents > 1 else ""
        parts = (measurement.operation, measurement.backend, measurement.stage, crowd)
        path = folder / ("_".join(part for part in parts if part) + ".hgrm")
        with path.open("wb") as file:
            HdrHistogram.decode(measurement.histogram).output_percentile_distribution(file, NS_PER_MS)
    return folder
