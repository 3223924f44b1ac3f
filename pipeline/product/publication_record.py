"""The record of a run's last publication, for other processes that map the same run."""

import json
import secrets
import socket
from dataclasses import asdict, dataclass
from typing import Any

from models.files.json_text import parse_json
from models.files.process_mark import process_mark
from models.visible_text import visible_text
from pipeline.io.fingerprint import fingerprint, now
from pipeline.io.store import Store
from pipeline.layout import claims_folder
from pipeline.product.cell_report import CellReport
from pipeline.product.manifest import RunManifest
from pipeline.product.report import Summary


@dataclass(frozen=True)
class PublicationRecord:
    """Who published a run, and what.

    Attributes:
        process: The mark of the process.
        host: Its machine.
        when: When it ended, in UTC, for people.
        content: The hash of what was published (`content_of`).
        token: Random, so that no two records are equal.
    """

    process: str
    host: str
    when: str
    content: str
    token: str

    @property
    def is_own(self) -> bool:
        """Whether this process published it."""
        return self.process == process_mark()

    def __str__(self) -> str:
        return f"process {self.process.split('-')[1]} on {visible_text(self.host)}"


def content_of(summary: Summary, crs: str | None) -> str:
    """The hash of what a publication depends on: the cells that are done or failed, and the CRS."""
    return fingerprint(
        {
            "cells": {report.cell: _lasting(report) for report in summary.reports},
            "failures": sorted(failure.cell for failure in summary.failures),
            "crs": crs,
        }
    )


def _lasting(report: CellReport) -> dict[str, Any]:
    """A report without what differs each time that the cell is computed."""
    return {name: v for name, v in report.to_dict().items() if name not in _PASSING}


_PASSING = ("seconds", "retries", "requests", "fetched")  # headers are kept by each process


def record_publication(store: Store, run: RunManifest, content: str) -> None:
    """Record that this process has published a run."""
    host, token = socket.gethostname(), secrets.token_hex(8)
    record = PublicationRecord(process_mark(), host, now(), content, token)
    store.write(_key(run), json.dumps(asdict(record), indent=1).encode() + b"\n")


def read_publication(store: Store, run: RunManifest) -> PublicationRecord | None:
    """The record of a run's last publication; None where there is none, or it is damaged."""
    for _, content in store.read_many([_key(run)]):
        try:
            record = PublicationRecord(**parse_json(content))
            if record.process.count("-") == 2 and all(vars(record).values()):
                return record
        except (TypeError, ValueError, AttributeError):
            return None
    return None


def _key(run: RunManifest) -> str:
    return f"{claims_folder(run.fingerprint)}/published.json"
