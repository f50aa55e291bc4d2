"""Holds what is read and written against `results/schema.json`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match


def misfit(document: Any, definition: str) -> str | None:
    """Tell where a document does not fit a definition of the schema, and why; None when it fits."""
    worst = best_match(_validator(definition).iter_errors(document))
    if worst is None:
        return None
    place = "/".join(str(part) for part in worst.absolute_path) or "its top"
    return f"does not fit the schema at {place}: {worst.message[:200]}"


@cache
def _validator(definition: str) -> Draft202012Validator:
    # In a wheel the schema lies beside this file, in a checkout beside the results.
    here = Path(__file__).resolve()
    places = (here.with_name("schema.json"), here.parents[1] / "results" / "schema.json")
    path = next((place for place in places if place.exists()), places[-1])
    schema = orjson.loads(path.read_bytes())
    return Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"})
