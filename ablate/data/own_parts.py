"""How the user's own data set is asked for its training, validation and test images.

A constructor's parameter may choose: by a word (``split``, or another name whose default or
annotation is such a word, as ``subset="train"``), or by a truth value (``train``, as in
torchvision's classes). A function may also return all of them: a mapping from train, val and test,
or a tuple of two or three data sets. A parameter that the request sets is not chosen here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ablate.data.discovery import role

_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_BY_WORD = ("split", "subset", "partition", "part", "phase", "mode", "stage", "image_set", "fold")
_BY_TRUTH = {"train": True, "is_train": True, "training": True, "test": False, "is_test": False}
_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True)
class Offer:
    """A part that a data set may offer.

    Attributes:
        part: ``train``, ``val`` or ``test``.
        makes: Ways to make it, to try in order.
        sure: Whether the part must exist; if not, all ways may fail.
    """

    part: str
    makes: Sequence[Callable[[], Any]]
    sure: bool = True


def offers(cls: Any, arguments: Mapping[str, Any]) -> Iterator[Offer]:
    """List the parts that a data set may offer, ``train`` first.

    Args:
        cls: The user's class or function.
        arguments: Arguments that it always gets.
    """
    free = {n: p for n, p in parameters(cls).items() if n not in arguments}
    for name in _BY_WORD:
        if name in free and (words := _words(cls, free[name])) is not None:
            yield from _by_word(cls, arguments, name, words)
            return
    for name, trains in _BY_TRUTH.items():
        if name in free and isinstance(free[name].default, bool | type(_EMPTY)):
            for part, value in (("train", trains), ("test", not trains)):
                yield Offer(part, [_call(cls, {**arguments, name: value})])
            return
    yield Offer("train", [_call(cls, arguments)])


def returned(made: Any) -> dict[str, Any]:
    """Name the parts that a call has returned: several data sets, or one."""
    if isinstance(made, Mapping) and made and all(role(str(key)) in _WORDS for key in made):
        return {str(role(str(key))): one for key, one in made.items()}
    if isinstance(made, tuple) and 2 <= len(made) <= 3 and all(map(_is_data_set, made)):
        names = ("train", "test") if len(made) == 2 else ("train", "val", "test")
        return dict(zip(names, made, strict=True))
    return {"train": made}


def _is_data_set(value: Any) -> bool:
    # An array has a length and items, too, but is an image.
    plain = isinstance(value, tuple | str | Mapping) or hasattr(value, "shape")
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not plain


def parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """List the parameters of a class or function."""
    try:
        return dict(inspect.signature(cls).parameters)
    # Some classes written in C have no signature.
    except ValueError:
        return {}


def _words(cls: Any, parameter: inspect.Parameter) -> list[str] | None:
    """List the words by which a parameter chooses parts; None if it does not choose one."""
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return None
    annotated = _annotated(cls, parameter.name)
    if annotated is not None:
        return annotated if any(role(word) == "train" for word in annotated) else None
    default = parameter.default
    if isinstance(default, Enum):
        return None
    if isinstance(default, str):
        return [] if role(default) else None
    # Without a default, only the usual name shows its meaning.
    return [] if parameter.name == "split" and default is _EMPTY else None


def _annotated(cls: Any, name: str) -> list[str] | None:
    function = cls.__init__ if inspect.isclass(cls) else cls
    try:
        hint = get_type_hints(function).get(name)
    # Annotations may name anything, even what does not exist.
    except Exception:
        return None
    literal = hint if get_origin(hint) is Literal else None
    words = [word for word in get_args(literal) if isinstance(word, str)]
    return words or None


def _by_word(
    cls: Any, arguments: Mapping[str, Any], name: str, words: Sequence[str]
) -> Iterator[Offer]:
    for part, usual in _WORDS.items():
        known = [word for word in words if role(word) == part]
        if words and not known:
            continue
        makes = [_call(cls, {**arguments, name: word}) for word in known or usual]
        yield Offer(part, makes, sure=part != "val" or bool(known))


def _call(cls: Any, arguments: Mapping[str, Any]) -> Callable[[], Any]:
    return lambda: cls(**arguments)
