"""Finds the images of a folder: which files, of which class, in which split.

    root/cats/a.jpg  root/dogs/b.png            classes; the split is drawn
    root/train/cats/a.jpg  root/test/cats/b.jpg  the user's own split, with or without val
    root/archive/chest/Training/cats/a.jpg       the same below folders that hold nothing else

A split folder is recognized by a word in its name (Training, seg_test, val2017) *and* by what it
holds: folders of images, while a class holds images. If a folder could be either, it is refused,
and the message names the knob that decides, `data.splits`. Files left out are counted by reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablate.errors import AblateError, nearest

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp"),
    *(".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2", ".j2k", ".jpx"),
)
UNREAD = (  # images too, in formats that are not read
    *(".heic", ".heif", ".jxl", ".psd", ".svg", ".exr", ".hdr", ".dcm", ".nii", ".dng", ".cr2"),
    *(".cr3", ".nef", ".arw", ".raw", ".tga", ".ico", ".pdf", ".eps"),
)
WANTED = "data=folder takes a directory with one subdirectory of images per class"
_PARTS = ("train", "val", "test")
_WORDS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation"},
    "test": {"test", "testing", "tst"},
    "unlabelled": {"pred", "predict", "prediction", "unlabeled", "unlabelled"},
}
_DROPPINGS = {".ds_store", "thumbs.db", "desktop.ini"}  # left by file managers in any folder
_DEEPEST = 3  # most folders wrapped around the classes or splits
_SHOWN = 3  # names per reason
_KNOB = (
    "name the splits with data.splits=[train:FOLDER,test:FOLDER] (val:FOLDER too), or treat every"
    " folder as a class with data.splits=none"
)

_HIDDEN = "hidden"
_OTHER = "not an image by its ending"
_FORMAT = "an image in a format that is not read"
_BROKEN = "a broken link"
_SHUT = "a folder that may not be opened"
_LOOSE = "an image outside the class folders"
_EMPTY = "a class without images"
_UNLABELLED = "a folder of images without labels"


@dataclass(frozen=True)
class Discovered:
    """The images of a folder.

    Attributes:
        parts: ``train``, and ``val`` and ``test`` if they have folders -> path and label of each
            image, in the order of the paths.
        classes: Names of the classes, in the order of their labels.
        roots: Part -> the folder that holds its classes.
        left_out: Reason -> what was left out for that reason.
        notes: What the user should know, a sentence each.
    """

    parts: Mapping[str, Sequence[tuple[str, int]]]
    classes: tuple[str, ...]
    roots: Mapping[str, Path]
    left_out: Mapping[str, Sequence[Path]]
    notes: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """All images, and what was left out: a change in any of these may change what is read."""
        images = [path for part in self.parts.values() for path, _ in part]
        beside = [p for reason, some in self.left_out.items() if reason != _HIDDEN for p in some]
        return images + [os.fspath(path) for path in beside if path.exists()]


@dataclass
class _Folder:
    """A folder with everything below it.

    Images are text: making fifty thousand `Path`s takes as long as listing the files.
    """

    path: Path
    real: str
    images: list[str] = field(default_factory=list)
    below: list[_Folder] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def holds_images(self) -> bool:
        return bool(self.images) or any(folder.holds_images for folder in self.below)

    def walk(self) -> Iterator[_Folder]:
        yield self
        for folder in self.below:
            yield from folder.walk()


_LeftOut = dict[str, list[Path]]


def discover(root: Path, splits: str | Sequence[str] = "auto", on_bad: str = "error") -> Discovered:
    """Find all images.

    Args:
        root: The folder.
        splits: ``auto`` recognizes split folders; ``none`` treats every folder as a class; a list
            such as ``["train:Training", "test:Testing"]`` names them, below the root.
        on_bad: ``skip`` leaves out classes without images and folders that may not be opened;
            ``error`` refuses them.

    Raises:
        AblateError: They are not laid out as the module's docstring says, or it is not clear how.
    """
    if not root.is_dir():
        where = "a file" if root.exists() else "not there"
        raise AblateError(f"data.root={shown(root)} is {where}: {WANTED}{_spelled(root)}")
    left_out: _LeftOut = {}
    tree = _scanned(root, (), left_out)
    if on_bad == "error" and left_out.get(_SHUT):
        raise AblateError(
            f"data.root={shown(root)}: {listing(left_out[_SHUT], root)} may not be opened: check"
            " the permissions;"
            " data.on_bad=skip leaves such folders out"
        )
    if splits == "auto":
        roots, notes = _recognized(tree, left_out)
    elif splits == "none":
        roots, notes = {"train": tree}, []
    else:
        roots, notes = _named(tree, splits, left_out), []
    return _labelled(root, roots, notes, left_out, on_bad)


def shown(path: str | os.PathLike[str]) -> str:
    """Write a path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listing(paths: Sequence[Path], root: Path) -> str:
    """Write the first few of some paths, relative to a root."""
    more = ", ..." if len(paths) > _SHOWN else ""
    return ", ".join(shown(os.path.relpath(path, root)) for path in paths[:_SHOWN]) + more


