"""The layers of the TimeSenCLIP encoder's fast form; `models.encoder.timesenclip_fast` says why."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.series_encoder import folded_linear
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder


@dataclass(frozen=True)
class FastLayers:
    """The parts of the fast form, of which other forms are made.

    Attributes:
        architecture: The encoder's sizes.
        first: By the steps T of the series, longest first.
        middle: All layers but the first and the last.
        last: None where there is one layer.
        head: A layer norm without weights, and a linear layer.
    """

    architecture: TimeSenClipArchitecture
    first: Mapping[int, "FirstLayer"]
    middle: Sequence["MiddleLayer"]
    last: "LastLayer | None"
    head: nn.Sequential

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.head.parameters()).device


@dataclass(frozen=True)
class LayerWeights:
    """A layer's projections, float64, to be used as x @ matrix.

    `query` includes the scores' scale, and `out_bias` the bias of the values.
    """

    heads: int
    query: torch.Tensor
    query_bias: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    out: torch.Tensor
    out_bias: torch.Tensor
    after: "AfterAttention"

    @property
    def shape(self) -> tuple[int, int]:
        """The number of heads, and the width of each."""
        return self.heads, len(self.query_bias) // self.heads

    @classmethod
    def of(
        cls, layer: nn.TransformerEncoderLayer, sizes: TimeSenClipArchitecture
    ) -> "LayerWeights":
        """Fold a layer's projections."""
        attention = layer.self_attn
        query, key, value = attention.in_proj_weight.detach().double().T.chunk(3, dim=1)
        query_bias, _, value_bias = attention.in_proj_bias.detach().double().chunk(3)
        scale = 1 / math.sqrt(sizes.dim // sizes.heads)
        out = attention.out_proj.weight.detach().double().T
        out_bias = attention.out_proj.bias.detach().double() + value_bias @ out
        return cls(
            heads=sizes.heads,
            query=query * scale,
            query_bias=query_bias * scale,
            key=key,
            value=value,
            out=out,
            out_bias=out_bias,
            after=AfterAttention(layer),
        )

    def of_heads(self, matrix: torch.Tensor) -> torch.Tensor:
        """(…, dim) → (heads, …, dim / heads)."""
        return matrix.unflatten(-1, self.shape).movedim(-2, 0)


class AfterAttention(nn.Module):
    """The part of a layer after its attention, normalisations and feed-forward: on (…, dim)."""

    def __init__(self, layer: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.norm1, self.norm2 = copy.deepcopy(layer.norm1), copy.deepcopy(layer.norm2)
        self.wide = folded_linear(layer.linear1.weight.detach().T, layer.linear1.bias.detach())
        self.narrow = folded_linear(layer.linear2.weight.detach().T, layer.linear2.bias.detach())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Transform the sum of the tokens and their attention."""
        tokens = self.norm1(tokens)
        return self.norm2(self.narrow(self.wide(tokens).relu_()).add_(tokens))


class FirstLayer(nn.Module):
    """The input projection and the first layer: (B, T, S) → tokens (B, N, dim), N = T + 1.

    Token j is x_j E + c_j, of bands x_j (none for the class token, j = 0) and a constant c_j. Of
    one head, with its queries and keys Q and K, the score of i and j is
    (x_i E + c_i) Q Kᵀ (x_j E + c_j)ᵀ: linear in x_j and in an indicator of j, with coefficients
    that are linear in x_i (`form`). The sum over attention, Σ_j a_ij (x_j E + c_j) V O, is
    linear in Σ_j a_ij x_j and a_ij: one product for all heads (`out`), which also adds the token.
    """

    form_constant: torch.Tensor
    out_constant: torch.Tensor

    def __init__(self, encoder: TimeSenClipEncoder, weights: LayerWeights, steps: int) -> None:
        super().__init__()
        project = encoder.spectral_embedding[1]
        assert isinstance(project, nn.Linear)
        embed = project.weight.detach().double().T
        positions = encoder.positions(steps).detach().double()[0] + project.bias.detach().double()
        constant = torch.cat((encoder.class_token.detach().double()[0], positions))
        of_heads = weights.of_heads
        query = of_heads(embed @ weights.query)
        query_constant = of_heads(constant @ weights.query + weights.query_bias)
        # The other side of the form: bands, then one indicator a token.
        key = of_heads(torch.cat((embed, constant)) @ weights.key).mT
        value = of_heads(torch.cat((embed, constant)) @ weights.value)
        out = value @ weights.out.unflatten(0, weights.shape)
        bands = len(embed)
        self.heads, self.bands, self.tokens = weights.heads, bands, steps + 1
        self.form = folded_linear((query @ key).movedim(0, 1).flatten(1))
        form_constant = (query_constant @ key).movedim(0, 1).flatten(1)
        self.register_buffer("form_constant", form_constant)
        self.out = folded_linear(
            torch.cat((out[:, :bands].flatten(0, 1), out[:, bands:].flatten(0, 1), embed))
        )
        self.register_buffer("out_constant", constant + weights.out_bias)
        self.after = weights.after

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Tokens after the layer."""
        bands = F.pad(series, (0, 0, 1, 0))  # the class token has none
        count, tokens, _ = bands.shape
        heads = tokens * self.heads
        form = (self.form(bands) + self.form_constant).view(count, heads, self.bands + tokens)
        scores = torch.baddbmm(form[..., self.bands :], form[..., : self.bands], bands.mT)
        shares = scores.softmax(dim=-1)
        summed = (shares @ bands).view(count, tokens, self.heads * self.bands)
        terms = torch.cat((summed, shares.view(count, tokens, heads), bands), dim=-1)
        return self.after(self.out(terms) + self.out_constant)


class MiddleLayer(nn.Module):
    """A whole layer: (B, N, dim) → (B, N, dim)."""

    def __init__(self, weights: LayerWeights) -> None:
        super().__init__()
        self.shape = weights.shape
        zero = torch.zeros_like(weights.query_bias)
        self.project = folded_linear(
            torch.cat((weights.query, weights.key, weights.value), dim=1),
            torch.cat((weights.query_bias, zero, zero)),
        )
        self.out = folded_linear(weights.out, weights.out_bias)
        self.after = weights.after

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens after the layer."""
        projected = self.project(tokens).unflatten(-1, (3, *self.shape))
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.after(self.out(attended.transpose(1, 2).flatten(2)).add_(tokens))


class LastLayer(nn.Module):
    """The class token of a layer: (B, N, dim) → (B, dim)."""

    def __init__(self, weights: LayerWeights) -> None:
        super().__init__()
        self.shape = weights.shape
        self.query = folded_linear(weights.query, weights.query_bias)
        self.key = nn.Parameter(weights.of_heads(weights.key).mT.contiguous())
        self.value = nn.Parameter(weights.of_heads(weights.value).contiguous())
        self.out = folded_linear(weights.out, weights.out_bias)
        self.after = weights.after

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The class token after the layer."""
        class_token = tokens[:, 0]
        query = self.query(class_token).unflatten(-1, self.shape).movedim(1, 0)
        by_head = torch.bmm(query, self.key).movedim(0, 1)  # (B, heads, dim), in the tokens' space
        shares = torch.bmm(by_head, tokens.mT).softmax(dim=-1)
        summed = torch.bmm(shares, tokens).movedim(1, 0)
        attended = torch.bmm(summed, self.value).movedim(0, 1).flatten(1)
        return self.after(self.out(attended).add_(class_token))
