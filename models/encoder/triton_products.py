"""Products of rows and weights on a GPU, in Triton, with what comes before and after them.

A layer norm takes no pass of its own. The product that makes its input also sums each row and the
squares of its numbers; what uses the norm's result computes it from these:

- A product of it: LN(x) W = ((x − mean) · g / deviation + b) W = (x C g W) / deviation + b W, where
  C takes a row's mean away. C g W is a matrix that is computed once (`NormedProduct.of`); the
  division and b W follow the product.
- A residual, number by number.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import nn
from triton.tools.tensor_descriptor import TensorDescriptor

_CHUNK = 64  # columns of the left side that are multiplied at once


@dataclass(frozen=True)
class Unnormalised:
    """Rows of which only their layer norm is used.

    Attributes:
        values: (n, dim).
        moments: float32 (2, n): the mean of each row, and one by its deviation.
    """

    values: torch.Tensor
    moments: torch.Tensor


@dataclass(frozen=True)
class Shape:
    """How a GPU divides a product.

    Attributes:
        rows: Rows of a block of the result.
        columns: Its columns.
        warps: Warps that compute a block.
        stages: Chunks of both sides that are read ahead.
        programs: Blocks that a multiprocessor computes side by side.
    """

    rows: int
    columns: int
    warps: int
    stages: int
    programs: int = 1


PRODUCT_BLOCK = Shape(128, 256, 8, 3)


class NormedProduct(nn.Module):
    """max(LN(x) @ matrix + bias, 0) of `Unnormalised` rows x."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, norm: nn.LayerNorm, matrix: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", without_means(norm, matrix).T.contiguous())
        self.register_buffer("bias", norm.bias.detach().double() @ matrix.double() + bias)

    def forward(self, rows: Unnormalised) -> torch.Tensor:
        """(n, dim) → (n, width)."""
        out = rows.values.new_empty(len(rows.values), len(self.weight))
        _launch(rows.values, self.weight, out, self.bias, of=rows)
        return out


class ResidualProduct(nn.Module):
    """LN(residual) + x @ matrix + bias."""

    weight: torch.Tensor
    bias: torch.Tensor
    gain: torch.Tensor

    def __init__(
        self, matrix: torch.Tensor, bias: torch.Tensor, norm: nn.LayerNorm, following: nn.LayerNorm
    ) -> None:
        super().__init__()
        self.eps = following.eps
        self.register_buffer("weight", matrix.detach().T.contiguous())
        self.register_buffer("bias", (bias + norm.bias).detach())
        self.register_buffer("gain", norm.weight.detach().clone())

    def forward(self, rows: torch.Tensor, residual: Unnormalised) -> Unnormalised:
        """(n, width), (n, dim) → (n, dim)."""
        return _unnormalised(
            rows, self.weight, self.bias, self.eps, residual=residual, gain=self.gain
        )


