"""Contrastive pretraining, after arXiv 2508.11919: one process's share of it, step by step.

Random numbers are a function of the recipe's seed, the step and the row's number in the batch over
all processes. So a state needs no random generators, and any number of processes sees the same
series. Dropout alone is drawn for each process.
"""

import copy
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from models.encoder.preprocessing import Preprocessing
from models.encoder.registry import new_encoder
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.errors import PretrainingError
from models.pretraining.batch import Batch, try_to_save_batch
from models.pretraining.checks import field_differences, require_fitting, require_together
from models.pretraining.collectives import Processes
from models.pretraining.contrastive_model import ContrastiveModel
from models.pretraining.memory_bank import MemoryBank
from models.pretraining.model_input import Input, InputMaker
from models.pretraining.recipe import Recipe
from models.pretraining.state import AVERAGE, MODEL, TrainingState
from models.pretraining.validation import Embedded, validation_measures
from models.pretraining.weight_average import WeightAverage


@dataclass(frozen=True)
class StepReport:
    """What happened in a step.

    Attributes:
        step: Its number, from 0.
        loss: The mean over all processes' rows.
        gradient_norm: Before it was limited.
        rate: The learning rate.
        temperature: As it was before the step.
        months: The T that was drawn.
        skipped: In float16 the gradients overflowed, so that the weights stayed as they were.
    """

    step: int
    loss: float
    gradient_norm: float
    rate: float
    temperature: float
    months: int
    skipped: bool = False


