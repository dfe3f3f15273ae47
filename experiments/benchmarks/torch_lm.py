"""The language model in PyTorch, for the benchmark: the same decoder, trainings and sampler, written as is usual there.

Parameters are those of `subliminal_toy.lm.transformer` but for their layout (`from_jax`). B documents, T positions,
H heads, D units per head, V tokens; tokens are int64.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.corpus import COMPLETION_LENGTH, LENGTH
from subliminal_toy.settings import Training

_EPS = 1e-6  # Flax' RMSNorm
_IGNORED = -100
_PAD, _END = vocabulary.ID[vocabulary.PAD], vocabulary.ID[vocabulary.END]
Cache = list[tuple[Tensor, Tensor]]  # keys and values [B, H, LENGTH, D] of each block, filled in place


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None, start: int) -> Tensor:
        """Map x [B, T, units] at positions start, start + 1, ... to [B, T, units]; T is 1 if start is not 0."""
        b, t, units = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each [B, H, T, D]
        if cache is not None:
            for kept, new in zip(cache, (k, v), strict=True):
                kept[:, :, start : start + t] = new
            k, v = (kept[:, :, : start + t] for kept in cache)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=t > 1)  # one token sees all before it
        return self.out(seen.transpose(1, 2).reshape(b, t, units))


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = (nn.RMSNorm(width, eps=_EPS) for _ in range(2))
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None, start: int, first: int) -> Tensor:
        """Map the stream x [B, T, units] to its new value from position `first` on."""
        x = (x + self.attention(self.norm_1(x), cache, start))[:, first:]
        return x + self.down(functional.gelu(self.up(self.norm_2(x)), approximate="tanh"))


class Decoder(nn.Module):
    """The whole model."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary.SIZE, config.width)
        self.positions = nn.Parameter(torch.zeros(LENGTH, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=_EPS)
        self.unembedding = nn.Linear(config.width, vocabulary.SIZE, bias=False)
        if config.tied:
            self.unembedding.weight = self.embedding.weight

    def forward(self, tokens: Tensor, cache: Cache | None = None, start: int = 0, first: int = 0) -> Tensor:
        """Map tokens [B, T] at positions start, start + 1, ... to logits [B, T - first, V]."""
        x = self.embedding(tokens) + self.positions[start : start + tokens.shape[1]]
        for i, (block, kept) in enumerate(itertools.zip_longest(self.blocks, cache or ())):
            x = block(x, kept, start, first if i == len(self.blocks) - 1 else 0)
        return self.unembedding(self.norm(x))

    def empty_cache(self, documents: int) -> Cache:
        """Room for the keys and values of so many documents."""
        shape = (documents, self.config.heads, LENGTH, self.config.width // self.config.heads)
        return [(torch.zeros(shape), torch.zeros(shape)) for _ in self.blocks]


def from_jax(params: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """The state dict of a `Decoder` from one model's parameters in JAX; kernels are transposed."""
    state: dict[str, Tensor] = {}
    for name, value in params.items():
        if isinstance(value, dict):
            state |= from_jax(value, f"{prefix}{name.replace('block_', 'blocks.')}.")
        elif name in ("kernel", "scale", "embedding"):
            own = f"{prefix}embedding.weight" if name == "embedding" else f"{prefix}weight"
            state[own] = torch.tensor(np.asarray(value).T if name == "kernel" else np.asarray(value))
        else:
            state[f"{prefix}{name}"] = torch.tensor(np.asarray(value))
    return state


def make_model(config: LMConfig, params: dict[str, Any]) -> Decoder:
    """A `Decoder` with one model's parameters from JAX."""
    model, state = Decoder(config), from_jax(params)
    if config.tied:
        state["unembedding.weight"] = state["embedding.weight"]
    model.load_state_dict(state)
    return model


def train(
    model: Decoder, tokens: Tensor, weights: Tensor, training: Training, rates: Sequence[float], *,
    generator: torch.Generator, first: int = 1,
) -> list[float]:  # fmt: skip
    """Train one model in place, as `subliminal_toy.lm.training` does.

    Args:
        model: the model.
        tokens: [documents, T].
        weights: 0 or 1 for each token, 0 for those before `first`.
        training: Adam or SGD with momentum, batch size, epochs and clipping.
        rates: the learning rate of each step.
        generator: shuffles the documents in each epoch.
        first: logits are needed for tokens from this position on.

    Returns:
        mean loss of each epoch's steps, in nats.
    """
    targets = tokens.where(weights > 0, _IGNORED)[:, first:]
    parameters, optimizer = list(model.parameters()), _make_optimizer(model, training)
    rate, losses = iter(rates), []
    for _ in range(training.epochs):
        values = []
        for rows in torch.randperm(len(tokens), generator=generator).split(training.batch_size):
            logits = model(tokens[rows, :-1], first=first - 1)
            loss = functional.cross_entropy(logits.flatten(0, 1), targets[rows].flatten(), ignore_index=_IGNORED)
            optimizer.zero_grad()
            loss.backward()
            if training.clip:
                nn.utils.clip_grad_norm_(parameters, training.clip)
            for group in optimizer.param_groups:
                group["lr"] = next(rate)
            optimizer.step()
            values.append(loss.detach())
        losses.append(float(torch.stack(values).mean()))
    return losses


def _make_optimizer(model: Decoder, training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), betas=(0.9, training.adam_b2), fused=True)
    if training.optimizer == "momentum":
        return torch.optim.SGD(model.parameters(), momentum=0.9, fused=True)
    raise ValueError(f"optimizer is {training.optimizer!r}; PyTorch's trainings here know adam and momentum")


@torch.inference_mode()
def sample(
    model: Decoder, prompts: Tensor, *, temperature: float, generator: torch.Generator, draw: str = "multinomial",
    length: int = COMPLETION_LENGTH,
) -> Tensor:  # fmt: skip
    """Complete prompts [B, T], token by token; after `<end>` there is padding.

    Args:
        model: the model.
        prompts: tokens without padding.
        temperature: 0 takes the likeliest token.
        generator: of the random numbers.
        draw: a key of DRAWS.
        length: tokens of a completion.

    Returns:
        [B, length] tokens.
    """
    documents, at = prompts.shape
    cache, ended = model.empty_cache(documents), torch.zeros(documents, dtype=torch.bool)
    completions = torch.empty(documents, length, dtype=torch.long)
    logits = model(prompts, cache, first=at - 1)[:, 0]
    for i in range(length):
        if i:
            logits = model(completions[:, i - 1 : i], cache, at + i - 1)[:, 0]
        chosen = logits.argmax(-1) if temperature == 0 else DRAWS[draw]((logits / temperature).softmax(-1), generator)
        completions[:, i] = chosen.masked_fill(ended, _PAD)
        ended |= chosen == _END
    return completions


def _multinomial(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _inverse_cdf(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """One random number a row instead of one for each token of the vocabulary."""
    cdf = probabilities.cumsum(-1)
    u = torch.rand(len(cdf), 1, generator=generator) * cdf[:, -1:]
    return torch.searchsorted(cdf, u, right=True)[:, 0].clamp_(max=cdf.shape[1] - 1)


DRAWS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "multinomial": _multinomial,
    "inverse_cdf": _inverse_cdf,
}
