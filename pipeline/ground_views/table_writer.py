"""The writer of a ground table, which can be resumed after an interruption."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from pipeline.errors import DatasetError
from pipeline.ground_views.table import GROUND_CARD, UNREADABLE, GroundCard
from pipeline.io.store import public_url
from pipeline.io.table_folder import TableFolder, reasons_csv


class GroundFolder(TableFolder):
    """The folder of a ground table while it is written.

    The notes on a part are the photos that cannot be read, with the reason, by key.
    """

    card_key = GROUND_CARD
    rows_name = "embeddings"

    def finish(
        self,
        kind: Literal["photos", "texts"],
        tower: tuple[str, str, int],
        made: Mapping[str, Any],
        left_out: Mapping[str, int],
        attribution: str,
        possible: int = 0,
    ) -> GroundCard:
        """Write `unreadable.csv` and then the card, from the parts that are there.

        Args:
            kind: The kind of views.
            tower: Name, revision and dimension of the tower.
            made: The sources of the table, for the card.
            left_out: Counts of photos or texts that never came into a part, by reason.
            attribution: The attribution of the photos or texts.
            possible: Further keys that a point has at most. Parts have their column unless it is 0.

        Raises:
            DatasetError: No row is left.
        """
        unreadable: dict[str, str] = {}
        views = Counter[str]()
        for table, notes in self.read_parts(["id"]):
            views.update(table["id"].to_pylist())
            unreadable |= notes
        if unreadable:
            self.store.write(UNREADABLE, reasons_csv("photo", unreadable))
        if not views:
            name, reason = next(iter(unreadable.items()))
            raise DatasetError(
                public_url(self.store.root),
                f"none of {len(unreadable)} photos can be read, such as {name} ({reason})",
                "Check that the photos are whole, and that their names are right",
            )
        reasons = Counter(reason.partition(":")[0] for reason in unreadable.values())
        spec, revision, dim = tower
        card = GroundCard(
            kind=kind,
            tower=spec,
            revision=revision,
            dim=dim,
            rows=views.total(),
            points=len(views),
            views=max(views.values()),
            possible=possible,
            left_out={**left_out, **dict(reasons.most_common())},
            made=dict(made),
            attribution=attribution,
            **self.origin(),
        )
        self.write_card(card)
        return card
