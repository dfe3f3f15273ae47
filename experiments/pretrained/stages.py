"""Finished stages of a run, kept on disk under a name made of all that they depend on.

A teacher's lists or a student's next eight updates cost minutes. Runs that share a stage (few seeds, traits or updates
before more of them) share its file, so that a larger run goes on where a smaller one, or a killed one, stopped.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.harness import files
from experiments.harness.progress import say

DAMAGED = (OSError, ValueError, KeyError, zipfile.BadZipFile)


class Stages:
    """Stages of one model and one version of the code; `folder` None keeps nothing."""

    def __init__(self, folder: Path | None, *given: Any) -> None:
        self.folder, self.given = folder, given

    def path(self, what: tuple) -> Path | None:
        """Where a stage is kept, whatever it is."""
        if self.folder is None:
            return None
        text = json.dumps([self.given, what], sort_keys=True, default=str)
        return self.folder / f"{what[0]}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"

    def has(self, what: tuple) -> bool:
        """Whether it is kept."""
        path = self.path(what)
        return path is not None and path.exists()

    def get(self, what: tuple, compute: Callable[[], Any], like: Any) -> Any:
        """What `compute` gives, kept; or what is kept of it already, as a tree of NumPy arrays with the form of `like`.

        A file that is damaged is said so on stderr, and computed again.
        """
        path = self.path(what)
        if path is None:
            return compute()
        form: Any = jax.tree.structure(like)
        if path.exists():
            try:
                with path.open("rb") as file, np.load(file) as kept:
                    return jax.tree.unflatten(form, [kept[f"{i}"] for i in range(form.num_leaves)])
            except DAMAGED as error:
                say(f"saved progress {path} is discarded ({type(error).__name__}: {error}); it is computed again")
        tree = compute()
        arrays: dict[str, Any] = {f"{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
        content = io.BytesIO()
        np.savez(content, **arrays)
        files.write(path, content.getvalue())
        return tree
