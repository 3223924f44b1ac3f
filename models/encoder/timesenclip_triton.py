"""The TimeSenCLIP encoder on a GPU: float16 weights, and no pass over the tokens but products.

Between products, PyTorch passes over the tokens many times, which takes three quarters of its time.
Here attention is one pass (`models.encoder.triton_kernels`), and normalisation, residuals, biases
and ReLU belong to the products (`models.encoder.triton_products`). `tests.benchmarks.bench_gpu`
compares.
"""

import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.timesenclip_layers import (
    AfterAttention,
    FastLayers,
    FirstLayer,
    LastLayer,
    MiddleLayer,
)
from models.encoder.triton_kernels import (
    add_and_normalise,
    class_attention,
    first_terms,
    padded,
    short_attention,
)
from models.encoder.triton_products import (
    NormedProduct,
    PeriodicProduct,
    Product,
    ResidualProduct,
    Unnormalised,
    without_means,
)


class TritonTimeSenClip(nn.Module):
    """A fast TimeSenCLIP encoder's function, computed with Triton's kernels.

    Its weights are copies of type `dtype`, on the encoder's device.
    """

    def __init__(self, fast: FastLayers, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.architecture = fast.architecture
        self.first = nn.ModuleDict({str(n): _First(layer) for n, layer in fast.first.items()})
        after = next(iter(fast.first.values())).after
        self.middle = nn.ModuleList()
        for layer in fast.middle:
            self.middle.append(_Middle(layer, after.norm2))
            after = layer.after
        self.last = None if fast.last is None else _Last(fast.last, after.norm2)
        self.norm = _Norm(after.norm2) if fast.last is None else None
        head_norm, project = fast.head
        assert isinstance(head_norm, nn.LayerNorm)
        assert isinstance(project, nn.Linear)
        self.head_norm = _Norm(head_norm)
        self.project, self.project_bias = _copies(project.weight, project.bias)
        self.to(fast.device, dtype).requires_grad_(False)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Embed normalised series, as `FastEncoder.forward` does."""
        self.architecture.require_shape(series)
        steps = series.shape[1]
        tokens: Unnormalised = self.first[str(steps)](series.flatten(2).contiguous())
        for layer in self.middle:
            tokens = layer(tokens, steps + 1)
        if self.last is not None:
            rows = self.last(tokens, steps + 1)
        else:
            assert self.norm is not None
            rows = self.norm(tokens.values[:: steps + 1])
        rows = self.head_norm(rows)
        return F.normalize(torch.addmm(self.project_bias, rows, self.project.T).float(), dim=-1)


class _Norm(nn.Module):
    """A layer norm of rows (n, dim) + `added` (dim,); rows may lie apart."""

    added: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, norm: nn.LayerNorm, added: torch.Tensor | None = None) -> None:
        super().__init__()
        self.eps = norm.eps
        zeros = torch.zeros(norm.normalized_shape)
        self.register_buffer("added", zeros if added is None else added.detach().clone())
        weight = torch.ones_like(zeros) if norm.weight is None else norm.weight.detach().clone()
        self.register_buffer("weight", weight)
        bias = torch.zeros_like(zeros) if norm.bias is None else norm.bias.detach().clone()
        self.register_buffer("bias", bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return add_and_normalise(rows, self.added, self.weight, self.bias, self.eps)


class _AfterAttention(nn.Module):
    """`AfterAttention`, its first norm's input given, its last norm not applied: on (n, dim)."""

    def __init__(self, after: AfterAttention) -> None:
        super().__init__()
        wide, narrow = after.wide, after.narrow
        self.wide = NormedProduct(after.norm1, wide.weight.T, wide.bias)
        self.narrow = ResidualProduct(narrow.weight.T, narrow.bias, after.norm1, after.norm2)

    def forward(self, rows: Unnormalised) -> Unnormalised:
        return self.narrow(self.wide(rows), rows)


class _First(nn.Module):
    """`FirstLayer`: (B, T, S) → (B · N, dim), its last norm not applied."""

    form: torch.Tensor
    constant: torch.Tensor

    def __init__(self, layer: FirstLayer) -> None:
        super().__init__()
        self.tokens, heads, bands = layer.tokens, layer.heads, layer.bands
        side_bands, side = padded(bands), padded(self.tokens)
        by_head = (heads, bands + self.tokens)
        form = layer.form.weight.detach().T.unflatten(1, by_head).movedim(1, 0)
        constant = layer.form_constant.unflatten(1, by_head).movedim(1, 0)
        self.register_buffer("form", _spread(form, side_bands, bands, side_bands, side))
        self.register_buffer("constant", _spread(constant, side, bands, side_bands, side))
        out = layer.out.weight.detach().T
        summed = out[: heads * bands].unflatten(0, (heads, bands))
        shares = out[heads * bands : -bands].unflatten(0, (heads, self.tokens))
        both = torch.cat((_padded_rows(summed, side_bands), _padded_rows(shares, side)), dim=1)
        own = _padded_rows(out[None, -bands:], side_bands)[0]
        matrix = torch.cat((both.flatten(0, 1), own))
        self.out = PeriodicProduct(matrix, layer.out_constant, layer.after.norm1)
        self.after = _AfterAttention(layer.after)

    def forward(self, series: torch.Tensor) -> Unnormalised:
        terms = first_terms(series, self.form, self.constant, self.tokens)
        return self.after(self.out(terms))


class _Middle(nn.Module):
    """`MiddleLayer`, the norm before it applied, its own last not: (B · N, dim) → (B · N, dim).

    A bias of keys adds the same to all scores of a query; that of values moves into the output's.
    """

    query_bias: torch.Tensor

    def __init__(self, layer: MiddleLayer, before: nn.LayerNorm) -> None:
        super().__init__()
        self.heads = layer.shape[0]
        matrix, out = layer.project.weight.detach().double().T, layer.out.weight.detach().double().T
        self.project = Product(without_means(before, matrix))
        shift = before.bias.detach().double() @ matrix + layer.project.bias.detach()
        query_bias, _, value_bias = shift.chunk(3)
        self.register_buffer("query_bias", query_bias)
        self.out = ResidualProduct(
            out, layer.out.bias + value_bias @ out, before, layer.after.norm1
        )
        self.after = _AfterAttention(layer.after)

    def forward(self, rows: Unnormalised, tokens: int) -> Unnormalised:
        projected = self.project(rows.values)
        attended = short_attention(projected, self.query_bias, rows, tokens, self.heads)
        return self.after(self.out(attended, rows))


class _Last(nn.Module):
    """`LastLayer`, the norm before it applied: (B · N, dim) → (B, dim)."""

    def __init__(self, layer: LastLayer, before: nn.LayerNorm) -> None:
        super().__init__()
        self.shape = layer.shape
        self.before = _Norm(before)
        self.query, self.query_bias = _copies(layer.query.weight, layer.query.bias)
        value, out = layer.value.detach().double(), layer.out.weight.detach().double().T
        key = without_means(before, layer.key.mT).mT.contiguous()
        self.key, self.value, self.out = _copies(key, without_means(before, value), out.T)
        value_bias = (before.bias.detach().double() @ value).flatten()
        after = layer.after
        self.norm1 = _Norm(after.norm1, layer.out.bias.detach() + value_bias @ out)
        self.wide, self.wide_bias = _copies(after.wide.weight, after.wide.bias)
        (self.narrow,) = _copies(after.narrow.weight)
        self.norm2 = _Norm(after.norm2, after.narrow.bias)

    def forward(self, tokens: Unnormalised, each: int) -> torch.Tensor:
        class_token = self.before(tokens.values[::each])
        query = torch.addmm(self.query_bias, class_token, self.query.T)
        by_head = torch.bmm(query.unflatten(-1, self.shape).movedim(1, 0), self.key)
        summed = class_attention(by_head, tokens, each)
        attended = torch.bmm(summed, self.value).movedim(0, 1).flatten(1)
        rows = self.norm1(class_token.addmm_(attended, self.out.T))
        hidden = torch._addmm_activation(self.wide_bias, rows, self.wide.T)  # with ReLU
        return self.norm2(rows.addmm_(hidden, self.narrow.T))


def _copies(*weights: torch.Tensor) -> tuple[nn.Parameter, ...]:
    return tuple(nn.Parameter(weight.detach().clone(), requires_grad=False) for weight in weights)


def _spread(
    matrix: torch.Tensor, rows: int, bands: int, side_bands: int, side: int
) -> torch.Tensor:
    """Pad (heads, n, bands + tokens) to (heads, rows, side_bands + side), each part by itself."""
    by_bands, by_token = matrix.tensor_split([bands], dim=2)
    wide = [
        F.pad(by_bands, (0, side_bands - bands)),
        F.pad(by_token, (0, side - by_token.shape[2])),
    ]
    return _padded_rows(torch.cat(wide, dim=2), rows)


def _padded_rows(matrix: torch.Tensor, rows: int) -> torch.Tensor:
    """Pad (heads, n, m) to (heads, rows, m) with zeros."""
    return F.pad(matrix, (0, 0, 0, rows - matrix.shape[1])).contiguous()
