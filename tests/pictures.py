"""The pictures that test_plot_pictures.py compares, and the command that draws the references anew.

    python tests/pictures.py        writes tests/data/plot/*.png: look at each of them before it is committed

All that is drawn here is fixed numbers, so that no fit and no rounding of one moves a pixel. Text is taken off, for
fonts differ between machines.
"""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import DATA
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import jgmm
import jgmm.plot

FOLDER = DATA / "plot"
SIZE, DPI = (3.2, 2.4), 80


def mixture(absent=False):
    """Three components of three features, and a fourth of weight zero if asked for."""
    weights = jnp.array([0.5, 0.3, 0.2, 0.0])
    means = jnp.array([[0.0, 0.0, 0.0], [4.0, 3.0, 1.0], [-3.0, 4.0, 2.0], [40.0, 40.0, 40.0]])
    first = [[1.0, 0.6, 0.0], [0.6, 1.0, 0.2], [0.0, 0.2, 1.0]]
    cov = jnp.array([first, jnp.diag(jnp.array([0.3, 2.0, 1.0])), 0.7 * jnp.eye(3), jnp.eye(3)])
    k = 4 if absent else 3
    return jgmm.GMM(weights[:k], means[:k], jgmm.Full(cov[:k]))


def rows(n=150):
    """(n, 3) rows of the mixture, the same on every machine, by NumPy."""
    rng, params = np.random.default_rng(0), mixture()
    labels = rng.choice(3, n, p=np.asarray(params.weights, float) / float(params.weights.sum()))
    root = np.linalg.cholesky(np.asarray(params.covariances, float))
    return np.asarray(params.means, float)[labels] + np.einsum("nij,nj->ni", root[labels], rng.normal(size=(n, 3)))


def result(history=True):
    """A result whose numbers are made up: a batch of two histories, or the outcome of eight starts."""
    stats = jgmm.e_step(mixture(), rows())
    codes = jgmm.Status
    status = [codes.CONVERGED] * 3 + [codes.DROPPED] * 3 + [codes.MAX_STEPS, codes.NON_FINITE]
    value = np.array([-1.0, -1.0, -1.2, -1.5, -1.7, -1.8, -1.1, np.nan])
    ends = jgmm.Restarts(mean_log_prob=value, num_steps=np.full(8, 9), status=np.array(status))
    steps = np.arange(12.0)
    record = np.stack([-1 - 2 * 0.5**steps, np.where(steps < 9, -1.3 - 0.8**steps, np.nan)])
    kept = {"history": record} if history else {"restarts": ends}
    return jgmm.Result(mixture(), stats, jnp.array(9), jnp.array(0), jnp.zeros(3, int), **kept)


def columns():
    """A sweep of two families, one fit of which is degenerate though its BIC is the least."""
    return {
        "num_components": [1, 2, 3, 4, 1, 2, 3, 4],
        "cov": ["full"] * 4 + ["diag"] * 4,
        "bic": [900.0, 600.0, 620.0, 500.0, 1000.0, 800.0, 700.0, 690.0],
        "status": [0, 0, 1, 3, 0, 2, 0, 0],
    }


PICTURES = {
    "points": lambda ax: jgmm.plot.points(rows(), 2 * (rows()[:, 0] > 1).astype(int), ax=ax),
    "ellipses": lambda ax: jgmm.plot.ellipses(mixture(), features=(2, 0), levels=(0.3, 0.6, 0.9), ax=ax),
    "clusters": lambda ax: jgmm.plot.clusters(mixture(absent=True), rows(), ax=ax),
    "curves": lambda ax: jgmm.plot.curves(mixture(), rows(), ax=ax),
    "contours": lambda ax: jgmm.plot.contours(mixture(), rows(), ax=ax),
    "pairs": lambda ax: jgmm.plot.pairs(mixture(), rows(), figure=_emptied(ax)),
    "uncertainty": lambda ax: jgmm.plot.uncertainty(mixture(), rows(), ax=ax),
    "history": lambda ax: jgmm.plot.history(result(), ax=ax),
    "remaining": lambda ax: jgmm.plot.history(result(), remaining=True, ax=ax),
    "restarts": lambda ax: jgmm.plot.restarts(result(history=False), ax=ax),
    "sweep": lambda ax: jgmm.plot.sweep(columns(), ax=ax),
}


def _emptied(ax):
    figure = ax.figure
    ax.remove()
    return figure


def draw(name, change=lambda ax: None):
    """The picture as (height, width, 3) numbers from 0 to 255, without text; ``change`` draws something more."""
    figure = Figure(figsize=SIZE, dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    ax = figure.subplots()
    PICTURES[name](ax)
    change(figure.axes[0])
    for text in figure.findobj(Text):
        text.set_visible(False)
    for each in figure.axes:
        each.tick_params(which="both", labelleft=False, labelbottom=False)
        if each.get_legend() is not None:
            each.get_legend().remove()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


if __name__ == "__main__":
    from PIL import Image

    jax.config.update("jax_enable_x64", True)  # as the tests do
    FOLDER.mkdir(exist_ok=True)
    for name in PICTURES:
        picture = Image.fromarray(draw(name).astype("uint8")).quantize(64)
        picture.save(FOLDER / f"{name}.png", optimize=True)
        print(FOLDER / f"{name}.png")
