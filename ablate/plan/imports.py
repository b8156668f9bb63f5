"""Finds which files and packages a user's module uses, without importing anything.

Sources are parsed, and the modules that they import are looked up as Python would. What this
process has imported plays no part: a key must not depend on that, and an import inside a function
shows only once the function is called.

Every import is followed, wherever it is (in a function, a branch, a `try`): relative ones, packages
with their ``__init__``, namespace packages, names that ``from package import *`` takes from
``__all__``, and ``import_module("name")``. If a name is computed at run time, all modules of that
package count. Imports for type checkers (``if TYPE_CHECKING``) do not.

A module in site-packages counts by its package's version. Any other module that is not Python's own
is the user's and counts by its content, whether below the working directory, on PYTHONPATH or in an
editable install. Ablate itself is left out, since it trains all runs alike.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

_SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_BY_NAME = {"import_module", "__import__"}
_LISTS = {"iter_modules", "walk_packages"}  # of pkgutil, whose results are imported by name


@dataclass
class Walk:
    """Collects what modules use.

    Attributes:
        files: The user's own files, named ``package/module.py`` wherever they are.
        packages: Installed packages by imported name, with their versions.
        modules: Names of the modules that `files` belong to.
    """

    files: dict[str, Path] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def add(self, *names: str) -> None:
        """Add modules, their parent packages, and everything these import.

        Args:
            names: Dotted names. A name that is not a module's adds nothing.
        """
        left = list(names)
        while left:
            parts = left.pop().split(".")
            for count in range(1, len(parts) + 1):
                imported = self._add_one(".".join(parts[:count]))
                if imported is None:
                    break
                left += imported

    def _add_one(self, name: str) -> list[str] | None:
        """Add a module; return what it imports, or None if none of that can be the user's own."""
        place, top = _place(name), name.partition(".")[0]
        if place is None or top == "ablate":
            return None
        if name in self._seen:
            return []
        somewhere = place.file or place.folders[0]
        if _INSTALLED & set(somewhere.parts) and (number := _version(top)) is not None:
            self.packages[top] = number
            return None
        if not _INSTALLED & set(somewhere.parts) and _is_pythons(somewhere):
            return None
        self._seen.add(name)
        if place.file is None:
            return []
        label = _label(name, place.file)
        self.files[label], self.modules[label] = place.file, name
        if place.file.suffix not in SOURCE_SUFFIXES:
            return []
        return self.imported(
            place.file.read_bytes(), name if place.is_package else name.rpartition(".")[0]
        )

    def imported(self, source: bytes, package: str = "") -> list[str]:
        """List the modules that a source may import.

        Args:
            source: The source.
            package: The package that it belongs to.
        """
        found, names = imports_in(source), list[str]()
        for level, module, taken in found.statements:
            base = _absolute(package, level, module)
            if base:
                inner = self._starred(base) if "*" in taken else taken
                names += [base, *(f"{base}.{one}" for one in inner)]
        return names + (_inside(package) if found.computed and package else [])

    def _starred(self, base: str) -> tuple[str, ...]:
        """List the names that ``from base import *`` imports."""
        place = _place(base)
        if place is None or place.file is None or place.file.suffix not in SOURCE_SUFFIXES:
            return ()
        return imports_in(place.file.read_bytes()).public


# -- in a source -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imports:
    """What a source imports.

    Attributes:
        statements: Level (0, or the dots in front), module, and the names taken from it.
        public: Its ``__all__``, if that is written out.
        computed: Whether it imports by a name known only at run time.
    """

    statements: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    public: tuple[str, ...] = ()
    computed: bool = False


