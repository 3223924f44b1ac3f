"""The project's own errors. A user's mistake has three parts: given, problem, and remedy."""


class TimesenError(Exception):
    """Any failure that timesen explains itself; the command line prints it without a traceback."""


class UserError(TimesenError, ValueError):
    """A mistake in the user's input; the command line exits with 2.

    Attributes:
        given: The input.
        problem: What is wrong with it.
        remedy: What would work.
    """

    def __init__(self, given: str, problem: str, remedy: str) -> None:
        super().__init__(given, problem, remedy)
        self.given = given
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.given}: {self.problem}. {self.remedy}."


class WorldError(TimesenError, RuntimeError):
    """A failure outside the program (network, disk, a server); the command line exits with 1."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or does not fit what it is used for."""


class VocabularyError(UserError):
    """A vocabulary that is unknown, contradicts itself, or does not fit the checkpoint."""


class PretrainingError(UserError):
    """A recipe, a batch or a saved state with which training is not possible."""
