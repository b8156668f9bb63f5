"""From a composed configuration to a run: every value checked, every `auto` resolved.

Values are brought to one form (a rate given for each of several layers alike becomes the rate
itself, a pinned seed that equals the run's is no pin), so that equal runs have equal keys.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate import conf, data, schema
from ablate.data.fetch import DownloadError
from ablate.data.source import Source
from ablate.errors import AblateError, nearest
from ablate.nets.shapes import block_shapes
from ablate.plan.run import Run, key
from ablate.schema import BY_NAME, shown

# What an option cannot do without, though its file names no value.
_NEEDED = {
    ("data", "folder"): "root",
    ("data", "custom"): "_target_",
    ("model", "custom"): "_target_",
}


def resolve(cfg: DictConfig, explicit: Set[str], earlier: Sequence[str] = ()) -> Run:
    """Check and resolve one run.

    Args:
        cfg: What Hydra composed.
        explicit: Names of the knobs that the request itself sets; those are to act.
        earlier: Faults that are known already, to be told with those found here.

    Raises:
        AblateError: Something is wrong; every fault is told.
        DownloadError: The data set is not there and could not be fetched.
    """
    config = _without_foreign_defaults(_contents(cfg), explicit)
    faults = [*earlier, *_illegal(config, explicit)]
    lacking = _lacking(config)
    if lacking:  # the other checks would have nothing to stand on
        raise AblateError(*faults, *lacking)
    sound = {name for name in schema.flatten(config) if not _fault_of(config, name)}
    faults += _wrong_lengths(config, sound) + _idle(config, explicit) + _contradictions(config)
    faults += _unwritable(config)
    if config["device"] == "cuda":
        faults += _resolve_device(config)
    source: Source | None = None
    if _knows_its_data(config, sound) and (not faults or _is_at_hand(config["data"])):
        try:
            source = data.read(config["data"])
            faults += _against_the_data(config, source, sound)
        except DownloadError:
            if not faults:
                raise
        except AblateError as error:
            faults += error.faults
    if faults:
        raise AblateError(*faults)
    assert source is not None, "a data set that does not read is a fault"
    _resolve_device(config)
    config = _canonical(config)
    if config["model"]["name"] == "custom":
        _try_own_model(config, source)
    if config["batch_size"] == "full":
        config["batch_size"] = _sizes(config, source).train
    return Run(config, source.digest, key(config, source.digest))


def _contents(cfg: DictConfig) -> dict[str, Any]:
    """Take a configuration out of its wrapping; what is missing (???) becomes None."""
    plain = OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"])
    try:
        for name in OmegaConf.missing_keys(plain):
            OmegaConf.update(plain, name, None)
        config = OmegaConf.to_container(plain, resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise AblateError(f"the configuration does not resolve: {reason}") from error
    assert isinstance(config, dict), "a configuration is a mapping"
    return {str(k): v for k, v in config.items()}


def _without_foreign_defaults(config: dict[str, Any], explicit: Set[str]) -> dict[str, Any]:
    """Leave a user's own network as its constructor draws it, unless the request says otherwise."""
    own = schema.get(config, "model.name") == "custom"
    if own and not any(name.startswith("init.") for name in explicit):
        return config | {"init": conf.option("init", "own")}
    return config


# -- faults ----------------------------------------------------------------------------------------


def _fault_of(config: Mapping[str, Any], name: str) -> str | None:
    knob = BY_NAME.get(name)
    return None if knob is None else knob.fault(schema.get(config, name))


