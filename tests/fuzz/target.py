"""The contract of a target: what is fuzzed, with which files, and what must hold."""

import random
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from models.errors import TimesenError

Files = Mapping[str, bytes]
"""An input: the content of each file, by its path in the folder that is read."""

_LONGEST_ERROR = 20_000  # characters; what is longer than that floods a terminal


class Wrong(AssertionError):
    """What was read is accepted, and is not what it should be."""


class Target(ABC):
    """A door through which files of others come in; its inputs are drawn from valid ones.

    Args:
        seeds: The folder that `make_seeds` has filled.
        scratch: An empty folder, for the files of one input at a time.
    """

    name: ClassVar[str]
    refusals: ClassVar[tuple[type[Exception], ...]] = (TimesenError,)
    """The errors by which an input may be refused."""

    def __init__(self, seeds: Path, scratch: Path) -> None:
        self.seeds, self.scratch = seeds, scratch

    @classmethod
    @abstractmethod
    def make_seeds(cls, folder: Path) -> None:
        """Write the valid files from which inputs are made; called once, in its own process."""

    @abstractmethod
    def make(self, draw: random.Random) -> Files:
        """An input, a function of the seeds and of what is drawn."""

    @abstractmethod
    def read(self, files: Files) -> None:
        """Read an input by the product's own functions; raises Wrong for a wrong result."""

    def kept(self, files: Files) -> Files:
        """An input as it is kept in the corpus; `restored` gives it back."""
        return files

    def restored(self, files: Files) -> Files:
        """An input from the corpus, fitted to the seeds of this version."""
        return files

    def try_input(self, files: Files) -> bool:
        """Whether an input is accepted; raises whatever is no refusal, or has no good text."""
        try:
            self.read(files)
        except self.refusals as error:
            text = str(error)
            text.encode()  # a lone surrogate would end the print with a traceback
            if not text.strip() or len(text) > _LONGEST_ERROR:
                raise Wrong(f"an error of {len(text)} characters: {text[:200]}") from None
            return False
        return True

    def write(self, files: Files, base: Path | None = None) -> Path:
        """The scratch folder with the files, over links to those of a folder `base`."""
        folder = self.scratch / "input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for source in sorted(base.rglob("*")) if base else ():
            key = source.relative_to(base or source)
            if source.is_dir():
                (folder / key).mkdir()
            elif key.as_posix() not in files:
                (folder / key).symlink_to(source)
        for key, content in files.items():
            place = folder / key
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return folder


def corpus_of(target: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The name and the files of each kept input of a target."""
    root = Path(__file__).parent / "corpus" / target
    for case in sorted(root.iterdir()) if root.is_dir() else ():
        files = sorted(file for file in case.rglob("*") if file.is_file())
        yield case.name, {file.relative_to(case).as_posix(): file.read_bytes() for file in files}
