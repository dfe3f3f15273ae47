"""A bar with the time left on a terminal and in a notebook, plain lines elsewhere."""

import sys
import time

from experiments.harness.streams import say as say
from subliminal_toy.progress import is_watched as is_watched
from subliminal_toy.progress import tqdm

ENOUGH = 0.05  # share of the work that tells how long the rest will take


class Progress:
    """A bar with the time left where it is watched, plain lines elsewhere; amounts are in units of work."""

    def __init__(self, *, quiet: bool = True, every: float = 10.0) -> None:
        self._quiet, self._every = quiet, every
        self._bar: tqdm | None = None
        self._done = self._total = self._saved = 0.0
        self._began = self._said = time.monotonic()

    def start(self, total: float, text: str) -> None:
        """Begin `total` units of work."""
        self._total, self._began, self._said = total, time.monotonic(), time.monotonic()
        if not self._quiet and is_watched():
            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone{postfix}"
            self._bar = tqdm(total=total, desc=text, bar_format=layout, postfix=self._left(), leave=False)
        elif not self._quiet:
            say(f"{text}: started")

    def advance(self, amount: float, text: str, *, loaded: bool = False) -> None:
        """Count `amount` units as done; `loaded` ones took no time and do not count in the time left."""
        self._done = min(self._done + amount, self._total)  # sums of shares are rounded
        self._saved += amount if loaded else 0.0
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)
            self._bar.n = self._done
            self._bar.set_postfix_str(self._left(), refresh=False)
            self._bar.update(0)
        elif not self._quiet and time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            gone = tqdm.format_interval(self._said - self._began)
            say(f"{text}: {self._done / self._total:.0%}, {gone} gone, {self._left()}")

    def resumed(self, text: str) -> None:
        """Say how much of the work an earlier start has done."""
        line = f"{text}: goes on from an earlier start, which had finished {self._done / self._total:.0%}"
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif not self._quiet:
            say(line)

    def _left(self) -> str:
        """The time left at the mean rate so far; unknown while most of the time went to compiling."""
        gone, work = time.monotonic() - self._began, self._done - self._saved
        if work <= 0 or work < ENOUGH * (self._total - self._saved):
            return "? left"
        return f"{tqdm.format_interval(gone / work * (self._total - self._done))} left"

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
