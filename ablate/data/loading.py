"""Puts a data set on its device, split and ready for training."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ablate import environment
from ablate.data.fact_cache import drop, facts_of, planned_state
from ablate.data.reading import Selection, forget, read, reading, selection
from ablate.data.source import Source, most_on_device
from ablate.data.splits import sizes, split, untrained
from ablate.errors import AblateError

if TYPE_CHECKING:
    from ablate.data.tensors import Tensors

_NAMED = 3  # files in a message


def load(config: Mapping[str, Any], digest: str | None = None) -> Tensors:
    """Load a configuration's data set onto its device; the most recent one is cached.

    Args:
        config: A resolved configuration; only `data`, `device`, `precision` and `seeds.split`
            matter.
        digest: The digest of the images when the run was planned. It is part of the run's key, so
            the run must not train on other images.

    Raises:
        AblateError: The data set cannot be read, or has another digest.
    """
    chosen = selection(config["data"])
    source, changed = _source(chosen, digest)
    if digest is not None and source.digest != digest:
        drop(config["data"])
        raise AblateError(_changed(chosen, digest, source.digest, changed))
    wanted = {name: config[name] for name in ("data", "device", "precision")}
    wanted["split"] = config.get("seeds", {}).get("split")  # an older record has none
    # The digest is part of the cache's key, as a relative path depends on the working directory.
    return _load(json.dumps(wanted, sort_keys=True), source.digest)


def _source(chosen: Selection, digest: str | None) -> tuple[Source, list[str]]:
    """Read a data set, again if its files have changed; say which have."""
    planned = planned_state(chosen) if digest is not None else None
    found = reading(chosen, digest)
    if digest is None or found.state is None:
        return found.source, []
    now = chosen.state()
    if now is not None and now.digest == found.state.digest:
        return found.source, [] if planned is None else planned.changes(now)
    changed = found.state.changes(now)
    forget(chosen)
    return reading(chosen).source, changed


def _changed(chosen: Selection, planned: str, now: str, changed: Sequence[str]) -> str:
    again = "run the same command again to plan with the current images"
    if chosen.dataset.files is None:
        again += ". If nothing has changed, the data set returns different items each time: remove"
        again += " what is random from its __getitem__ (augment.* shifts, crops and flips)"
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    which = f": {'; '.join(changed[:_NAMED])}{more}" if changed else ""
    return (
        f"data={chosen.name}: the images have changed since this run was planned{which} (the"
        f" digest was {planned}, now it is {now}); {again}"
    )


@lru_cache(maxsize=1)
def _load(wanted: str, digest: str) -> Tensors:
    import torch  # here, since planning imports this module and must start fast

    from ablate.data.tensors import DTYPES, to_device

    config = json.loads(wanted)
    source, values = read(config["data"]), config["data"]
    kind, facts = values.get("split_by") or "order", facts_of(source)
    by_class = facts.by_class if kind == "content" else None
    asked = values.get("train_size"), values.get("val_size")
    wish = sizes(values["name"], facts.counts, *asked, by_class)
    parts = split(source, wish, config["split"], by=kind, name=values["name"])
    if values.get("train_size") is None:  # else few images were asked for
        for note in untrained(parts, source.classes):
            print(f"ablate: {note}", file=sys.stderr)
    return to_device(
        parts,
        len(source.classes),
        values.get("image_size"),
        torch.device(config["device"]),
        DTYPES[config["precision"]],
        most_on_device(environment.cuda().memory) if config["device"] == "cuda" else None,
    )
