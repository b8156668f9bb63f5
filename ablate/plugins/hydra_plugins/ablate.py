"""What Hydra's discovery needs: the names of our sweeper and launcher; the work is elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class AblateSweeper(BasicSweeper):
    """Hydra's grid, handed to the launcher whole; the launcher checks every cell of it at once."""

    def __init__(self) -> None:
        super().__init__(max_batch_size=None)

    def validate_batch_is_legal(self, batch: Any) -> None:
        """Leave the checking to the launcher: composing every cell here would take 60 ms each."""


class AblateLauncher(Launcher):
    """Trains all jobs of a sweep as stacks."""

    def __init__(self) -> None:
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over."""
        self.hydra_context, self.task_function = hydra_context, task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launch all jobs."""
        from ablate.launch import hydra_adapter

        assert self.hydra_context is not None, "Hydra calls setup first"
        assert self.task_function is not None, "Hydra calls setup first"
        assert self.config is not None, "Hydra calls setup first"
        return hydra_adapter.launch(
            self.hydra_context, self.task_function, self.config, job_overrides, initial_job_idx
        )


@dataclass
class AblateSweeperConf:
    """Configuration of the sweeper: it has none."""

    _target_: str = "hydra_plugins.ablate.AblateSweeper"


@dataclass
class AblateLauncherConf:
    """Configuration of the launcher; its knobs (`launch`, `stack.width`) are the project's own."""

    _target_: str = "hydra_plugins.ablate.AblateLauncher"


for _group, _node in (("sweeper", AblateSweeperConf), ("launcher", AblateLauncherConf)):
    ConfigStore.instance().store(
        group=f"hydra/{_group}", name="ablate", node=_node, provider="ablate"
    )
