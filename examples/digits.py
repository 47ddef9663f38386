"""Handwritten digits: a mixture of factor analysers for each, as classifier and as a source of new ones.

    python examples/digits.py [--factors Q ...] [--out PATH]

There are 90 images of each digit to learn from, of 64 pixels. A full covariance has 2080 numbers, too many for them;
one without correlations does not know that a stroke which leans, leans in all its pixels. A few factors lie between
(Ghahramani & Hinton 1996): the pixels depend on q hidden numbers of the image, and on noise of their own. Needs the
extra packages of ``pip install "jgmm[examples]"``.
"""

# %% The arguments, before the slow imports.
from pathlib import Path

from arguments import Parser, count, png

parser = Parser(description="Classify handwritten digits by mixtures of factor analysers, and draw new ones.")
parser.add_argument(
    "--factors", metavar="Q", type=count, nargs="+", default=[1, 2, 4, 8, 16], help="how many (default: 1 2 4 8 16)"
)
picture = Path(__file__).parent / "out" / "digits.png"
parser.add_argument("--out", metavar="PATH", type=png, default=str(picture), help="the picture (default: %(default)s)")
args = parser.parse()

# %%
import time

import jax
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import jgmm

# %% Every second image is to learn from, the others are held out.
images, digits = load_digits(return_X_y=True)
images = images.astype("float32")  # 8 x 8 pixels of 0 to 16
learned = [images[::2][digits[::2] == digit] for digit in range(10)]
unseen, answers = images[1::2], digits[1::2]

# %% One mixture of two components for each digit, for every family.
RIDGE = 0.25  # noise of half a grey level, which rounding leaves open: some pixels are always white


def classifier(cov):
    """The ten mixtures of a family."""
    options = {"cov": cov, "num_init": 2, "race": (), "ridge": RIDGE, "max_steps": 50}
    return [jgmm.fit(jax.random.key(digit), rows, 2, **options).params for digit, rows in enumerate(learned)]


families = {"none": "diag"} | {str(q): jgmm.lowrank(q) for q in args.factors} | {"full": "full"}
print(f"{sum(map(len, learned))} images to learn from, {len(unseen)} held out; 2 components for each digit\n")
print("factors  numbers of a digit  held-out log-lik. (nats)  errors  seconds (with compilation)", flush=True)
found = {}
for name, cov in families.items():
    start = time.perf_counter()
    mixtures = classifier(cov)
    scores = np.stack([jgmm.log_prob(mixture, unseen) for mixture in mixtures], axis=1)  # all digits are as frequent
    score = scores[np.arange(len(answers)), answers].mean()
    found[name] = score, mixtures
    errors, seconds = (scores.argmax(axis=1) != answers).mean(), time.perf_counter() - start
    print(f"{name:7}  {mixtures[0].num_parameters:18}  {score:24.2f}  {errors:6.1%}  {seconds:7.1f}", flush=True)

# %% The picture: the held-out likelihood, and digits that the best mixtures draw.
best = max(found, key=lambda name: found[name][0])
figure = Figure(figsize=(7.8, 3.4), dpi=130, layout="constrained")  # without pyplot: no display is needed
curve, drawn = figure.subplots(1, 2, width_ratios=(1, 1.3))
curve.plot(found.keys(), [score for score, _ in found.values()], "o-", color="black")
curve.set(xlabel="factors", ylabel="nats an image")
curve.set_title("Log-likelihood of unseen images", fontsize="medium")
curve.tick_params(axis="x", labelsize="small")
curve.spines[["top", "right"]].set_visible(False)
rows = [jgmm.sample(jax.random.key(1), mixture, 6)[0].reshape(6, 8, 8) for mixture in found[best][1]]
framed = np.pad(np.clip(rows, 0, 16), ((0, 0), (0, 0), (1, 1), (1, 1)))  # (10, 6, 10, 10)
drawn.imshow(framed.transpose(1, 2, 0, 3).reshape(60, 100), cmap="gray_r", vmin=0, vmax=16)
drawn.set_title(f"Drawn from the mixtures ({best} factors)", fontsize="medium")
drawn.set_axis_off()
figure.savefig(args.out)
print(f"\nPicture: {args.out}")
