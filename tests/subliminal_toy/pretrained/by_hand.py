"""A Llama written a second time, in NumPy with loops and complex numbers: the oracle of subliminal_toy.pretrained."""

from typing import Any

import numpy as np

from subliminal_toy.pretrained.llama import Shape


def logits(shape: Shape, params: Any, tokens: list[int]) -> np.ndarray:
    """Logits [T, V] of one row of tokens, in float64."""
    weights = {name: np.asarray(w, np.float64) for name, w in params["blocks"].items()}
    x = [np.asarray(params["embedding"], np.float64)[token] for token in tokens]
    for layer in range(shape.layers):
        own = {name: w[layer] for name, w in weights.items()}
        normed = [norm(v, own["attention_norm"], shape.epsilon) for v in x]
        x = [v + mixed for v, mixed in zip(x, attention(shape, own, normed), strict=True)]
        x = [v + mlp(own, norm(v, own["mlp_norm"], shape.epsilon)) for v in x]
    table = np.asarray(params["embedding"] if shape.tied else params["unembedding"], np.float64)
    return np.array([table @ norm(v, np.asarray(params["norm"]), shape.epsilon) for v in x])


def norm(v: np.ndarray, scale: np.ndarray, epsilon: float) -> np.ndarray:
    return v / np.sqrt(sum(v * v) / len(v) + epsilon) * scale


def mlp(own: dict[str, np.ndarray], v: np.ndarray) -> np.ndarray:
    gate = v @ own["gate"]
    return (gate / (1 + np.exp(-gate)) * (v @ own["up"])) @ own["down"]


def turned(v: np.ndarray, position: int, base: float) -> np.ndarray:
    """Pairs (i, i + d/2) as complex numbers, turned by their angles."""
    half = len(v) // 2
    angles = np.array([position / base ** (2 * i / len(v)) for i in range(half)])
    z = (v[:half] + 1j * v[half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag])


def attention(shape: Shape, own: dict[str, np.ndarray], normed: list[np.ndarray]) -> list[np.ndarray]:
    size, group = shape.head_size, shape.heads // shape.kv_heads
    found = []
    for t in range(len(normed)):
        heads = []
        for head in range(shape.heads):
            query = turned((normed[t] @ own["q"])[head * size : (head + 1) * size], t, shape.rope_base)
            part = slice(head // group * size, (head // group + 1) * size)
            keys = [turned((normed[s] @ own["k"])[part], s, shape.rope_base) for s in range(t + 1)]
            scores = np.exp([query @ key / size**0.5 for key in keys])
            values = [(normed[s] @ own["v"])[part] for s in range(t + 1)]
            heads.append(sum(p * v for p, v in zip(scores / scores.sum(), values, strict=True)))
        found.append(np.concatenate(heads) @ own["o"])
    return found
