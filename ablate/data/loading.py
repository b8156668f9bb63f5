"""Brings a data set onto its device, split and ready to train on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ablate.data.reading import read
from ablate.data.splits import sizes, split

if TYPE_CHECKING:
    from ablate.data.tensors import Tensors


def load(config: Mapping[str, Any]) -> Tensors:
    """Bring a configuration's data set onto its device; the last one is kept.

    Args:
        config: A resolved configuration, of which `data`, `device` and `precision` count.

    Raises:
        AblateError: The data set does not read.
    """
    wanted = {name: config[name] for name in ("data", "device", "precision")}
    # The digest tells apart what a relative path meant in another working directory.
    return _load(json.dumps(wanted, sort_keys=True), read(config["data"]).digest)


@lru_cache(maxsize=1)
def _load(wanted: str, digest: str) -> Tensors:
    import torch  # planning imports this module, and starts in a fraction of the time without

    from ablate.data.tensors import DTYPES, to_device

    config = json.loads(wanted)
    source, values = read(config["data"]), config["data"]
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    wish = sizes(values["name"], counts, values.get("train_size"), values.get("val_size"))
    return to_device(
        split(source, wish),
        len(source.classes),
        values.get("image_size"),
        torch.device(config["device"]),
        DTYPES[config["precision"]],
    )
