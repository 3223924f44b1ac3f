"""Text from outside, made safe to show: no control character leaves the program as it is.

Ids of items, words of servers, labels and file names may hold sequences that move a terminal's
cursor, line breaks that forge a line of a log, or marks that turn the order of letters around.
The functions are applied where text leaves: errors, consoles, logs, reports and tables.
"""

import re

# Controls (C0, delete, C1), separators of lines and paragraphs, bidirectional embeddings, overrides
# and isolates, halves of surrogate pairs, and the two that are no characters (nor allowed in XML).
_UNSAFE = (
    "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069"
    "\\ud800-\\udfff\\ufffe\\uffff"
)
_SIGN = re.compile(f"[{_UNSAFE}]")
_SIGN_IN_LINES = re.compile(f"(?![\\n\\t])[{_UNSAFE}]")
_BREAK = re.compile("\\s*[\\t\\n\\v\\f\\r\\x1c-\\x1e\\x85\\u2028\\u2029]\\s*")


def visible_text(text: str) -> str:
    r"""The text as one line: breaks become a space, other unsafe characters are written as \x1b."""
    if text.isprintable():
        return text
    return _SIGN.sub(_written, _BREAK.sub(" ", text))


def visible_lines(text: str) -> str:
    r"""The text with its lines and tabs, other unsafe characters written as \x1b."""
    if text.isprintable():
        return text
    return _SIGN_IN_LINES.sub(_written, text.replace("\r\n", "\n"))


def is_visible(text: str) -> bool:
    """Whether a text is one line without unsafe characters."""
    return text.isprintable() or not _SIGN.search(text)


def _written(sign: re.Match[str]) -> str:
    return sign[0].encode("unicode_escape").decode()
