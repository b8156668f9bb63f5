"""Puts a data set on its device, split and ready for training."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ablate.data.fact_cache import drop, facts_of
from ablate.data.reading import read
from ablate.data.splits import sizes, split, untrained
from ablate.errors import AblateError

if TYPE_CHECKING:
    from ablate.data.tensors import Tensors


def load(config: Mapping[str, Any], digest: str | None = None) -> Tensors:
    """Load a configuration's data set onto its device; the most recent one is cached.

    Args:
        config: A resolved configuration; only `data`, `device`, `precision` and `seeds.split`
            matter.
        digest: The digest of the images that a run was planned with. It is part of the run's key,
            so the run must not train on other images.

    Raises:
        AblateError: The data set cannot be read, or has another digest.
    """
    source = read(config["data"])
    if digest is not None and source.digest != digest:
        drop(config["data"])
        raise AblateError(
            f"data={config['data']['name']}: the images have changed since this run was planned"
            f" (their digest was {digest}, now it is {source.digest}); the same command plans anew"
            " with the current images"
        )
    wanted = {name: config[name] for name in ("data", "device", "precision")}
    wanted["split"] = config.get("seeds", {}).get("split")  # an older record has none
    # The digest is part of the cache's key, as a relative path depends on the working directory.
    return _load(json.dumps(wanted, sort_keys=True), source.digest)


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
    )
