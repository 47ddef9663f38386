"""How far a fit of a stream is: a bar for each sweep if tqdm is installed and a line else, or a user's function."""

import sys
import time
from collections.abc import Callable

Progress = bool | Callable[[dict], object]


class Reporter:
    """Tells of batches and sweeps as they are done.

    Args:
        wanted: ``True`` for stderr, ``False`` for silence, or a function of a dict for each sweep.
        most: the last sweep that there may be.
    """

    def __init__(self, wanted: Progress, most):
        if not isinstance(wanted, bool) and not callable(wanted):
            raise TypeError(f"progress must be True, False or a function of a dict, got {wanted!r}.")
        self.most, self.bar, self.tell = int(most), None, wanted if callable(wanted) else None
        if wanted is True:
            self.tell = _print
            self.bar = _tqdm()

    def begin(self, sweep: int, num_rows: int | None):
        """A sweep begins, of so many rows if that is known."""
        self.sweep, self.rows, self.began = sweep, 0, time.monotonic()
        self.line = self.bar and self.bar(total=num_rows, unit="row", unit_scale=True, desc=f"sweep {sweep}")

    def batch(self, num_rows: int):
        """So many rows of the sweep are done."""
        if self.line is not None:
            self.line.update(num_rows - self.rows)
        self.rows = num_rows

    def end(self, mean_log_prob):
        """The sweep is over."""
        if self.tell is None:
            return
        seconds = time.monotonic() - self.began
        done = {
            "sweep": self.sweep,
            "num_rows": self.rows,
            "seconds": seconds,
            "rows_per_second": self.rows / seconds if seconds else float("inf"),
            "mean_log_prob": float(mean_log_prob),
            "most_seconds_left": seconds * (self.most - self.sweep),
        }
        if self.line is None:
            self.tell(done)
        else:
            self.line.set_postfix_str(f"{done['mean_log_prob']:.6g} nats")
            self.line.close()


def _tqdm():
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return None
    return lambda **options: tqdm(file=sys.stderr, **options)


def _print(done):
    print(
        f"sweep {done['sweep']}: mean log-likelihood {done['mean_log_prob']:.6g} nats, {done['num_rows']} rows at "
        f"{done['rows_per_second']:.3g} a second, at most {done['most_seconds_left']:.3g} s left",
        file=sys.stderr,
        flush=True,
    )
