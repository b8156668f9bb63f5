"""Sessions of Hydra that find the shipped configurations and the user's, and report as we do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import takewhile
from pathlib import Path

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
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
        yield Hydra.create_main_hydra2("run", path)
    finally:
        GlobalHydra.instance().clear()
        if before is not None:
            GlobalHydra.instance().initialize(before)


@cache
def find_plugins() -> None:
    """Let Hydra find our sweeper and launcher, in a checkout that is not installed as well.

    An installation puts them on the path, but `PYTHONPATH=checkout python -m ablate` does not.
    """
    try:
        importlib.import_module("hydra_plugins.ablate")
    except ModuleNotFoundError:
        sys.path.append(str(Path(__file__).parents[1] / "plugins"))
        ours = importlib.import_module("hydra_plugins.ablate")
        # Hydra looks for plugins once; a program that uses it may have let it do so before.
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
        if error.__cause__ is not None and "\n" not in str(error):  # told in its cause alone
            why += f"; {first_lines(error.__cause__, 1)}"
        raise AblateError(f"the configuration does not compose: {why}") from error


def composing(hydra: Hydra, request: Request) -> Composed:
    """Compose as `compose` does, but each choice of options only once, since it takes 60 ms.

    Checking and resolving ask for the same compositions and share them, so leave them unchanged.
    """
    trust_checks.require_before_composing(hydra, request)

    @lru_cache(maxsize=_KEPT)
    def known(overrides: tuple[str, ...]) -> DictConfig:
        return compose(hydra, request, overrides)

    return lambda overrides: known(tuple(overrides))


def first_lines(error: BaseException, count: int = 3) -> str:
    """Return the first lines of Hydra's message, without its list of search paths."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = list(takewhile(lambda line: line != "Config search path:", lines))
    return "; ".join(lines[:count])