def counted(left_out: Mapping[str, Sequence[Path]], root: Path) -> str:
    """Count what was left out by reason, and show a few of each."""
    return "; ".join(
        f"{len(paths):,} × {reason} ({listing(paths, root)})" for reason, paths in left_out.items()
    )


# -- the files -------------------------------------------------------------------------------------


def _scanned(path: Path, above: tuple[str, ...], left_out: _LeftOut) -> _Folder:
    real = os.path.realpath(path)
    folder = _Folder(path, real)
    prefix = "" if path == Path() else os.path.join(path, "")
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        _leave(left_out, _SHUT, path)
        return folder
    for entry in entries:
        place = f"{prefix}{entry.name}"
        if os.path.isdir(place) if entry.is_symlink() else entry.is_dir():
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                _leave(left_out, _HIDDEN, Path(place))
            elif os.path.realpath(place) not in (*above, real):  # else links form a circle
                folder.below.append(_scanned(Path(place), (*above, real), left_out))
        elif (reason := _unfit(entry)) is None:
            folder.images.append(place)
        elif reason:
            _leave(left_out, reason, Path(place))
    return folder


def _unfit(entry: os.DirEntry[str]) -> str | None:
    """Say why a file is not read; None if it is read, empty for what a file manager leaves."""
    ending = os.path.splitext(entry.name)[1].lower()
    if entry.name.lower() in _DROPPINGS:
        return ""
    if entry.name.startswith("."):
        return _HIDDEN if ending in EXTENSIONS else ""
    if entry.is_symlink() and not os.path.isfile(entry.path):
        return _BROKEN
    if ending in UNREAD:
        return _FORMAT
    return None if ending in EXTENSIONS and entry.is_file() else _OTHER


def _leave(left_out: _LeftOut, reason: str, path: Path) -> None:
    left_out.setdefault(reason, []).append(path)


def _spelled(root: Path) -> str:
    """Suggest a folder with a similar name beside the missing one."""
    try:
        names = [entry.name for entry in os.scandir(root.absolute().parent) if entry.is_dir()]
    except OSError:
        return ""
    return nearest(root.name, [shown(name) for name in names])


# -- which folder is what --------------------------------------------------------------------------


def role(name: str) -> str | None:
    """Tell which part a folder's name suggests, if any.

    Args:
        name: The folder's name, such as ``seg_train``, ``Testing`` or ``valSet``.

    Returns:
        ``train``, ``val``, ``test``, ``unlabelled`` or None.
    """
    words = {
        re.sub(r"(set|data|images|imgs)$", "", word.lower()) or word.lower()
        for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    }
    found = [part for part, known in _WORDS.items() if words & known]
    return found[0] if len(found) == 1 else None


def _recognized(tree: _Folder, left_out: _LeftOut) -> tuple[dict[str, _Folder], list[str]]:
    """Recognize the folder of classes of each part; only train if there is no split."""
    level = _unwrapped(tree, stop_at_splits=True)
    at = _below(level, tree)
    notes = [f"the classes lie in {at}"] if level is not tree else []
    speaking = [f for f in level.below if role(f.name) in _PARTS]
    if not speaking:
        _refuse_splits_below(level)
        return {"train": level}, notes
    others = [f for f in level.below if f not in speaking and f.holds_images]
    if all(f.images and not _share_classes(f, speaking) for f in speaking):
        _refuse_unclear_classes(level, speaking, others)
        return {"train": level}, [*notes, f"{_names(speaking)} is a class, since it holds images"]
    for folder in list(others):
        if role(folder.name) == "unlabelled":
            _leave(left_out, _UNLABELLED, folder.path)
            others.remove(folder)
    roots = _as_splits(level, speaking, others)
    told = ", ".join(f"{part} is {_below(folder, tree)}" for part, folder in roots.items())
    if set(roots) == {"train"}:
        return roots, [f"{told}; there is no test folder, so the split is drawn"]
    return roots, [f"splits: {told}"]


