"""Turns a composed configuration into a run: checks values and resolves `auto`.

`device=auto` is the exception: it is settled later, and only if something is left to train.

Equal settings are written in one form, so that equal runs have equal keys: a list of equal rates
becomes a single rate, and a pinned seed that equals the run's seed becomes null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from ablate import data, environment, record
from ablate.config import files, schema
from ablate.config.effect import SOLVERS
from ablate.config.knobs.run import CLUSTERS
from ablate.config.types import ListOf, Real, Text
from ablate.data.fetch import DownloadError
from ablate.data.registry import DATASETS
from ablate.errors import AblateError
from ablate.nets.gains import gain_of
from ablate.plan import checks, code, data_checks, memory, own_code
from ablate.plan.compose import Contents, resolved
from ablate.plan.run import Run, images_of, key, sweep_name


def resolve(contents: Contents, explicit: Set[str], earlier: Sequence[str] = ()) -> Run:
    """Check and resolve one run.

    Args:
        contents: The composed configuration, nested and plain.
        explicit: Names of the knobs that the request itself sets; each must have an effect.
        earlier: Faults found before, to report together with those found here.

    Raises:
        AblateError: Something is wrong; it lists every fault.
        DownloadError: The data set is missing and could not be downloaded.
    """
    config = _without_foreign_defaults(resolved(contents), explicit)
    found = [*earlier, *checks.illegal(config, explicit)]
    lacking = checks.lacking(config)
    if lacking:  # the other checks need these values
        raise AblateError(*found, *lacking)
    sound = checks.sound_names(config)
    found += checks.wrong_lengths(config, sound)
    found += checks.idle(config, explicit)
    found += checks.contradictions(config, explicit, sound)
    unwritable = checks.unwritable(config)
    if config["device"] == "cuda" and config["launch"] not in CLUSTERS:
        found += environment.lacks_cuda()
    facts = _facts(config, sound, explicit, found)
    if found:
        raise AblateError(*found, *unwritable)
    assert facts is not None, "a data set that cannot be read is a fault"
    config = _canonical(config, facts)
    shape, classes = data_checks.shape_of(config, facts), len(facts.classes)
    sizes = data_checks.sizes(config, facts)
    if found := memory.too_large(config, images_of(config, shape, classes, sizes)):
        raise AblateError(*found)
    runs_on = code.code_of(config)
    trial = own_code.try_out(config, shape, classes, runs_on)
    code.require_loaded(config, runs_on)
    data_checks.check_newton(config, shape, classes)
    run = Run(
        config,
        facts.digest,
        key(config, facts.digest, runs_on),
        shape,
        classes,
        sizes,
        trial.alone,
        plain=trial.plain,
        code=runs_on,
    )
    if unwritable and not _has_ended(run):
        raise AblateError(*unwritable)
    return run


def _has_ended(run: Run) -> bool:
    """Tell whether a run has ended: it can be shown even if nothing can be written."""
    found = record.standing(run.directory)
    return found is not None and found.has_ended(run.config["rerun"])


def _facts(
    config: Mapping[str, Any], sound: Set[str], explicit: Set[str], found: list[str]
) -> data.Facts | None:
    """Look up the data set and check the run against it. A wrong request downloads nothing."""
    if not data_checks.knows_its_data(config, sound):
        return None
    if found and not data.is_at_hand(config["data"]):
        return None
    try:
        facts = data.facts(config["data"])
    except DownloadError:
        raise
    except AblateError as error:
        found += error.faults
        return None
    found += data_checks.against_the_data(config, facts, sound, explicit)
    return facts


def _without_foreign_defaults(config: dict[str, Any], explicit: Set[str]) -> dict[str, Any]:
    """Replace defaults that do not suit the model or the optimizer; what the request sets stays.

    A user's own network keeps the weights that its constructor draws; a solver takes full batches.
    """
    own_model = schema.get(config, "model.name") == "custom"
    if own_model and not any(name.startswith("init.") for name in explicit):
        config = config | {"init": files.option("init", "own")}
    if schema.get(config, "optimizer.name") in SOLVERS and "batch_size" not in explicit:
        config = config | {"batch_size": "full"}
    return config


# -- one form for equal runs -----------------------------------------------------------------------


def _canonical(config: Mapping[str, Any], facts: data.Facts) -> dict[str, Any]:
    """Normalize legal values."""
    new = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    for name, value, knob in schema.entries(config):
        group, _, leaf = name.rpartition(".")
        if knob is not None and group != "model.activation":
            node = new[group] if group else new
            node[leaf] = _one_form(knob, value)
    new["seeds"] = _canonical_seeds(new)
    if new.get("precision") == "auto":
        new["precision"] = "fp32"
    if new["init"].get("gain") == "auto":
        new["init"]["gain"] = _gain(new)
    new["name"] = sweep_name(new)
    _canonical_sizes(new, facts)
    return new


def _canonical_seeds(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write seeds that equal `seed` as null; the split's as a number, since null means fixed."""
    seed, seeds = config["seed"], config["seeds"]
    found = {name: None if value == seed else value for name, value in seeds.items()}
    if "split" in seeds:
        found["split"] = seed if seeds["split"] == "seed" else seeds["split"]
    return found


def _gain(config: Mapping[str, Any]) -> float:
    """Find an activation's factor on the scheme's deviation; He schemes include ReLU's."""
    gain = gain_of(config["model"]["activation"])
    he = config["init"]["name"].startswith("he_")
    return gain / gain_of("relu") if he else gain


def _canonical_sizes(new: dict[str, Any], facts: data.Facts) -> None:
    """Write a size that equals the data set's default as null, and a full batch as a number."""
    wanted, values = data_checks.sizes(new, facts), new["data"]
    # A batch larger than the data set is the default: the request may not set one.
    if new["batch_size"] == "full" or new["batch_size"] > wanted.train:
        new["batch_size"] = wanted.train
    for name, number in (("val_size", wanted.val), ("train_size", wanted.train)):
        default = data_checks.sizes({"data": values | {name: None}}, facts)
        if number == getattr(default, name.removesuffix("_size")):
            values[name] = None
    _, height, width = facts.shape
    # If the reader resizes images, their files may hold other sizes.
    read_so = "image_size" in DATASETS[values["name"]].settings
    if not read_so and values.get("image_size") == height == width:
        values["image_size"] = None


def _one_form(knob: schema.Knob, value: Any) -> Any:
    if isinstance(knob.type, Real) and isinstance(value, int):
        return float(value)
    if isinstance(knob.type, Text) and value is not None:
        return str(value)
    if isinstance(knob.type, ListOf) and isinstance(knob.type.item, Real) and value is not None:
        many = [float(v) for v in value] if isinstance(value, list) else float(value)
        if knob.type.or_one and isinstance(many, list) and many and len(set(many)) == 1:
            return many[0]
        return many
    return value
