"""What a single override says: its values, its slot, and what is wrong with its name."""

from __future__ import annotations

import re
from math import ceil
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString, RangeSweep
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from ablate.config import files, schema
from ablate.errors import listed, nearest


def count_of(override: Override) -> int:
    """Count the values of an override without listing them: a range may have billions.

    Raises:
        ValueError: A range has no step.
    """
    sweep = override.value()
    if not isinstance(sweep, RangeSweep):
        return len(values_of(override))
    start, stop, step = sweep.start or 0, sweep.stop or 0, sweep.step
    if not step:
        raise ValueError("a range needs a step that is not 0")
    return max(0, ceil((stop - start) / step))


def values_of(override: Override) -> list[Any]:
    """List the values of an override; none for an interval."""
    if override.is_interval_sweep():
        return []
    if override.is_sweep_override():
        return [_plain(value) for value in override.sweep_iterator()]
    return [_plain(override.value())]


def _plain(value: Any) -> Any:
    """Unwrap what the grammar wraps: quoted text, and the prefix that a sweep's iterator keeps."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def is_interpolation(value: Any) -> bool:
    """Tell whether a value refers to another."""
    return isinstance(value, str) and "${" in value


def slot_of(override: Override) -> str | None:
    """Tell where an override puts a user's class."""
    slot = override.key_or_group.removesuffix("._target_")
    return slot if slot != override.key_or_group and slot in schema.SLOTS else None


# -- its name --------------------------------------------------------------------------------------


def misplaced(base: DictConfig, override: Override, argument: bool) -> str | None:
    """Say what is wrong with an override's name in a composition, or None.

    Args:
        base: What the choice of options composes to.
        override: The override.
        argument: Whether its name is an argument of a user's class.
    """
    name = override.key_or_group
    if name.split(".")[0] == "hydra":
        return _decided_here(override)
    if override.is_delete():
        return f"{override.input_line}: a knob cannot be left out; set it to a value"
    if _exists(base, name):
        if name in schema.BY_NAME and name.endswith(".name"):
            group = name.partition(".")[0]
            value = str(override.input_line).partition("=")[2]
            return f"{override.input_line}: write {group}={value}, which also sets its defaults"
        if name not in schema.BY_NAME and OmegaConf.is_dict(OmegaConf.select(base, name)):
            return _not_a_knob(name)
        if override.is_add():
            plain = str(override.input_line).lstrip("+")
            return f"{override.input_line}: {name} already exists; write {plain}"
        return None
    group = name.partition(".")[0]
    if argument or (name == "model.activation._target_" and _exists(base, "model.activation")):
        return None
    if name in schema.LATER:
        return None
    if name not in schema.BY_NAME:
        return _not_a_knob(name)
    choice = OmegaConf.select(base, f"{group}.name")
    have = files.owners(name)
    return f"{name} touches nothing with {group}={choice}" + (
        f": it belongs to {listed(have)}" if have else ""
    )


def _decided_here(override: Override) -> str | None:
    """Say which of Hydra's settings users may not set."""
    if override.is_sweep_override():
        return f"{override.input_line} names several values: a setting of Hydra's own takes one"
    plugin = re.fullmatch(r"hydra\.(launcher|sweeper)\._target_", override.key_or_group)
    if plugin and override.value() not in Plugins.instance().class_name_to_class:
        return (
            f"{override.input_line} is not a plugin of Hydra's: choose with hydra/{plugin[1]}=NAME"
        )
    if override.key_or_group == "hydra.mode":
        return f"{override.input_line}: `ablate run -m` makes a multirun, `ablate run` one run"
    if override.key_or_group.split(".")[1:2] in (["run"], ["sweep"]):
        return f"{override.input_line}: a run's folder is out/name/key; set out or name instead"
    if override.key_or_group == "hydra.output_subdir":
        return f"{override.input_line}: a run keeps its composed configuration in .hydra/"
    if override.key_or_group == "hydra.job.chdir":
        return f"{override.input_line}: paths are relative to where the command was started"
    return None


def _not_a_knob(name: str) -> str:
    if name == "study":
        return "a study is named with a plus: +study=NAME"
    group, _, rest = name.partition(".")
    inside = [k for k in schema.BY_NAME if k.startswith(f"{group}.") and not k.endswith(".name")]
    if rest.endswith("_target_") and name not in schema.BY_NAME:
        own = [f"{slot}._target_" for slot in schema.SLOTS]
        return f"there is no knob {name}: your own code can go into {listed(own)}"
    if group in files.groups() or inside:
        hint = nearest(name, inside)
        if rest:
            return f"there is no knob {name}{hint}" + (
                "" if hint else f"; there are {listed(inside)}"
            )
        return f"{name} is a group of knobs: name one of {listed(inside)}"
    everything = [*schema.BY_NAME, *files.groups()]
    same = [k for k in schema.BY_NAME if k.endswith(f".{name}")]
    hint = f"; did you mean {listed(same)}?" if same else nearest(name, everything)
    return f"there is no knob or group {name}{hint or '; conf/README.md lists them all'}"


def _exists(base: DictConfig, name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    node = OmegaConf.select(base, parent) if parent else base
    # A missing value (???) is not `in` a DictConfig, but its key is there.
    return isinstance(node, DictConfig) and leaf in set(node.keys())
