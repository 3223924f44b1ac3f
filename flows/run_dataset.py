"""A series table made from the command line: its flow with a Prefect server, shown on a console."""

from rich.console import Console

from flows.on_console import on_console, say
from flows.series_settings import Sen4MapSettings, SeriesSettings
from pipeline.series_folder import LEFT_OUT
from pipeline.series_table import SeriesCard
from pipeline.storage import Store


def run_series(settings: SeriesSettings | Sen4MapSettings, console: Console) -> None:
    """Run the flow that the settings are of, and say what was made.

    Raises UserError and WorldError as the flow does.
    """
    with on_console(console) as wait_for_server:
        from flows.dataset_sen4map import dataset_sen4map
        from flows.dataset_series import dataset_series

        wait_for_server()
        card: SeriesCard
        if isinstance(settings, SeriesSettings):
            card = dataset_series(settings)
        else:
            card = dataset_sen4map(settings)
    store = Store(settings.out)
    say(console, f"Series    {card.rows} of {card.points} points: {store.path()}")
    for reason, count in card.left_out.items():
        say(console, f"Left out  {count}: {reason}")
    if card.left_out:
        say(console, f"          named in {store.path(LEFT_OUT)}")
