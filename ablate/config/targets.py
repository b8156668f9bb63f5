"""Finds a class or function of the user's by its dotted path, on the working directory too."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ablate.errors import AblateError, nearest


def source_digest(target: str) -> str | None:
    """Digest the file that a target is defined in; None where there is none to read."""
    module = sys.modules.get(target.rpartition(".")[0])
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]


def locate(target: str, knob: str) -> Any:
    """Import what a `_target_` names.

    Args:
        target: ``package.module.Name``.
        knob: The knob that holds it, for the message.

    Raises:
        AblateError: There is no such module or name, or the module does not import.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise AblateError(f"{knob}={target} is not legal: it takes package.module.Class")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise AblateError(
            f"{knob}={target} does not import: there is no module '{error.name}' (looked in the"
            " working directory and in the installed packages)"
        ) from error
    # The user's module may raise anything when it is imported; a script may even exit.
    except (Exception, SystemExit) as error:
        raise AblateError(
            f"{knob}={target} does not import: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, name):
        raise AblateError(
            f"{knob}={target} does not import: module '{module_name}' has no"
            f" '{name}'{nearest(name, dir(module))}"
        )
    found = getattr(module, name)
    if not callable(found):
        raise AblateError(f"{knob}={target} is no class and no function")
    return found


def made(target: str, knob: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """Make what the user's function or class is called for.

    Args:
        target: ``package.module.name``.
        knob: The knob that holds it, for the message.
        arguments: Further values that the request gives.

    Returns:
        The function with its arguments filled in, or an instance of the class.

    Raises:
        AblateError: It does not import, takes other arguments, or is not made.
    """
    found = locate(target, knob)
    try:
        if not inspect.isclass(found):
            inspect.signature(found).bind_partial(None, **arguments)
            return partial(found, **arguments)
        instance = found(**arguments)
    # The user's constructor may raise anything.
    except Exception as error:
        raise AblateError(
            f"{knob}={target} is not made: {type(error).__name__}: {error}"
        ) from error
    if not callable(instance):
        raise AblateError(f"{knob}={target} gives a {type(instance).__name__}, which has no call")
    return instance


def instantiated(value: Any, knob: str) -> Any:
    """Make what an argument of something of the user's names by `_target_`, at any depth.

    Args:
        value: The argument; without a ``_target_`` in it, it is returned as it is.
        knob: The knob that holds it, for the message.

    Raises:
        AblateError: Something is not made.
    """
    if not (isinstance(value, dict | list) and "_target_" in repr(value)):
        return value
    from hydra.utils import instantiate  # a second, which few runs have use for

    try:
        return (
            instantiate(value, _convert_="all")
            if isinstance(value, dict)
            else [instantiated(inner, knob) for inner in value]
        )
    # It may raise anything, as the user's constructor itself.
    except Exception as error:
        raise AblateError(f"{knob} is not made: {str(error).splitlines()[0]}") from error
