"""Kernels for GPUs, in Triton: what a transformer over short series does between its products.

A product of large matrices is best left to the vendor's library. All else is bound by memory, so
each kernel reads its input once and writes its result once. The tokens of a pixel (months and class
token, 13) are padded to 16, the smallest side that a GPU's matrix units take.

The results have the type of the output, float16 on a GPU; sums, softmax and normalisation are of
float32. A number that overflows float16 becomes infinite, and its pixel's tokens not a number.
"""

import torch
import triton
import triton.language as tl

from models.encoder.triton_products import Unnormalised

LEAST_SIDE = 16
"""The smallest side of a matrix product in a kernel; sides are powers of 2."""


def padded(size: int) -> int:
    """The side that a kernel takes for a matrix of this size."""
    return max(LEAST_SIDE, triton.next_power_of_2(size))


def first_terms(
    series: torch.Tensor, form: torch.Tensor, constant: torch.Tensor, tokens: int
) -> torch.Tensor:
    """The terms of the first layer's attention, as `FirstLayer` defines them.

    Args:
        series: float (B, T, S), normalised.
        form: (heads, S', S' + N'), the coefficients by bands: of the other token's bands, then of
            the other token itself. S' and N' are `padded`; what is added is 0.
        constant: (heads, N', S' + N'), the same coefficients' constants by token.
        tokens: N = T + 1.

    Returns:
        (B · N, heads · (S' + N') + S') of `form`'s type: for each head the sum of bands over
        attention, and attention; then the token's own bands.
    """
    count, _, bands = series.shape
    heads, side_bands, both = form.shape
    side = both - side_bands
    width = heads * both + side_bands
    terms = torch.empty(count * tokens, width, dtype=form.dtype, device=series.device)
    at_once = 4
    _first_terms[(triton.cdiv(count, at_once),)](
        series,
        form,
        constant,
        terms,
        count,
        TOKENS=tokens,
        BANDS=bands,
        HEADS=heads,
        SIDE=side,
        SIDE_BANDS=side_bands,
        AT_ONCE=at_once,
        num_warps=4,
    )
    return terms


