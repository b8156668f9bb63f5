"""A study's measurements after training: their settings, and the metrics that they yield."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ablate import data
from ablate.config.knobs.looking import EVALUATE, INSPECT
from ablate.config.settings import of_words
from ablate.errors import AblateError, nearest
from ablate.measure.applicability import may_drop, transformations
from ablate.measure.evaluate_settings import EvaluateSettings, resolved
from ablate.measure.finished import Wanted, names_of_layers
from ablate.metrics import LAYER, METRICS, MOMENTS, metric_of
from ablate.plan import data_checks
from ablate.plan.run import Run
from ablate.study.study import Measurement, Study

Fault = Callable[[str, str], None]

_COMMANDS = ("evaluate", "inspect")
_OFF = {  # group of metrics -> the setting of `ablate evaluate` that leaves it out
    "views": "views=none",
    "dropout": "samples=none",
    "deletion": "delete=false",
    "correlation": "delete=false",
    "perturbation": "perturb=false",
}


def read(given: Any, line: int, fault: Fault) -> Measurement | None:
    """Read the `measure` of a study's file.

    Args:
        given: Its value in the file.
        line: Its line in the file.
        fault: Records a fault: its place in the file, and what is wrong.

    Returns:
        What to measure, or None if something is wrong.
    """
    if not isinstance(given, dict) or not given or not set(given) <= set(_COMMANDS):
        fault("measure", "measure needs evaluate, inspect or both, each a list of settings")
        return None
    words: dict[str, tuple[str, ...] | None] = dict.fromkeys(_COMMANDS)
    sound = True
    for command, value in given.items():
        place = f"measure.{command}"
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            fault(place, f"{place} must be a list of settings of `ablate {command}`")
            sound = False
            continue
        words[command] = tuple(value)
        only = {name: words[name] if name == command else None for name in _COMMANDS}
        try:
            wanted(Measurement(only["evaluate"], only["inspect"]))
        except AblateError as error:
            sound = False
            for told in error.faults:
                fault(place, told)
    return Measurement(words["evaluate"], words["inspect"], line) if sound else None


def wanted(measure: Measurement, device: str = "cpu") -> Wanted:
    """Resolve a study's measurements.

    Args:
        measure: The settings in its file.
        device: Where its runs train, and are measured unless the settings name a device.

    Raises:
        AblateError: A setting is wrong; it lists every fault.
    """
    how = look = None
    if measure.evaluate is not None:
        how = resolved(of_words(EVALUATE, measure.evaluate), device)
    if measure.inspect is not None:
        given = of_words(INSPECT, measure.inspect)
        look, faults = given.values, list(given.faults)
        if look["every"] is not None:
            faults.append(
                f"every={look['every']}: a study inspects its runs only before and after training"
            )
        if faults:
            raise AblateError(*faults)
    return Wanted(how, look)


# -- metrics ---------------------------------------------------------------------------------------


def check_names(values: Mapping[str, Any], study: Study, fault: Fault) -> None:
    """Check that a study measures the metrics that its file names.

    Args:
        values: The file's content.
        study: The study read from it.
        fault: Records a fault: its place in the file, and what is wrong.
    """
    if values.get("measure") is not None and study.measure is None:
        return  # its fault is already recorded
    named = {"metric": study.metric}
    claims = values.get("claims")
    for number, claim in enumerate(claims if isinstance(claims, list) else ()):
        given = claim if isinstance(claim, dict) else {}
        some = {f"claims.{number}.{key}": given.get(key) for key in ("metric", "against_metric")}
        named |= {path: str(name) for path, name in some.items() if name is not None}
    for path, name in named.items():
        if why := why_not_measured(name, study.measure):
            fault(path, why)


def why_not_measured(name: str, measure: Measurement | None) -> str | None:
    """Say why no measurement of a study gives a metric, or None if one does.

    Args:
        name: A metric; None is returned for any that training itself records.
        measure: What the study measures, or None; its settings have been checked.
    """
    metric = metric_of(name)
    if not metric.is_after_training:
        return None
    if measure is None or getattr(measure, metric.kind) is None:
        return (
            f"{name} is measured after training: the study lacks measure: {{{metric.kind}: [...]}}"
        )
    asked = wanted(measure)
    given = names(asked)
    if metric.pattern in given:
        return None
    how = asked.evaluate
    is_off = metric.kind == "evaluate" and how is not None and not _measures(how, metric.group)
    left_out = f" with {_OFF[metric.group]}" if is_off else ""
    spelled = [one.replace(LAYER, "1") for one in given]
    return f"no measurement gives {name}{left_out}{nearest(name, spelled)}"


def names(asked: Wanted) -> list[str]:
    """List the metrics that are measured, with ``<layer>`` for the number of any layer."""
    how, look = asked.evaluate, asked.inspect
    moments = () if look is None else MOMENTS if look["train"] else MOMENTS[:1]
    evaluated = [
        metric.name
        for metric in METRICS.values()
        if metric.kind == "evaluate"
        and how is not None
        and metric.place == how.split
        and _measures(how, metric.group)
    ]
    looked = [m.name for m in METRICS.values() if m.kind == "inspect" and m.place in moments]
    return [*evaluated, *looked]


def _measures(how: EvaluateSettings, group: str) -> bool:
    """Tell whether an evaluation with these settings measures a group of metrics."""
    switched = {
        "views": how.views is not None,
        "dropout": how.samples is not None,
        "deletion": how.delete,
        "correlation": how.delete,
        "perturbation": how.perturb,
    }
    return bool(switched.get(group, True))


# -- runs ------------------------------------------------------------------------------------------


def unfit(study: Study, runs: Sequence[Run]) -> list[str]:
    """List measurements of a study that do not apply to its runs, with file and line.

    Args:
        study: A study whose file has been checked.
        runs: The runs that it reports.
    """
    if study.measure is None:
        return []
    asked = wanted(study.measure)
    arms = {str(run.arm): run for run in reversed(runs)}  # the first run of each
    place = f"{study.file}, line {study.measure.line}"
    faults = [f"{place}: {told}" for told in _idle(asked, list(arms.values()))]
    for claim in study.claims:
        what = claim.compared(study.baseline.name)
        sides = {(what.metric, what.arm), (what.against_metric, what.against)}
        for metric, arm in sorted(sides):
            if why := _lacking(metric, arms[arm], asked):
                faults.append(f"{study.file}, line {claim.line}: {arm} has no {metric}: {why}")
    return faults


def _idle(asked: Wanted, runs: Sequence[Run]) -> list[str]:
    how, faults = asked.evaluate, []
    if any(run.config["save"] == "none" for run in runs):
        faults.append("save=none keeps no weights to measure")
    if how is None:
        return faults
    if "samples" in how.explicit and how.samples and not any(may_drop(r.config) for r in runs):
        faults.append(f"samples={how.samples} touches nothing: no arm has dropout")
    augments = [transformations(how.augmentation(run.config)) for run in runs]
    if "views" in how.explicit and how.views and not any(augments):
        faults.append(
            f"views={how.views} touches nothing: no arm augments, and neither does augment="
        )
    if how.split == "val" and not all(_validates(run) for run in runs):
        faults.append("split=val: data.val_size is 0")
    return faults


def _lacking(name: str, run: Run, asked: Wanted) -> str | None:
    """Say why a run will lack a metric that the study measures, or None."""
    metric, how = metric_of(name), asked.evaluate
    if metric.kind == "evaluate" and how is not None:
        if metric.group == "dropout" and not may_drop(run.config):
            return "no dropout acts in it"
        if metric.group == "views" and not transformations(how.augmentation(run.config)):
            return "it does not augment"
        if metric.group == "calibration" and not _validates(run):
            return "data.val_size is 0"
    of_units = metric.kind == "evaluate" and metric.group in ("correlation", "deletion")
    of_layers = "correlation/mean" if metric.group == "deletion" else metric.path
    if (of_units or metric.kind == "inspect") and of_layers not in names_of_layers(run):
        return "its network has no such layer, or one of another kind"
    return None


def _validates(run: Run) -> bool:
    return data_checks.sizes(run.config, data.facts(run.config["data"])).val > 0
