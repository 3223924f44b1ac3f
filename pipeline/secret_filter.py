"""Secrets taken out of what libraries log: signatures in query strings, users and passwords."""

import logging
import re


class SecretFilter(logging.Filter):
    """Shortens query strings and drops users and passwords in the messages of a logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where its message holds a secret; it is logged always."""
        message = record.getMessage()
        shown = without_secrets(message)
        if shown != message:
            record.msg, record.args = shown, ()
        return True


def without_secrets(message: str) -> str:
    """The message; query strings stand in file names and request lines, too, not in URLs only."""
    return re.sub(r"://[^\s/?#]*@", "://", re.sub(r"\?[^\s'\"`,]+", "?…", message))
