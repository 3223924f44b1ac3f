"""Errors of our own: a user's mistake says what was given, what is wrong and what would work."""


class TimesenError(Exception):
    """Any failure that timesen explains itself; the command line prints it without a traceback."""


class UserError(TimesenError, ValueError):
    """A mistake in what the user gave; the command line exits with 2.

    `given` is what was given, `problem` what is wrong with it, `remedy` what would work.
    """

    def __init__(self, given: str, problem: str, remedy: str) -> None:
        super().__init__(given, problem, remedy)
        self.given = given
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.given}: {self.problem}. {self.remedy}."


class WorldError(TimesenError, RuntimeError):
    """A failure of the world (network, disk, another's server); the command line exits with 1."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or does not fit what it is used for."""


class VocabularyError(UserError):
    """A vocabulary that is unknown, contradicts itself, or does not fit the checkpoint."""


class PretrainingError(UserError):
    """A recipe, a batch or a saved state with which no training can go on."""