@triton.jit(do_not_specialize=["count"])  # it differs by batch
def _first_terms(
    series_ptr,
    form_ptr,
    constant_ptr,
    terms_ptr,
    count,
    TOKENS: tl.constexpr,
    BANDS: tl.constexpr,
    HEADS: tl.constexpr,
    SIDE: tl.constexpr,
    SIDE_BANDS: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    kind = terms_ptr.dtype.element_ty
    both: tl.constexpr = SIDE_BANDS + SIDE
    width: tl.constexpr = HEADS * both + SIDE_BANDS
    row = tl.arange(0, AT_ONCE * SIDE)
    pixel = tl.program_id(0).to(tl.int64) * AT_ONCE + row // SIDE
    token = row % SIDE
    band = tl.arange(0, SIDE_BANDS)
    other = tl.arange(0, SIDE)
    # The class token, 0, has no bands.
    observed = (pixel < count) & (token > 0) & (token < TOKENS)
    place = series_ptr + (pixel * (TOKENS - 1) + token - 1) * BANDS
    flat = tl.load(
        place[:, None] + band[None, :],
        mask=observed[:, None] & (band < BANDS)[None, :],
        other=0.0,
    ).to(kind)
    bands = tl.reshape(flat, (AT_ONCE, SIDE, SIDE_BANDS))
    turned = tl.permute(bands, (0, 2, 1))
    wanted = ((pixel < count) & (token < TOKENS))[:, None]
    out = terms_ptr + ((pixel * TOKENS + token) * width)[:, None]
    for head in tl.static_range(HEADS):
        of_band = form_ptr + (head * SIDE_BANDS + band)[:, None] * both
        of_token = constant_ptr + (head * SIDE + token)[:, None] * both
        by_bands = tl.dot(flat, tl.load(of_band + band[None, :])) + tl.load(
            of_token + band[None, :]
        ).to(tl.float32)
        by_token = tl.dot(flat, tl.load(of_band + SIDE_BANDS + other[None, :])) + tl.load(
            of_token + SIDE_BANDS + other[None, :]
        ).to(tl.float32)
        left = tl.reshape(by_bands.to(kind), (AT_ONCE, SIDE, SIDE_BANDS))
        scores = tl.dot(left, turned) + tl.reshape(by_token, (AT_ONCE, SIDE, SIDE))
        scores = tl.where((other < TOKENS)[None, None, :], scores, float("-inf"))
        shares = tl.exp(scores - tl.max(scores, axis=2)[:, :, None])
        shares = (shares / tl.sum(shares, axis=2)[:, :, None]).to(kind)
        summed = tl.reshape(tl.dot(shares, bands), (AT_ONCE * SIDE, SIDE_BANDS))
        tl.store(out + head * both + band[None, :], summed.to(kind), mask=wanted)
        shares = tl.reshape(shares, (AT_ONCE * SIDE, SIDE))
        tl.store(out + head * both + SIDE_BANDS + other[None, :], shares, mask=wanted)
    tl.store(out + HEADS * both + band[None, :], flat, mask=wanted)


def short_attention(
    projected: torch.Tensor,
    query_bias: torch.Tensor,
    rows: Unnormalised,
    tokens: int,
    heads: int,
) -> torch.Tensor:
    """Attention of each pixel's tokens to one another.

    Args:
        projected: (B · N, 3 · dim): queries, to which the scores' scale was applied, keys and
            values; of rows whose means were taken away and which are not divided by their
            deviations.
        query_bias: (dim,).
        rows: What was projected.
        tokens: N.
        heads: Attention heads.

    Returns:
        (B · N, dim).
    """
    count, dim = rows.values.shape
    out = torch.empty_like(rows.values)
    at_once = 2
    _short_attention[(triton.cdiv(count // tokens * heads, at_once),)](
        projected,
        query_bias,
        rows.moments,
        out,
        count,
        TOKENS=tokens,
        HEADS=heads,
        DIM=dim // heads,
        SIDE=padded(tokens),
        SIDE_DIM=padded(dim // heads),
        AT_ONCE=at_once,
        num_warps=2,
    )
    return out


@triton.jit(do_not_specialize=["count"])  # it differs by batch
def _short_attention(
    projected_ptr,
    bias_ptr,
    moments_ptr,
    out_ptr,
    count,
    TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    SIDE: tl.constexpr,
    SIDE_DIM: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    kind = out_ptr.dtype.element_ty
    number = tl.program_id(0).to(tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)[:, None]
    token = tl.arange(0, SIDE)[None, :]
    row = number // HEADS * TOKENS + token
    of_token = (row < count) & (token < TOKENS)
    scale = tl.load(moments_ptr + count + row, mask=of_token, other=0.0)
    scale = scale[:, :, None]
    column = tl.arange(0, SIDE_DIM)[None, None, :]
    wanted = of_token[:, :, None] & (column < DIM)
    row = row[:, :, None]
    at = (number % HEADS)[:, :, None] * DIM + column
    query_ptr = projected_ptr + row * (3 * HEADS * DIM) + at
    query = tl.load(query_ptr, mask=wanted, other=0.0).to(tl.float32) * scale
    key = tl.load(query_ptr + HEADS * DIM, mask=wanted, other=0.0).to(tl.float32) * scale
    value = tl.load(query_ptr + 2 * HEADS * DIM, mask=wanted, other=0.0).to(tl.float32) * scale
    query += tl.load(bias_ptr + at, mask=column < DIM, other=0.0).to(tl.float32)
    scores = tl.dot(query.to(kind), tl.permute(key.to(kind), (0, 2, 1)))
    scores = tl.where((tl.arange(0, SIDE) < TOKENS)[None, None, :], scores, float("-inf"))
    shares = tl.exp(scores - tl.max(scores, axis=2)[:, :, None])
    shares = shares / tl.sum(shares, axis=2)[:, :, None]
    attended = tl.dot(shares.to(kind), value.to(kind))
    tl.store(out_ptr + row * (HEADS * DIM) + at, attended.to(kind), mask=wanted)


def add_and_normalise(
    rows: torch.Tensor, added: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """The layer norm, of weights (dim,), of rows (n, dim) + added (dim,); rows may lie apart."""
    count, dim = rows.shape
    out = torch.empty(count, dim, dtype=rows.dtype, device=rows.device)
    at_once = 4
    _add_and_normalise[(triton.cdiv(count, at_once),)](
        rows,
        added,
        weight,
        bias,
        out,
        rows.stride(0),
        count,
        eps,
        DIM=dim,
        SIDE=padded(dim),
        AT_ONCE=at_once,
        num_warps=2,
    )
    return out


@triton.jit(do_not_specialize=["count"])  # it differs by batch
def _add_and_normalise(
    rows_ptr,
    added_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    stride,
    count,
    eps,
    DIM: tl.constexpr,
    SIDE: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)[:, None]
    column = tl.arange(0, SIDE)[None, :]
    inside = column < DIM
    wanted = (row < count) & inside
    values = tl.load(rows_ptr + row * stride + column, mask=wanted, other=0.0).to(tl.float32)
    values += tl.load(added_ptr + column, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(values, axis=1)[:, None] / DIM
    centred = tl.where(inside, values - mean, 0.0)
    variance = tl.sum(centred * centred, axis=1)[:, None] / DIM
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
    result = centred * (1 / tl.sqrt(variance + eps)) * weight + bias
    tl.store(out_ptr + row * DIM + column, result.to(out_ptr.dtype.element_ty), mask=wanted)


def class_attention(queries: torch.Tensor, rows: Unnormalised, tokens: int) -> torch.Tensor:
    """The sums of each pixel's tokens, by deviation, over the attention of its class token.

    Args:
        queries: (heads, B, dim), in the space of the tokens, whose means they ignore.
        rows: (B · N, dim), the tokens.
        tokens: N.

    Returns:
        (heads, B, dim).
    """
    heads, count, dim = queries.shape
    out = torch.empty_like(queries)
    _class_attention[(count,)](
        queries,
        rows.values,
        rows.moments,
        out,
        count,
        TOKENS=tokens,
        HEADS=heads,
        DIM=dim,
        SIDE=padded(tokens),
        SIDE_HEADS=padded(heads),
        SIDE_DIM=padded(dim),
        num_warps=1,
    )
    return out


@triton.jit(do_not_specialize=["count"])  # it differs by batch
def _class_attention(
    queries_ptr,
    tokens_ptr,
    moments_ptr,
    out_ptr,
    count,
    TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    SIDE: tl.constexpr,
    SIDE_HEADS: tl.constexpr,
    SIDE_DIM: tl.constexpr,
):
    kind = out_ptr.dtype.element_ty
    pixel = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, SIDE_HEADS)[:, None]
    token, other = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)
    column = tl.arange(0, SIDE_DIM)[None, :]
    of_head = (head < HEADS) & (column < DIM)
    place = (head.to(tl.int64) * count + pixel) * DIM + column
    query = tl.load(queries_ptr + place, mask=of_head, other=0.0)
    tokens = tl.load(
        tokens_ptr + (pixel * TOKENS + token) * DIM + column,
        mask=(token < TOKENS) & (column < DIM),
        other=0.0,
    )
    scale_ptr = moments_ptr + (count + pixel) * TOKENS + other
    scale = tl.load(scale_ptr, mask=other < TOKENS, other=0.0)
    scores = tl.dot(query, tl.trans(tokens)) * scale[None, :]
    scores = tl.where((other < TOKENS)[None, :], scores, float("-inf"))
    shares = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    shares = shares / tl.sum(shares, axis=1)[:, None] * scale[None, :]
    tl.store(out_ptr + place, tl.dot(shares.to(kind), tokens).to(kind), mask=of_head)