def _below(folder: _Folder, tree: _Folder) -> str:
    return shown(os.path.relpath(folder.path, tree.path))


def _unwrapped(folder: _Folder, *, stop_at_splits: bool = False) -> _Folder:
    """Go down through folders that hold only one folder of folders."""
    for _ in range(_DEEPEST):
        inside = [f for f in folder.below if f.holds_images]
        if stop_at_splits and any(role(f.name) in _PARTS for f in folder.below):
            return folder
        alone = len(inside) == 1 and not folder.images and not inside[0].images
        if not alone:
            return folder
        folder = inside[0]
    return folder


def _share_classes(folder: _Folder, others: Sequence[_Folder]) -> bool:
    """Tell whether a folder shares names of subfolders with another one, as splits do."""
    names = {f.name for f in folder.below if f.holds_images}
    return any(names & {f.name for f in other.below} for other in others if other is not folder)


def _refuse_unclear_classes(
    level: _Folder, speaking: Sequence[_Folder], others: Sequence[_Folder]
) -> None:
    """Refuse folders that are named like splits but hold images, unless they must be classes."""
    if len({role(folder.name) for folder in speaking}) > 1 or not others:
        raise AblateError(
            f"data.root: {_names(speaking)} in {shown(level.path)} are named like splits, but hold"
            f" images, not folders of classes: arrange them as train/CLASS/IMAGE. {_KNOB}"
        )
    _refuse_splits_below(level)


def _as_splits(
    level: _Folder, speaking: Sequence[_Folder], others: Sequence[_Folder]
) -> dict[str, _Folder]:
    """Treat folders that are named like splits as splits, if that is clear."""
    where = shown(level.path)
    if others:
        raise AblateError(
            f"data.root: {where} holds {_names(level.below)}: {_names(speaking)} look like splits,"
            f" but no other folder may be beside splits. {_KNOB}"
        )
    odd = [f for f in speaking if f.images and not _share_classes(f, speaking)]
    if odd:
        raise AblateError(
            f"data.root: {where} holds {_names(speaking)}: {_names(odd)} hold images and the others"
            f" folders, so it is not clear whether they are splits. {_KNOB}"
        )
    roots: dict[str, _Folder] = {}
    for folder in speaking:
        part = str(role(folder.name))
        if part in roots:
            raise AblateError(
                f"data.root: {where} holds {_names(speaking)}: both {roots[part].name} and"
                f" {folder.name} are named like {part}. {_KNOB}"
            )
        roots[part] = folder
    if "train" not in roots or set(roots) == {"train", "val"}:
        lacking = "no training folder" if "train" not in roots else "no test folder"
        raise AblateError(
            f"data.root: {where} holds {_names(speaking)}, but {lacking}: your own split needs"
            f" train and test, and may have val. {_KNOB}"
        )
    roots["train"] = _unwrapped(roots["train"])
    classes = {f.name for f in roots["train"].below}
    for part in ("val", "test"):
        if part in roots and not classes & {f.name for f in roots[part].below}:
            roots[part] = _unwrapped(roots[part])
    return {part: roots[part] for part in _PARTS if part in roots}


def _refuse_splits_below(level: _Folder) -> None:
    """Refuse splits inside folders that would be read as classes."""
    for folder in (inner for top in level.below for inner in top.walk()):
        roles = {role(f.name) for f in folder.below if f.holds_images}
        if "train" in roles and roles & {"val", "test"}:
            raise AblateError(
                f"data.root: {shown(folder.path)} holds {_names(folder.below)}, which look like"
                f" splits inside one of {len(level.below)} classes: arrange them as"
                f" train/CLASS/IMAGE, or set data.root to that folder. {_KNOB}"
            )


