"""Finds a user's class or function by its dotted path, also in the working directory.

`config.trust` decides whether a name from a file may be imported at all. What is found must be of
the kind that its place takes, which is checked before it is called.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, get_type_hints

from ablate.errors import AblateError, nearest

_LIBRARIES: Final = ("site-packages", "dist-packages")  # where packages are installed
_SPECIAL: Final = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")  # Hydra's words
_HARMLESS: Final = ("builtins", "collections", "datetime", "decimal", "fractions", "pathlib")


@dataclass(frozen=True)
class Kind:
    """What a place takes.

    Attributes:
        name: In words, without an article: ``torch.nn.Module``.
        takes: Tells whether the instances of a class are of that kind.
        calls: Whether a function is called for what it makes. Otherwise the function itself fills
            the place, and gets tensors.
    """

    name: str
    takes: Callable[[type], bool]
    calls: bool = True


def _has_call(cls: type) -> bool:
    return any("__call__" in vars(base) for base in cls.__mro__)


FUNCTION: Final = Kind("function of tensors", _has_call, calls=False)
ARGUMENT: Final = Kind("argument", lambda cls: True)
PARTIAL: Final = Kind("argument", lambda cls: True, calls=False)


def source_digest(target: str) -> str | None:
    """Digest the file that defines a target; None if it has no file."""
    module = sys.modules.get(target.rpartition(".")[0])
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]


def locate(target: str, knob: str, kind: Kind | None = None) -> Any:
    """Import what a `_target_` names.

    Args:
        target: ``package.module.Name``.
        knob: The knob that holds it, for the message.
        kind: What its place takes.

    Raises:
        AblateError: There is no such module or name, the module does not import, or what it names
            is of another kind.
    """
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise AblateError(f"{knob}={target} is not legal: it takes package.module.Class")
    _let_find(module_name.partition(".")[0])
    module: Any
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if (module := _class(module_name)) is None:  # the class whose method may be meant
            raise AblateError(
                f"{knob}={target} does not import: there is no module '{error.name}' (looked in the"
                " working directory and in the installed packages)"
            ) from error
    # The user's module may raise anything on import; a script may even exit.
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
        raise AblateError(f"{knob}={target} is neither a class nor a function")
    if kind is not None and (why := _unfit(found, kind)):
        raise AblateError(f"{knob}={target} {why}")
    return found


def origins(top: str) -> list[str]:
    """List the file that a module would be imported from, or the folders of a namespace.

    Nothing is imported. The program itself and Python's built-in modules come from nowhere.

    Args:
        top: The first name of a target.
    """
    if (module := sys.modules.get(top)) is not None:
        file = getattr(module, "__file__", None)
        found = [file] if file else [*getattr(module, "__path__", [])]
        return [] if top == "__main__" else [os.path.abspath(path) for path in found]
    here = os.getcwd()
    try:
        path = sys.path if {here, ""} & {*sys.path} else [here, *sys.path]
        spec = PathFinder.find_spec(top, path) or find_spec(top)
    except (ImportError, ValueError, OSError):
        return []
    if spec is None:
        return []
    found = [spec.origin] if spec.origin else [*(spec.submodule_search_locations or ())]
    return [os.path.abspath(path) for path in found] if spec.has_location or not spec.origin else []


def _let_find(top: str) -> None:
    """Put the working directory on the path if a module is found there.

    Only then: other files there may share the name of a package imported later.
    """
    here = os.getcwd()
    inside = os.path.join(here, top)
    places = {path for origin in origins(top) for path in (origin, os.path.dirname(origin))}
    if here not in sys.path and places & {here, inside}:
        sys.path.insert(0, here)


def _class(path: str) -> type | None:
    """Find a class in a loaded module."""
    module_name, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module_name), name, None)
    return found if inspect.isclass(found) else None


def _unfit(found: Any, kind: Kind) -> str | None:
    """Say why something is not of a kind, as far as can be told without calling it."""
    while isinstance(found, partial):
        found = found.func
    is_class = inspect.isclass(found)
    home = (getattr(found, "__module__", None) or "").partition(".")[0]
    argument = kind in (ARGUMENT, PARTIAL) and is_class and home in _HARMLESS
    if home in (*sys.stdlib_module_names, "hydra", "omegaconf") and not argument:
        return f"is part of {home}, which has no {kind.name}"
    if is_class:
        return None if kind.takes(found) else f"is not a {kind.name}"
    if not kind.calls:
        return None
    made = _annotated(found)
    if made is None:
        vague = "is a library's function that does not say what it returns: wrap it in your own"
        return vague if _is_installed(found) else None
    return None if kind.takes(made) else f"returns a {made.__name__}: a {kind.name} is needed"


def _annotated(function: Any) -> type | None:
    """Return the class that a function is annotated to return; None if it has no annotation."""
    try:
        made = get_type_hints(function).get("return")
    # An annotation is the user's code, which may raise anything.
    except Exception:
        made = None
    return made if inspect.isclass(made) and made not in (object, Any) else None


def _is_installed(function: Any) -> bool:
    """Tell whether a function is a library's or written in C, not the user's own."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    return code is None or bool({*_LIBRARIES} & {*Path(code.co_filename).parts})


def made(target: str, knob: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """Call the user's function or class, and return the result.

    Args:
        target: ``package.module.name``.
        knob: The knob that holds it, for the message.
        arguments: Further values that the request gives.

    Returns:
        The function with its arguments filled in, or an instance of the class.

    Raises:
        AblateError: It does not import, takes other arguments, or fails.
    """
    found = locate(target, knob, FUNCTION)
    try:
        if not inspect.isclass(found):
            inspect.signature(found).bind_partial(None, **arguments)
            return partial(found, **arguments)
        instance = found(**arguments)
    # The user's constructor may raise anything.
    except Exception as error:
        raise AblateError(
            f"{knob}={target} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not callable(instance):
        raise AblateError(f"{knob}={target} makes a {type(instance).__name__}: it has no __call__")
    return instance


def instantiated(value: Any, knob: str) -> Any:
    """Make what an argument names with `_target_`, at any depth, like Hydra's `instantiate`.

    Args:
        value: The argument; without a ``_target_`` it is returned unchanged.
        knob: The knob that holds it, for the message.

    Raises:
        AblateError: Something could not be made.
    """
    if isinstance(value, list):
        return [instantiated(inner, knob) for inner in value]
    if not isinstance(value, dict):
        return value
    target = value.get("_target_")
    inside = (
        value
        if value.get("_recursive_") is False and target
        else {name: instantiated(inner, f"{knob}.{name}") for name, inner in value.items()}
    )
    if target is None:
        return inside
    later = bool(value.get("_partial_"))
    make = locate(str(target), f"{knob}._target_", PARTIAL if later else ARGUMENT)
    positional = inside.get("_args_", [])
    named = {name: inner for name, inner in inside.items() if name not in _SPECIAL}
    try:
        return partial(make, *positional, **named) if later else make(*positional, **named)
    # It may raise anything, like the user's constructor itself.
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise AblateError(f"{knob} cannot be made: {said}") from error
