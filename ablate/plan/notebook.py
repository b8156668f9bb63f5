"""What a notebook's class or function uses: its source, and everything named in it.

A notebook has no file to read. Its cells' sources are kept by `linecache`, where tracebacks find
them, and its names are those of ``__main__``.
"""

from __future__ import annotations

import ast
import inspect
import json
import linecache
import symtable
import sys
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ablate.plan.imports import imports_in


def is_in_a_notebook(target: str) -> bool:
    """Tell whether a target is defined in a notebook, or at Python's prompt."""
    main = sys.modules.get("__main__")
    return target.startswith("__main__.") and not hasattr(main, "__file__")


def sources(name: str) -> tuple[dict[str, str], list[str]]:
    """Collect what a notebook's class or function uses.

    Args:
        name: Its name in the notebook.

    Returns:
        Its source and that of every class, function and plain value of the notebook named in it, at
        any depth, as ``__main__.name``; and the modules that these name or import.
    """
    space = vars(sys.modules["__main__"])
    found: dict[str, str] = {}
    modules: list[str] = []
    left = [name]
    while left:
        one = left.pop()
        label, value = f"__main__.{one}", space.get(one)
        if label in found or value is None:
            continue
        home = getattr(value, "__module__", None)
        if isinstance(value, ModuleType):
            modules.append(value.__name__)
        elif isinstance(value, type | FunctionType) and home != "__main__":
            modules.append(f"{home}.{value.__name__}")
        elif isinstance(value, type | FunctionType):
            found[label] = _source(value)
            names, imported = _named(found[label], value, space)
            left += names
            modules += imported
        elif (written := _plain(value)) is not None:
            found[label] = written
        else:  # an object: its class's code is known, its contents are not
            left += [type(value).__name__] if type(value).__module__ == "__main__" else []
            modules.append(type(value).__module__)
    return found, modules


def _named(source: str, value: Any, space: dict[str, Any]) -> tuple[list[str], list[str]]:
    """List the names of the notebook, and the modules, that a source names."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # not a source: `_source` found none, and described the code
        return [n for code in _codes(value) for n in code.co_names if n in space], []
    names = _globals(symtable.symtable(source, "cell", "exec"))
    modules = [
        ".".join([space[first].__name__, *rest])
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        for first, *rest in [_chain(node)]
        if first in names and isinstance(space.get(first), ModuleType)
    ]
    for level, module, taken in imports_in(source.encode()).statements:
        modules += [module, *(f"{module}.{one}" for one in taken)] if level == 0 else []
    return sorted(names & space.keys()), modules


def _globals(table: symtable.SymbolTable) -> set[str]:
    """List the names that a source takes from outside; a local variable may share a name."""
    is_outermost = table.get_type() == "module"
    found = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (is_outermost or symbol.is_global())
    }
    return found.union(*map(_globals, table.get_children()))


def _chain(node: ast.AST) -> list[str]:
    """Split ``a.b.c`` into its names; empty if it does not begin with a name."""
    if isinstance(node, ast.Attribute):
        above = _chain(node.value)
        return [*above, node.attr] if above != [""] else [""]
    return [node.id] if isinstance(node, ast.Name) else [""]


def _source(value: Any) -> str:
    """Return the source of a class or function; without one, a description of its code."""
    for code in _codes(value):
        text = "".join(linecache.getlines(code.co_filename))
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if (found := _segment(node, text, value, code)) is not None:
                return found
    return "\n".join(_spelled(code) for code in _codes(value)) or f"?{value!r}"


def _segment(node: ast.AST, text: str, value: Any, code: CodeType) -> str | None:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if not isinstance(node, kinds) or node.name != value.__name__:
        return None
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    if not first <= code.co_firstlineno <= (node.end_lineno or 0):
        return None
    lines = text.splitlines()[first - 1 : node.end_lineno]
    return textwrap.dedent("\n".join(lines))


def _codes(value: Any) -> Iterator[CodeType]:
    """List the code of a function, or of a class's own methods."""
    if isinstance(value, FunctionType):
        yield inspect.unwrap(value).__code__
        return
    for part in vars(value).values():
        inner = getattr(part, "__func__", None) or getattr(part, "fget", None) or part
        if isinstance(inner, FunctionType) and inner.__module__ == "__main__":
            yield inspect.unwrap(inner).__code__


def _spelled(code: CodeType) -> str:
    """Describe what code does, independent of where it is."""
    inner = [_spelled(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"?{code.co_name} {code.co_code.hex()} {code.co_names} {code.co_varnames} {inner}"


def _plain(value: Any) -> str | None:
    """Write down a value if it consists only of numbers and text."""
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        return None