@lru_cache(maxsize=4096)
def imports_in(source: bytes) -> Imports:
    """List what a source imports; nothing if it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Imports()
    statements: list[tuple[int, str, tuple[str, ...]]] = []
    public: tuple[str, ...] = ()
    computed = False
    for node in _run(tree):
        if isinstance(node, ast.Import):
            statements += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            statements.append((node.level, node.module or "", names))
        elif isinstance(node, ast.Call) and (called := _name(node.func)) in _BY_NAME | _LISTS:
            name = _text(node.args[0]) if node.args and called in _BY_NAME else None
            if name is None:
                computed = True
            else:
                module = name.lstrip(".")
                statements.append((len(name) - len(module), module, ()))
        elif isinstance(node, ast.Assign | ast.AugAssign) and _sets_all(node):
            public += _texts(node.value)
    return Imports(tuple(statements), public, computed)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Visit all nodes that can run."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            left += node.orelse
        else:
            left += ast.iter_child_nodes(node)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.AST) -> str | None:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else None  # type: ignore[attr-defined]


def _texts(node: ast.AST) -> tuple[str, ...]:
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    return tuple(text for item in items if (text := _text(item)) is not None)


def _sets_all(node: ast.Assign | ast.AugAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(_name(target) == "__all__" for target in targets)


def _absolute(package: str, level: int, module: str) -> str:
    """Resolve a relative name; empty if it leads above the top package."""
    if level == 0:
        return module
    parts = package.split(".") if package else []
    if level > len(parts):
        return ""
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


# -- on disk ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a module is found.

    Attributes:
        file: Its file; None for a namespace package.
        folders: Where its submodules are; empty unless it is a package.
    """

    file: Path | None
    folders: tuple[Path, ...] = ()

    @property
    def is_package(self) -> bool:
        """Whether it may contain modules."""
        return bool(self.folders)


def forget() -> None:
    """Forget where modules are: files may have appeared, gone or changed since."""
    _place.cache_clear()


@cache
def _place(name: str) -> Place | None:
    above, _, leaf = name.rpartition(".")
    if not above:
        if leaf == "__main__":
            return _script()
        if leaf in sys.builtin_module_names:
            return None
        return _looked_up(leaf, search_path()) or _by_other_finders(leaf)
    package = _place(above)
    return None if package is None else _looked_up(leaf, package.folders)


def search_path() -> list[Path]:
    """List the folders in which a user's module is looked up, including the working directory."""
    here = Path.cwd()
    known = [Path(entry or here) for entry in sys.path]
    return known if here in known else [here, *known]


def _looked_up(leaf: str, folders: Iterable[Path]) -> Place | None:
    """Look up a name in some folders, in Python's order."""
    portions: list[Path] = []
    for folder in folders:
        inside = folder / leaf
        is_folder = inside.is_dir()
        for suffix in _SUFFIXES if is_folder else ():
            if (file := inside / f"__init__{suffix}").is_file():
                return Place(file, (inside,))
        for suffix in _SUFFIXES:
            if (file := folder / f"{leaf}{suffix}").is_file():
                return Place(file)
        if is_folder:
            portions.append(inside)
    return Place(None, tuple(portions)) if portions else None


def _by_other_finders(name: str) -> Place | None:
    """Ask Python's other finders: editable installs may have their own.

    They are asked only for top-level packages, since for submodules they would import the package.
    """
    for finder in sys.meta_path:
        find = None if finder is PathFinder else getattr(finder, "find_spec", None)
        spec = None if find is None else find(name, None)
        if spec is None or spec.origin in ("built-in", "frozen"):
            continue
        folders = tuple(map(Path, spec.submodule_search_locations or ()))
        file = Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None
        if file is not None or folders:
            return Place(file, folders)
    return None


def _script() -> Place | None:
    """Find the script that this process runs; a notebook has none."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Place(Path(file)) if file is not None and Path(file).is_file() else None


def _is_pythons(file: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in _STANDARD)


def _label(name: str, file: Path) -> str:
    *around, leaf = name.split(".")
    if file.name.startswith("__init__."):
        around.append(leaf)
    return "/".join([*around, file.name])


def _inside(package: str) -> list[str]:
    """List all modules of a package, by their dotted names."""
    place = _place(package)
    found = []
    for folder in place.folders if place is not None else ():
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            if all(part.isidentifier() for part in parts):
                found.append(".".join([package, *parts]).removesuffix(".__init__"))
    return sorted(found)


@cache
def _version(top: str) -> str | None:
    """Find the version of the installed package that a name is imported from."""
    try:
        return version(top)
    except PackageNotFoundError:
        makers = sorted(set(_makers().get(top, ())))
        return ", ".join(f"{maker} {version(maker)}" for maker in makers) or None


@cache
def _makers() -> Mapping[str, list[str]]:
    return packages_distributions()


def digest_of(content: bytes) -> str:
    """Digest the content of a file: SHA-256, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """Digest the content of a file without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
