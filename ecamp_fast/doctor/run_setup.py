"""What the doctor was asked about, and what the checks have learned so far for those that come after them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the checks import these themselves, so that a missing package is a finding
    from ecamp_fast.config import Recipe
    from ecamp_fast.shards.load.mix import Data
    from ecamp_fast.shards.load.read import ShardSet


@dataclass
class RunSetup:
    """The options of the command, as a run would get them.

    Learned on the way, None where the check that knows failed or was not asked: ``recipe``, ``shards``,
    ``parameters`` (of the model); ``gpus`` is the number that PyTorch sees.
    """

    recipe_name: str | None = None
    overrides: tuple[str, ...] = ()
    ds_config: Path | None = None
    asked_ranks: int | None = None
    data: "Data | None" = None
    out: Path | None = None
    hostfile: Path | None = None

    recipe: "Recipe | None" = None
    shards: "ShardSet | None" = None
    parameters: int | None = None
    gpus: int = 0

    @property
    def ranks(self) -> int:
        """As `ecamp-fast train` starts them: as asked, else one per GPU, else one."""
        return self.asked_ranks or self.gpus or 1