def _named(tree: _Folder, splits: Sequence[str], left_out: _LeftOut) -> dict[str, _Folder]:
    """Find the folders that `data.splits` names."""
    known = {os.path.relpath(f.path, tree.path): f for f in tree.walk()}
    roots: dict[str, _Folder] = {}
    for text in splits:
        part, _, place = str(text).partition(":")
        folder = known.get(os.path.normpath(place))
        if part not in _PARTS or not place or part in roots:
            raise AblateError(
                f"data.splits: {text} is not PART:FOLDER, where PART is train, val or test, each"
                " once"
            )
        if folder is None:
            raise AblateError(
                f"data.splits: {text}: there is no folder {place} below {shown(tree.path)}"
                f"{nearest(place, [shown(name) for name in known])}"
            )
        roots[part] = folder
    if "train" not in roots or set(roots) == {"train", "val"}:
        raise AblateError(
            "data.splits must name train, or train and test, or train, val and test; it names"
            f" {', '.join(roots)}"
        )
    used = {id(f) for root in roots.values() for f in root.walk()}
    for folder in tree.walk():
        if id(folder) not in used:
            for image in folder.images:
                _leave(left_out, _LOOSE, Path(image))
    return {part: roots[part] for part in _PARTS if part in roots}


def _names(folders: Iterable[_Folder]) -> str:
    return ", ".join(shown(folder.name) for folder in folders)


# -- which image is of which class -----------------------------------------------------------------


def _labelled(
    root: Path, roots: Mapping[str, _Folder], notes: list[str], left_out: _LeftOut, on_bad: str
) -> Discovered:
    held = [f for f in roots["train"].below if f.holds_images]
    names = [f.name for f in (held if on_bad == "skip" else roots["train"].below)]
    labels = {name: label for label, name in enumerate(names)}
    parts: dict[str, list[tuple[str, int]]] = {}
    for part, folder in roots.items():
        parts[part] = []
        for image in folder.images:
            _leave(left_out, _LOOSE, Path(image))
        for below in folder.below:
            images = _images_of(below)
            if not images:
                _leave(left_out, _EMPTY, below.path)
                continue
            if below.name not in labels:
                raise AblateError(
                    f"{shown(below.path)}: this class has no training images; the classes in"
                    f" {shown(roots['train'].path)} are {_names(roots['train'].below)}"
                    f"{nearest(below.name, names)}"
                )
            label = labels[below.name]
            parts[part] += [(image, label) for image in images]
    notes = [*notes, *_absent(parts, names)]
    why = f"left out: {counted(left_out, root)}" if left_out else ""
    _refuse_the_unusable(roots, parts, names, f" ({why})" if why else "")
    return Discovered(
        parts,
        tuple(shown(name) for name in names),
        {part: folder.path for part, folder in roots.items()},
        left_out,
        (*notes, why) if why else tuple(notes),
    )


def _absent(parts: Mapping[str, Sequence[tuple[str, int]]], names: Sequence[str]) -> list[str]:
    """Tell which classes a given val or test split lacks."""
    notes = []
    for part, files in parts.items():
        held = {label for _, label in files}
        lacking = [shown(name) for label, name in enumerate(names) if label not in held]
        if lacking and files and part != "train":
            more = ", ..." if len(lacking) > _SHOWN else ""
            some = ", ".join(lacking[:_SHOWN])
            notes.append(f"{part} has no image of {some}{more}")
    return notes


def _images_of(folder: _Folder) -> list[str]:
    if not folder.below:
        return folder.images  # in order
    seen: set[str] = set()
    images: list[str] = []
    for inner in folder.walk():
        if inner.real not in seen:  # two links may lead to one folder
            images += inner.images
        seen.add(inner.real)
    return sorted(images, key=lambda image: image.split(os.sep))


def _refuse_the_unusable(
    roots: Mapping[str, _Folder],
    parts: Mapping[str, Sequence[tuple[str, int]]],
    names: Sequence[str],
    why: str,
) -> None:
    for part, files in parts.items():
        if not files:
            raise AblateError(
                f"data.root: {shown(roots[part].path)} holds no images below class directories:"
                f" {WANTED} ({', '.join(EXTENSIONS)}){why}"
            )
    if len(names) < 2:
        raise AblateError(
            f"data.root: {shown(roots['train'].path)} holds the single class '{shown(names[0])}':"
            f" {WANTED}"
        )
    missing = set(range(len(names))) - {label for _, label in parts["train"]}
    if missing:
        place = roots["train"].path / names[min(missing)]
        raise AblateError(
            f"{shown(place)} holds no image: {WANTED}; data.on_bad=skip leaves empty classes"
            f" out{why}"
        )