class PeriodicProduct(nn.Module):
    """x @ matrix + added, where row i takes row i % period of `added`."""

    weight: torch.Tensor
    added: torch.Tensor

    def __init__(self, matrix: torch.Tensor, added: torch.Tensor, following: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = following.eps
        self.register_buffer("weight", matrix.detach().T.contiguous())
        self.register_buffer("added", added.detach().clone())

    def forward(self, rows: torch.Tensor) -> Unnormalised:
        """(n, width) → (n, dim)."""
        return _unnormalised(rows, self.weight, self.added, self.eps)


class Product(nn.Module):
    """x @ matrix."""

    weight: torch.Tensor

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", matrix.detach().T.contiguous())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(n, width) → (n, dim)."""
        out = rows.new_empty(len(rows), len(self.weight))
        _launch(rows, self.weight, out, None)
        return out


def without_means(norm: nn.LayerNorm, matrix: torch.Tensor) -> torch.Tensor:
    """C g W: float64 (dim, width), so that LN(x) W = (x C g W) / deviation + b W."""
    scaled = norm.weight.detach().double()[:, None] * matrix.detach().double()
    return scaled - scaled.mean(dim=-2, keepdim=True)


def _unnormalised(
    rows: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    *,
    residual: Unnormalised | None = None,
    gain: torch.Tensor | None = None,
) -> Unnormalised:
    """The product, and the moments of its rows."""
    count, dim = len(rows), len(weight)
    parts = 2 * triton.cdiv(dim, PRODUCT_BLOCK.columns)
    sums = torch.empty(2, parts, count, dtype=torch.float32, device=rows.device)
    out = Unnormalised(rows.new_empty(count, dim), torch.empty_like(sums[:, 0]))
    _launch(rows, weight, out.values, bias, sums=sums, residual=residual, gain=gain)
    at_once = 1024
    _moments[(triton.cdiv(count, at_once),)](
        sums, out.moments, count, eps, DIM=dim, PARTS=parts, AT_ONCE=at_once
    )
    return out


@triton.jit(do_not_specialize=["count"])  # it differs by batch
def _moments(
    sums_ptr, out_ptr, count, eps, DIM: tl.constexpr, PARTS: tl.constexpr, AT_ONCE: tl.constexpr
):
    row = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    wanted = row < count
    total = tl.zeros((AT_ONCE,), tl.float32)
    squares = tl.zeros((AT_ONCE,), tl.float32)
    for part in tl.static_range(PARTS):
        total += tl.load(sums_ptr + part * count + row, mask=wanted, other=0.0)
        squares += tl.load(sums_ptr + (PARTS + part) * count + row, mask=wanted, other=0.0)
    mean = total / DIM
    tl.store(out_ptr + row, mean, mask=wanted)
    deviation = tl.sqrt(squares / DIM - mean * mean + eps)
    tl.store(out_ptr + count + row, 1 / deviation, mask=wanted)


def _launch(
    rows: torch.Tensor,
    weight: torch.Tensor,
    out: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    of: Unnormalised | None = None,
    sums: torch.Tensor | None = None,
    residual: Unnormalised | None = None,
    gain: torch.Tensor | None = None,
) -> None:
    shape = PRODUCT_BLOCK
    count, width = rows.shape
    columns = len(weight)
    tiles = triton.cdiv(count, shape.rows) * triton.cdiv(columns, shape.columns)
    programs = min(tiles, shape.programs * multiprocessors(rows.device))
    half = [shape.rows, shape.columns // 2]
    normed = of or residual
    _product[(programs,)](
        TensorDescriptor.from_tensor(rows, [shape.rows, _CHUNK]),
        TensorDescriptor.from_tensor(weight, [shape.columns, _CHUNK]),
        TensorDescriptor.from_tensor(out, half),
        TensorDescriptor.from_tensor(out if residual is None else residual.values, half),
        weight if bias is None else bias,
        weight if gain is None else gain,
        weight if normed is None else normed.moments,
        weight if sums is None else sums,
        count,
        WIDTH=width,
        COLUMNS=columns,
        PERIOD=0 if bias is None else 1 if bias.ndim == 1 else len(bias),
        NORMED=of is not None,
        RESIDUAL=residual is not None,
        SUMS=sums is not None,
        ROWS=shape.rows,
        HALF=shape.columns // 2,
        CHUNK=_CHUNK,
        num_warps=shape.warps,
        num_stages=shape.stages,
    )


def multiprocessors(device: torch.device) -> int:
    """The multiprocessors of a GPU; 1 on a CPU, on which Triton's interpreter runs."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit(do_not_specialize=["count"])  # it differs by batch
def _product(
    rows,
    weight,
    out,
    residual,
    bias_ptr,
    gain_ptr,
    moments_ptr,
    sums_ptr,
    count,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    PERIOD: tl.constexpr,
    NORMED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    SUMS: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
    CHUNK: tl.constexpr,
):
    across: tl.constexpr = (COLUMNS + 2 * HALF - 1) // (2 * HALF)
    tiles = tl.cdiv(count, ROWS) * across
    # Columns first, so that the rows stay in the cache.
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        first, part = tile // across * ROWS, tile % across
        total = tl.zeros((ROWS, 2 * HALF), tl.float32)
        for chunk in range(0, WIDTH, CHUNK):
            left = rows.load([first, chunk])
            total = tl.dot(left, weight.load([part * 2 * HALF, chunk]).T, total)
        row = first + tl.arange(0, ROWS)
        mean, scale = row, row
        if NORMED or RESIDUAL:
            mean = tl.load(moments_ptr + row, mask=row < count, other=0.0)
            scale = tl.load(moments_ptr + count + row, mask=row < count, other=0.0)
        # In two halves, since the numbers of all do not fit beside what they are added to.
        halves = tl.permute(tl.reshape(total, (ROWS, 2, HALF)), (0, 2, 1))
        total, second = tl.split(halves)
        for half in tl.static_range(2):
            if half == 1:
                total = second
            at = 2 * part + half
            result = _finished(
                total,
                mean,
                scale,
                residual,
                bias_ptr,
                gain_ptr,
                sums_ptr,
                first,
                at,
                count,
                out.dtype,
                COLUMNS,
                PERIOD,
                NORMED,
                RESIDUAL,
                SUMS,
                ROWS,
                HALF,
            )
            out.store([first, at * HALF], result)


@triton.jit
def _finished(
    total,
    mean,
    scale,
    residual,
    bias_ptr,
    gain_ptr,
    sums_ptr,
    first,
    part,
    count,
    kind: tl.constexpr,
    COLUMNS: tl.constexpr,
    PERIOD: tl.constexpr,
    NORMED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    SUMS: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """What follows a product: bias, the norm's deviation and ReLU or the residual, and sums."""
    row, column = first + tl.arange(0, ROWS), part * HALF + tl.arange(0, HALF)
    inside = column < COLUMNS
    if NORMED:
        total *= scale[:, None]
    if RESIDUAL:
        gain = tl.load(gain_ptr + column, mask=inside, other=0.0).to(tl.float32)
        values = residual.load([first, part * HALF]).to(tl.float32)
        total += (values - mean[:, None]) * scale[:, None] * gain[None, :]
    if PERIOD == 1:
        total += tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    elif PERIOD > 1:
        place = bias_ptr + (row % PERIOD)[:, None] * COLUMNS + column[None, :]
        total += tl.load(place, mask=inside[None, :], other=0.0).to(tl.float32)
    if NORMED:
        total = tl.where(total < 0, 0.0, total)  # a ReLU that keeps what is not a number
    result = total.to(kind)
    if SUMS:
        # Of the rounded numbers: where one is infinite, the row is not a number.
        kept = tl.where(inside[None, :], result.to(tl.float32), 0.0)
        place = sums_ptr + part * count + row
        tl.store(place, tl.sum(kept, axis=1), mask=row < count)
        place += 2 * ((COLUMNS + 2 * HALF - 1) // (2 * HALF)) * count
        tl.store(place, tl.sum(kept * kept, axis=1), mask=row < count)
    return result
