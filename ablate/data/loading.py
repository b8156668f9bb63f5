"""Brings a data set onto its device, split and ready to train on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ablate.data.fact_cache import drop, facts_of
from ablate.data.reading import read
from ablate.data.splits import sizes, split
from ablate.errors import AblateError

if TYPE_CHECKING:
    from ablate.data.tensors import Tensors


def load(config: Mapping[str, Any], digest: str | None = None) -> Tensors:
    """Bring a configuration's data set onto its device; the last one is kept.

    Args:
        config: A resolved configuration, of which `data`, `device` and `precision` count.
        digest: That of the images that a run was planned with. Its key was made of it, so it must
            not train on others.

    Raises:
        AblateError: The data set does not read, or has another digest.
    """
    source = read(config["data"])
    if digest is not None and source.digest != digest:
        drop(config["data"])
        raise AblateError(
            f"data={config['data']['name']}: the images have changed since they were looked at to"
            f" plan this run (their digest was {digest}, now it is {source.digest}); the same"
            " command again plans with what is there now"
        )
    wanted = {name: config[name] for name in ("data", "device", "precision")}
    # The digest tells apart what a relative path meant in another working directory.
    return _load(json.dumps(wanted, sort_keys=True), source.digest)


@lru_cache(maxsize=1)
def _load(wanted: str, digest: str) -> Tensors:
    import torch  # planning imports this module, and starts in a fraction of the time without

    from ablate.data.tensors import DTYPES, to_device

    config = json.loads(wanted)
    source, values = read(config["data"]), config["data"]
    counts = facts_of(source).counts
    wish = sizes(values["name"], counts, values.get("train_size"), values.get("val_size"))
    return to_device(
        split(source, wish),
        len(source.classes),
        values.get("image_size"),
        torch.device(config["device"]),
        DTYPES[config["precision"]],
    )