class Pretraining:
    """One process's share of a training.

    It is process number `rank` of `world`. With several processes, torch.distributed's group must
    be initialised, and all call `step` and `validate` together. The first weights are those of
    `start`, or drawn by the recipe's seed. With the recipe's `weight_average`, the weights that are
    validated and given by `encoder` are averages over the steps. A batch without a finite loss is
    saved in the folder `failed_batches`, by default the system's for temporary files.

    Raises:
        PretrainingError: Recipe, device, preprocessing and encoder do not fit together.
    """

    def __init__(
        self,
        recipe: Recipe,
        preprocessing: Preprocessing,
        architecture: Architecture,
        device: torch.device,
        *,
        rank: int = 0,
        world: int = 1,
        start: SeriesEncoder | None = None,
        failed_batches: Path | None = None,
    ) -> None:
        require_together(recipe, preprocessing, architecture, device, start)
        self.rows = recipe.share(world)
        """The rows of a batch that this process takes."""
        self.recipe, self.preprocessing, self.architecture = recipe, preprocessing, architecture
        self._device = device
        self._failed_batches = failed_batches or Path(tempfile.gettempdir())
        self._processes = Processes(rank, world)
        self._input = InputMaker(recipe, preprocessing, self._processes, device)
        with self._seeded(0, 0):
            encoder = new_encoder(architecture) if start is None else copy.deepcopy(start)
            self._model = ContrastiveModel(recipe, encoder, self._processes).to(device).train()
        self._average: WeightAverage[ContrastiveModel] | None = None
        if recipe.weight_average is not None:
            self._average = WeightAverage(self._model, recipe.weight_average)
        self._bank: MemoryBank | None = None
        if recipe.loss == "memory-bank":
            self._bank = MemoryBank(recipe.memory_bank, architecture.embedding_dim).to(device)
        self._optimiser = self._model.optimiser(recipe)
        self._scaler = torch.amp.GradScaler("cuda", enabled=recipe.precision == "float16")
        self._parallel = self._over_processes() if world > 1 else self._model
        self._step = 0

    @property
    def steps_done(self) -> int:
        """How many steps have been done, which is the number of the next."""
        return self._step

    @property
    def logit_scale(self) -> float:
        """1 / temperature, as it is now: what a checkpoint's card states."""
        return self._result.loss.logit_scale

    def encoder(self) -> SeriesEncoder:
        """A copy of the encoder as it is now: float32, eval mode, on the CPU."""
        return copy.deepcopy(self._result.encoder).cpu().eval()

    def step(self, batch: Batch) -> StepReport:
        """Train on this process's part of a batch.

        Raises:
            PretrainingError: The batch has other shapes; or, on every process and after saving the
                batch, the loss or its gradient is not finite. The weights are those from before the
                step then.
        """
        if len(batch) != self.rows:
            raise PretrainingError(
                f"a batch of {len(batch)} points",
                f"this process takes {self.rows} of the recipe's {self.recipe.batch}",
                "Leave out what does not fill a batch",
            )
        require_fitting(batch, self.preprocessing, self.architecture.embedding_dim)
        rate = self.recipe.rate_at(self._step)
        inputs = self._input.training(batch, self._step)
        with self._seeded(self._step + 1, self._processes.rank):
            loss, ground = self._parallel(inputs, self._bank)
        mean = float(self._processes.mean(loss))
        if not np.isfinite(mean):
            raise self._stopped(batch, f"the loss is {mean}")
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        limit = self.recipe.steepest or torch.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), limit))
        skipped = not np.isfinite(norm)
        if skipped and not self._scaler.is_enabled():
            raise self._stopped(batch, f"the loss is {mean:.4g}, but its gradient {norm}")
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        temperature = 1 / self._model.loss.logit_scale
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._bank is not None:
            gathered = self._processes.gathered
            self._bank.enqueue(gathered(ground), gathered(inputs.keys))
        self._step += 1
        if self._average is not None:
            self._average.update(self._model, self._step)
        months = inputs.series.shape[1]
        return StepReport(self._step - 1, mean, norm, rate, temperature, months, skipped)

    def validate(self, batches: Iterable[Batch], months: int | None = None) -> dict[str, float]:
        """Measure loss and retrieval over all batches of all processes, as `validation_measures`.

        Series have `months` steps, by default the recipe's highest number.
        """
        return self.validate_parts({"": batches}, months)[0]

    @torch.inference_mode()
    def validate_parts(
        self, parts: Mapping[str, Iterable[Batch]], months: int | None = None
    ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """The measures of `validate` over the batches of all parts, and over those of each.

        All processes name the same parts in the same order.
        """
        steps = months or max(self.recipe.months)
        self._model.eval()
        try:
            embedded = {n: [self._embed(one, steps) for one in of] for n, of in parts.items()}
        finally:
            self._model.train()
        dim, both = self.architecture.embedding_dim, self.recipe.loss == "in-batch"

        def measures(found: Sequence[Embedded]) -> dict[str, float]:
            points = Embedded.joined(found, dim, self._device)
            return validation_measures(points, self._processes, self.logit_scale, both)

        whole = measures(list(chain.from_iterable(embedded.values())))
        if len(embedded) == 1:
            return whole, dict.fromkeys(embedded, whole)
        return whole, {name: measures(found) for name, found in embedded.items()}

    def state(self) -> TrainingState:
        """Where the training stands; the same on every process, so that one may save it."""
        parts = {MODEL: self._model.state_dict()}
        if self._bank is not None:
            parts["bank"] = self._bank.state_dict()
        if self._average is not None:
            parts[AVERAGE] = self._average.module.state_dict()
        for number, values in self._optimiser.state_dict()["state"].items():
            parts[f"optimiser {number}"] = values
        facts = {**self._facts(), "scaler": self._scaler.state_dict()}
        return TrainingState.of_parts(self._step, parts, facts)

    def load_state(self, state: TrainingState) -> None:
        """Go on from a state: on a CPU and the same number of processes, bit for bit.

        Raises:
            PretrainingError: The state is of another recipe, preprocessing or architecture, or has
                other tensors.
        """
        for name, value in self._facts().items():
            if (was := state.facts.get(name)) != value:
                raise PretrainingError(
                    f"the state of step {state.step}",
                    f"its {name} is another: {field_differences(was, value)}",
                    "Go on with the settings that it was made by, or start anew elsewhere",
                )
        try:
            self._load_parts(state.parts(), state.facts["scaler"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise PretrainingError(
                f"the state of step {state.step}",
                f"its tensors are not this training's ({' '.join(str(error).split()):.300})",
                "Remove it, to go on from the state before it, or start anew elsewhere",
            ) from None
        self._step = state.step

    def _load_parts(self, parts: Mapping[str, dict[str, torch.Tensor]], scaler: Any) -> None:
        self._model.load_state_dict(parts[MODEL])
        if self._bank is not None:
            self._bank.load_state_dict(parts["bank"])
        if self._average is not None:
            self._average.module.load_state_dict(parts[AVERAGE])
        values = {
            number: parts[f"optimiser {number}"]
            for number in range(sum(part.startswith("optimiser ") for part in parts))
        }
        groups = self._optimiser.state_dict()["param_groups"]
        shapes = [p.shape for group in self._optimiser.param_groups for p in group["params"]]
        for number, moments in values.items():  # torch itself compares no shapes
            if any(one.ndim and one.shape != shapes[number] for one in moments.values()):
                raise ValueError(f"optimiser {number} has other shapes")
        self._optimiser.load_state_dict({"state": values, "param_groups": groups})
        self._scaler.load_state_dict(scaler)

    @property
    def _result(self) -> ContrastiveModel:
        """The model that is validated and becomes the checkpoint."""
        return self._model if self._average is None else self._average.module

    def _facts(self) -> dict[str, Any]:
        facts = {
            "recipe": self.recipe.model_dump(mode="json"),
            "preprocessing": asdict(self.preprocessing),
            "architecture": asdict(self.architecture),
        }
        if not self.preprocessing.optional_bands:  # states of the first trainings do not have them
            del facts["preprocessing"]["optional_bands"]
        plain: dict[str, Any] = json.loads(json.dumps(facts))
        return plain

    def _over_processes(self) -> DistributedDataParallel:
        """The model with gradients averaged over processes, in buckets that stay as they are.

        After its first pass DDP orders its buckets anew, and a sum over three or more processes
        rounds by the order. A pass whose gradients are thrown away does that before the first
        step, so that a training that goes on from a state adds up in the same order.
        """
        devices = [self._device] if self._device.type == "cuda" else None
        parallel = DistributedDataParallel(self._model, devices, forward_sync_buffers=False)
        sizes = self.architecture
        example = Input(
            torch.zeros(1, sizes.months, sizes.bands, device=self._device),
            None,
            torch.ones(1, 1, sizes.embedding_dim, device=self._device),
            torch.ones(1, 1, dtype=torch.bool, device=self._device),
            torch.zeros(1, dtype=torch.long, device=self._device),
            torch.zeros(1, 1, dtype=torch.long, device=self._device),
        )
        with self._seeded(0, 0):
            loss, _ = parallel(example, self._bank)
            loss.backward()
        self._optimiser.zero_grad()
        return parallel

    @contextmanager
    def _seeded(self, *numbers: int) -> Iterator[None]:
        """Seed torch's generators by the recipe and these numbers, and restore them afterwards."""
        devices = [self._device] if self._device.type == "cuda" else []
        entropy = np.random.SeedSequence([self.recipe.seed, *numbers])
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
            yield

    def _embed(self, batch: Batch, months: int) -> Embedded:
        require_fitting(batch, self.preprocessing, self.architecture.embedding_dim)
        inputs = self._input.validation(batch, months)
        ground = self._result.pooling(inputs.ground, inputs.present)
        pixels, ground = self._result.embed(inputs), F.normalize(ground, dim=-1)
        return Embedded(pixels, ground, inputs.keys, inputs.subjects)

    def _stopped(self, batch: Batch, problem: str) -> PretrainingError:
        """Save the batch of a step that fails; returns the step's error."""
        name = f"batch-step-{self._step:09d}-process-{self._processes.rank}.safetensors"
        return PretrainingError(
            f"step {self._step}",
            f"{problem}; {try_to_save_batch(batch, self._failed_batches / name)}",
            "See that its ground embeddings are finite, or take a lower rate, or limit the "
            "gradient (steepest); the last state that was saved is from before this step",
        )