def _illegal(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    faults = _needs(config, explicit)
    for name, value in schema.flatten(config).items():
        group = name.partition(".")[0]
        if name not in BY_NAME:
            if group in ("model", "data") and schema.get(config, f"{group}.name") == "custom":
                continue
            faults.append(f"there is no knob {name}{nearest(name, BY_NAME)}")
            continue
        missing = (
            value is None and _NEEDED.get((group, _option(config, group))) == name[len(group) + 1 :]
        )
        fault = None if missing else BY_NAME[name].fault(value)
        faults += [fault] if fault else []
    return faults


def _needs(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    faults = []
    for (group, option), part in _NEEDED.items():
        knob = BY_NAME[f"{group}.{part}"]
        if _option(config, group) != option or schema.get(config, knob.name) is not None:
            continue
        if knob.name not in explicit or knob.null:  # else its own fault has been told
            faults.append(f"{group}={option} needs {knob.name}=... ({knob.type})")
    return faults


def _option(config: Mapping[str, Any], group: str) -> str:
    return str(schema.get(config, f"{group}.name"))


def _lacking(config: Mapping[str, Any]) -> list[str]:
    """Say what a configuration of the user's own leaves out."""
    wanted = list(schema.flatten(conf.top()))
    for group, options in conf.groups().items():
        if group not in config:
            wanted.append(group)
        elif group not in schema.OPTIONS:
            wanted += [f"{group}.{part}" for part in conf.option(group, options[0])]
        elif _option(config, group) in options:
            wanted += [f"{group}.{part}" for part in conf.option(group, _option(config, group))]
        else:
            wanted.append(f"{group}.name")
    lacking = [n for n in wanted if schema.get(config, n, schema.UNSET) is schema.UNSET]
    if not lacking:
        return []
    hint = "a configuration whose defaults begin with `- config` has them all"
    return [f"the configuration lacks {', '.join(lacking)}; {hint}"]


def _layers(config: Mapping[str, Any], name: str) -> int | None:
    """Count the layers that a per-layer knob speaks of, where the model says."""
    part = {"dropout.conv": "channels", "dropout.dense": "hidden"}[name]
    layers = config["model"].get(part)
    return len(layers) if isinstance(layers, list) else None


def _wrong_lengths(config: Mapping[str, Any], sound: Set[str]) -> list[str]:
    faults = []
    for name, part in (("dropout.conv", "channels"), ("dropout.dense", "hidden")):
        rates, layers = schema.get(config, name), _layers(config, name)
        if name not in sound or not isinstance(rates, list) or layers is None:
            continue
        if len(rates) != layers and layers > 0:
            have = f"model.{part}={shown(config['model'][part])}"
            faults.append(
                f"{name}={shown(rates)} has {_count(len(rates), 'rate')}, and {have} has"
                f" {_count(layers, 'layer')}: give one rate, or one for each layer"
            )
    return faults


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _idle(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    faults = []
    for name in sorted(explicit):
        knob, value = BY_NAME.get(name), schema.get(config, name)
        if knob is None or knob.idle is None or knob.fault(value):
            continue
        if knob.off is not schema.UNSET and _all_off(value, knob.off):
            continue
        reason = knob.idle(config)
        if reason:
            label = name.removesuffix(".name")
            faults.append(f"{label}={shown(value)} touches nothing: {reason}")
    if "dropout" in explicit:
        rates = {f"dropout.{k}": v for k, v in config["dropout"].items() if not _all_off(v, 0)}
        reasons = [BY_NAME[k].idle(config) for k in rates]  # type: ignore[misc]
        if rates and all(reasons):
            faults.append(f"dropout={_dropout_option(config)} touches nothing: {reasons[-1]}")
    return faults


def _dropout_option(config: Mapping[str, Any]) -> str:
    options = conf.groups()["dropout"]
    return next((o for o in options if conf.option("dropout", o) == config["dropout"]), "...")


def _all_off(value: Any, off: Any) -> bool:
    return all(v == off for v in value) if isinstance(value, list) and value else value == off


def _contradictions(config: Mapping[str, Any]) -> list[str]:
    faults = []
    if config["init"]["name"] == "own" and config["model"]["name"] != "custom":
        faults.append("init=own leaves weights as your own model draws them: choose another init")
    if config["norm"]["name"] == "batch" and config.get("batch_size") == 1:
        faults.append("norm=batch needs batch_size ≥ 2: one image has no batch statistics")
    return faults


def _knows_its_data(config: Mapping[str, Any], sound: Set[str]) -> bool:
    values = config["data"]
    needed = {"folder": "root", "custom": "_target_"}.get(values["name"])
    if needed is not None and values.get(needed) is None:
        return False
    return all(name in sound for name in schema.flatten(values, "data."))


def _is_at_hand(values: Mapping[str, Any]) -> bool:
    """Tell whether reading a data set downloads nothing."""
    name = values["name"]
    return name not in data.FETCHED or data.present(name, data.home(values.get("root")))


def _against_the_data(config: Mapping[str, Any], source: Source, sound: Set[str]) -> list[str]:
    if "batch_size" not in sound:
        return []
    try:
        sizes = _sizes(config, source)
    except AblateError as error:
        return list(error.faults)
    faults = []
    batch = config["batch_size"]
    if batch != "full" and batch > sizes.train:
        faults.append(
            f"batch_size={batch} is more than the {_count(sizes.train, 'training image')}: it takes"
            f" a whole number from 1 to {sizes.train}, or full"
        )
    if config["norm"]["name"] == "batch" and sizes.train < 2:
        faults.append("norm=batch needs at least 2 training images")
    if sizes.val == 0 and config["select"] == "best":
        faults.append("select=best needs validation images: data.val_size is 0")
    if config["model"]["name"] == "cnn" and _model_is_sound(sound):
        size = config["data"].get("image_size")
        _, height, width = source.shape
        try:
            block_shapes(config["model"], size or height, size or width)
        except AblateError as error:
            faults += error.faults
    return faults


def _model_is_sound(sound: Set[str]) -> bool:
    parts = ("channels", "kernel_size", "stride", "padding", "pool")
    return {f"model.{part}" for part in parts} <= sound


def _sizes(config: Mapping[str, Any], source: Source) -> data.Sizes:
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    values = config["data"]
    return data.sizes(values["name"], counts, values.get("train_size"), values.get("val_size"))


def _unwritable(config: Mapping[str, Any]) -> list[str]:
    if not isinstance(config.get("out"), str | int | float) or config["out"] == "":
        return []
    place = Path(str(config["out"])).expanduser() / str(_name(config))
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return [f"out={config['out']}: {place} is a file, and runs cannot be recorded below it"]
    try:
        with tempfile.TemporaryFile(dir=place):
            return []
    except OSError as error:
        return [f"out={config['out']}: {place} is not writable ({error.strerror}); name another"]


def _resolve_device(config: dict[str, Any]) -> list[str]:
    """Resolve `device=auto`, and refuse a device that is not there."""
    if config.get("device") not in ("auto", "cuda"):
        return []
    import torch

    there = torch.cuda.is_available()
    if config["device"] == "cuda" and not there:
        return ["device=cuda: torch finds no CUDA device here; device=auto or cpu trains without"]
    config["device"] = "cuda" if there else "cpu"
    return []


def _try_own_model(config: Mapping[str, Any], source: Source) -> None:
    """Build the user's network and send two images through it, before anything starts."""
    import torch

    from ablate.nets.build import build

    channels, height, width = source.shape
    size = config["data"].get("image_size")
    shape = (channels, size or height, size or width)
    classes = len(source.classes)
    module = build(config, shape, classes)
    target = config["model"]["_target_"]
    try:
        with torch.no_grad():
            logits = module.eval()(torch.zeros(2, *shape))
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"model._target_={target} does not take images of shape {list(shape)}:"
            f" {type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise AblateError(
            f"model._target_={target} gives {got} for 2 images: logits [2, {classes}] are needed"
        )
    if not any(p.requires_grad for p in module.parameters()):
        raise AblateError(f"model._target_={target} has no parameter to train")


# -- one form for equal runs -----------------------------------------------------------------------


def _canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """Bring legal values to one form."""
    new = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    for name in schema.flatten(config):
        knob = BY_NAME.get(name)
        if knob is None:
            continue
        group, _, leaf = name.rpartition(".")
        node = new[group] if group else new
        node[leaf] = _one_form(knob, node[leaf])
    seeds = new.get("seeds", {})
    new["seeds"] = {k: None if v == new.get("seed") else v for k, v in seeds.items()}
    if new.get("precision") == "auto":
        new["precision"] = "fp32"
    new["name"] = _name(new)
    return new


def _name(config: Mapping[str, Any]) -> Any:
    """Name the sweep's folder."""
    name = config["name"]
    return f"{_title(config['data'])}-{_title(config['model'])}" if name is None else name


def _title(part: Mapping[str, Any]) -> str:
    """Name a data set or a network: a user's own by its class."""
    return str(part["_target_"]).rpartition(".")[2] if part.get("_target_") else str(part["name"])


def _one_form(knob: schema.Knob, value: Any) -> Any:
    if isinstance(knob.type, schema.Real) and isinstance(value, int):
        return float(value)
    if isinstance(knob.type, schema.Text) and value is not None:
        return str(value)
    if isinstance(knob.type, schema.ListOf) and isinstance(knob.type.item, schema.Real):
        many = [float(v) for v in value] if isinstance(value, list) else float(value)
        if isinstance(many, list) and many and len(set(many)) == 1:
            return many[0]
        return many
    return value
