"""Hydra sessions that find the shipped and the user's configurations, and report errors our way."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ablate.config import files
from ablate.errors import AblateError
from ablate.plan import trust_checks
from ablate.plan.request import Request

Composed = Callable[[Sequence[str]], DictConfig]

_KEPT = 256  # compositions
_SHIPPED: dict[tuple[str, bool], dict[tuple[str, ...], DictConfig]] = {}  # never changed
_READ: dict[str, ConfigResult | None] = {}
_HYDRAS_OWN = {"hydra", "_dummy_empty_config_.yaml"}  # in its store of configurations


@contextmanager
def hydra_session(request: Request) -> Iterator[Hydra]:
    """Open a Hydra session that finds the shipped configurations and the user's."""
    find_plugins()
    setup_globals()
    path = create_config_search_path(str(files.CONF))
    if request.config_dir is not None:
        directory = Path(request.config_dir).resolve()
        if not directory.is_dir():
            raise AblateError(f"--config-dir {request.config_dir} is not a directory")
        path.prepend("command-line", f"file://{directory}", SearchPathQuery(provider="schema"))
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        hydra = Hydra.create_main_hydra2("run", path)
        assert isinstance(hydra.config_loader, ConfigLoaderImpl), "what Hydra makes"
        hydra.config_loader.repository = _Sources(path, _are_shipped(request))
        yield hydra
    finally:
        GlobalHydra.instance().clear()
        if before is not None:
            GlobalHydra.instance().initialize(before)


class _Sources(ConfigRepository):
    """Hydra's sources of configurations, cheap to copy; shipped files are read once.

    Hydra copies the sources for each composition, since it may add others to the list; a deep copy
    would copy everything that plugins registered.
    """

    def __init__(self, path: ConfigSearchPath, shipped: bool) -> None:
        super().__init__(path)
        self._read: dict[str, ConfigResult | None] = _READ if shipped else {}

    def __deepcopy__(self, memo: object) -> ConfigRepository:
        copied = copy.copy(self)
        copied.sources = list(self.sources)
        return copied

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        self._read = {}  # there may be other files of the same name

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._read:
            self._read[config_path] = super().load_config(config_path)
        return copy.deepcopy(self._read[config_path])  # compositions change what they merge


def _are_shipped(request: Request) -> bool:
    """Tell whether a request can compose only from files shipped with us and Hydra."""
    return request.config_dir is None and ConfigStore.instance().repo.keys() <= _HYDRAS_OWN


@cache
def find_plugins() -> None:
    """Let Hydra find our sweeper and launcher, even in a checkout that is not installed.

    An installation puts them on the path, but `PYTHONPATH=checkout python -m ablate` does not.
    """
    try:
        importlib.import_module("hydra_plugins.ablate")
    except ModuleNotFoundError:
        sys.path.append(str(Path(__file__).parents[1] / "plugins"))
        ours = importlib.import_module("hydra_plugins.ablate")
        # Hydra looks for plugins once, and the calling program may have triggered that already.
        for plugin in (ours.AblateSweeper, ours.AblateLauncher):
            Plugins.instance().register(plugin)


def compose(hydra: Hydra, request: Request, overrides: Sequence[str]) -> DictConfig:
    """Let Hydra compose.

    Raises:
        AblateError: Hydra refuses.
    """
    mode = RunMode.MULTIRUN if request.multirun else RunMode.RUN
    try:
        return hydra.compose_config(
            config_name=request.config_name,
            overrides=list(overrides),
            run_mode=mode,
            with_log_configuration=False,
        )
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeError) as error:
        why = first_lines(error)
        if error.__cause__ is not None and "\n" not in str(error):  # only its cause says why
            why += f"; {first_lines(error.__cause__, 1)}"
        raise AblateError(f"the configuration cannot be composed: {why}") from error


def composing(hydra: Hydra, request: Request) -> Composed:
    """Like `compose`, but compose each choice of options only once, since that takes 60 ms.

    Checking and resolving share the compositions, so do not change them. Those from shipped files
    only are kept for later requests too.
    """
    trust_checks.require_before_composing(hydra, request)
    passing: dict[tuple[str, ...], DictConfig] = {}
    where = (request.config_name, request.multirun)
    lasting = _SHIPPED.setdefault(where, {}) if _are_shipped(request) else passing

    def known(overrides: Sequence[str]) -> DictConfig:
        choice = tuple(overrides)
        # Hydra's own settings may read the environment or name other directories.
        kept = passing if any("hydra." in override for override in choice) else lasting
        if choice not in kept:
            if len(kept) == _KEPT:
                del kept[next(iter(kept))]
            kept[choice] = compose(hydra, request, choice)
        return kept[choice]

    return known


def first_lines(error: BaseException, count: int = 3) -> str:
    """Return the first lines of Hydra's message, without its list of search paths."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = list(takewhile(lambda line: line != "Config search path:", lines))
    return "; ".join(lines[:count])
