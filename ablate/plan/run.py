"""A run: a resolved configuration, its identity and its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate import environment, record
from ablate.config import schema
from ablate.data import Sizes
from ablate.data.registry import DATASETS
from ablate.train.footprint import Images


@dataclass(frozen=True)
class Run:
    """One network to train.

    Attributes:
        config: The resolved configuration, nested.
        digest: The data's digest.
        key: The run's identity, 16 hex digits.
        shape: Channels, height and width of an image, as the network sees it.
        classes: Number of classes K.
        sizes: How many images each split has.
        alone: Why the network cannot be batched under vmap, or None.
        study: The study that it belongs to, or None.
        arm: Its arm there, or None.
        plain: Why the network gets its images channels first in memory, or None.
        code: The user's own code that it uses, or None.
    """

    config: Mapping[str, Any]
    digest: str
    key: str
    shape: tuple[int, int, int]
    classes: int
    sizes: Sizes
    alone: str | None = None
    study: str | None = None
    arm: str | None = None
    plain: str | None = None
    code: record.Code | None = None

    @property
    def images(self) -> Images:
        """What its images take in memory."""
        return images_of(self.config, self.shape, self.classes, self.sizes)

    @property
    def sweep(self) -> Path:
        """The folder of its sweep."""
        return Path(self.config["out"]).expanduser() / str(self.config["name"])

    @property
    def directory(self) -> Path:
        """Its own folder."""
        return self.sweep / self.key

    def settled(self) -> Run:
        """Return the same run with its device resolved: ``cpu`` or ``cuda``."""
        return self.on(environment.resolved_device(self.config["device"]))

    def on(self, device: str) -> Run:
        """Return the same run with its device set: ``cpu`` or ``cuda``."""
        return replace(self, config={**self.config, "device": device})

    @property
    def only_tunes(self) -> bool:
        """Whether it only tunes a study's knobs for an arm, and is not reported."""
        return self.study is None and self.arm is not None


def images_of(
    config: Mapping[str, Any], shape: tuple[int, int, int], classes: int, sizes: Sizes
) -> Images:
    """Describe what images take in memory; a user's own arrays may be float32."""
    values = config["data"]
    known = DATASETS[values["name"]]
    resized = values.get("image_size") is not None and "image_size" not in known.settings
    return Images(
        shape,
        classes,
        sizes,
        pixel=4 if values["name"] in ("custom", "npz") else 1,
        mapped=known.kept and bool(values.get("cache_gb")) and not resized,
    )


def key(config: Mapping[str, Any], digest: str, code: Mapping[str, Any] | None = None) -> str:
    """Compute a run's identity.

    It covers every result knob that is not off, the data, and the user's own code. Leaving out
    knobs that are off keeps old keys valid when a knob is added.

    Args:
        config: A resolved configuration.
        digest: The data's digest.
        code: The user's own code that it uses, as digested by `ablate.plan.code`.

    Returns:
        16 hex digits of SHA-256.
    """
    acting = {
        name: value for name, value, knob in schema.entries(config) if _is_result(knob, value)
    }
    parts = {"data": digest, "knobs": acting} | ({"code": dict(code)} if code else {})
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_result(knob: schema.Knob | None, value: Any) -> bool:
    if knob is None:
        return True  # an argument of the user's own class
    return knob.role == "result" and not schema.is_off(knob, value)


def sweep_name(config: Mapping[str, Any]) -> Any:
    """Name the sweep's folder: as asked, else after the data set and the network."""
    name = config["name"]
    return f"{_title(config['data'])}-{_title(config['model'])}" if name is None else name


def _title(part: Mapping[str, Any]) -> str:
    """Name a data set or a network: a user's own by its class."""
    return str(part["_target_"]).rpartition(".")[2] if part.get("_target_") else str(part["name"])
