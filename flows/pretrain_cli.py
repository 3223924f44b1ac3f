"""The command `timesen pretrain`."""

from typing import TYPE_CHECKING

from flows.options import explained
from flows.pretrain_options import takes_pretrain_settings

if TYPE_CHECKING:
    from flows.pretrain_settings import PretrainSettings


@explained
@takes_pretrain_settings
def pretrain(settings: "PretrainSettings") -> int:
    """Pretrain an encoder on a training set. Stopped and started again, it goes on.

    SET is what `timesen dataset pack` makes. The same command goes on from the last state that was
    saved, whatever ended it.
    """
    from rich.console import Console

    from flows.run_pretrain import run_pretrain

    run_pretrain(settings, Console())
    return 0
