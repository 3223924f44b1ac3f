"""The table of kinds of faults × outcomes, in Markdown, and its place in a page."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.faults.kinds import KINDS
from tests.faults.outcome import Outcome, Verdict

_BEGIN, _END = "<!-- faults: begin -->", "<!-- faults: end -->"
_COLUMNS = {
    Verdict.UNHARMED: "unharmed",
    Verdict.RESUMED: "ended with a reason and resumed",
    Verdict.LOST: "lost",
    Verdict.WRONG: "wrong",
    Verdict.HUNG: "hung",
    Verdict.LEFT_BEHIND: "left behind",
    Verdict.UNCLEAR: "no reason, or a traceback",
    Verdict.SKIPPED: "not tried",
}


def fault_table(outcomes: Sequence[Outcome]) -> str:
    """A row per kind, a column per verdict, their sums, and what was found, if anything."""
    verdicts = list(_COLUMNS)
    rows = [
        ["fault", "tried", "struck", *_COLUMNS.values()],
        ["---", *["---:"] * (len(verdicts) + 2)],
    ]
    for kind in KINDS:
        own = [each for each in outcomes if each.kind == kind.name]
        if own:
            rows.append([kind.name, *_counts(own)])
    rows.append(["**all**", *_counts(outcomes)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    first, last = min(each.seed for each in outcomes), max(each.seed for each in outcomes)
    return f"Seeds {first} to {last}.\n\n{table}\n"


def _counts(outcomes: Sequence[Outcome]) -> list[str]:
    counts = Counter(each.verdict for each in outcomes)
    struck = sum(each.struck for each in outcomes)
    tried = len(outcomes) - counts[Verdict.SKIPPED]
    return [str(number or "") for number in (tried, struck, *(counts[v] for v in _COLUMNS))]


def write_table(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Put the table between the markers of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    text = f"{before}{_BEGIN}\n{fault_table(outcomes)}{_END}{after}"
    page.write_text(text, encoding="utf-8")
