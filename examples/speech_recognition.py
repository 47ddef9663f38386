"""Speech recognition with Gaussian mixtures: which word was said, and by whom; scikit-learn beside it.

    python examples/speech_recognition.py [--data FOLDER] [--seeds N] [--out PATH]

Without ``--data`` the words are SYNTHETIC, made by speech_data.py from published formant frequencies of vowels. With
it they are recordings named DIGIT_SPEAKER_INDEX.wav, as in the folder ``recordings`` of the Free Spoken Digit Dataset
(https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0). Needs ``pip install "jgmm[examples]"``.
"""

# %% The arguments, before the slow imports.
from pathlib import Path

from arguments import Parser, count, folder, png

parser = Parser(description="Recognise words and speakers by Gaussian mixtures of cepstra.")
picture = Path(__file__).parent / "out" / "speech_recognition.png"
parser.add_argument("--data", metavar="FOLDER", type=folder, help="of recordings (default: synthetic words)")
parser.add_argument("--out", metavar="PATH", type=png, default=str(picture), help="the picture (default: %(default)s)")
parser.add_argument("--components", metavar="K", type=count, nargs="+", default=[8, 16, 32], help="of a word's mixture")
parser.add_argument("--background", metavar="K", type=count, default=64, help="components of the background mixture")
parser.add_argument("--seeds", metavar="N", type=count, default=1, help="average words over N starts of both libraries")
parser.add_argument("--takes", metavar="N", type=count, default=20, help="takes of each synthetic word and voice")
args = parser.parse()

# %%
import time
from itertools import product

import jax
import numpy as np
from matplotlib.figure import Figure
from sklearn.mixture import GaussianMixture
from speech_data import batch, cepstra, progress, read_folder, synthesise, take_means_off, timed

import jgmm

begun = time.perf_counter()

# %% The frames of all recordings, one after the other. Takes 0 to 4 are the test set, by the data set's convention.
try:
    recordings = read_folder(args.data) if args.data else synthesise(args.takes)
except ValueError as error:
    parser.error(str(error))
words, word = np.unique([recording.word for recording in recordings], return_inverse=True)
speakers, speaker = np.unique([recording.speaker for recording in recordings], return_inverse=True)
train = np.array([recording.take >= 5 for recording in recordings])
if len({*zip(word, speaker, train, strict=True)}) < 2 * max(2, len(words)) * max(2, len(speakers)):
    parser.error("needs two speakers or more, each with each word in the takes 0 to 4 (the test set) and in later ones")

plain, length = cepstra(recordings)
owner = np.repeat(np.arange(len(length)), length)  # the recording that a frame belongs to
normalised = take_means_off(plain, length)
kind = "recordings" if args.data else "SYNTHETIC words"
print(f"{len(recordings)} {kind}, {len(words)} words, {len(speakers)} speakers, {len(plain)} frames")


# %% A mixture for each label, all fitted in one vmap: padding, and frames that are held out, have weight zero.
# One start from k-means, as scikit-learn's; its tol=1e-3 bounds a step, ours all that is left to gain (nats a frame).
OPTIONS = {"cov": "diag", "init": "kmeans", "num_init": 1, "stop": jgmm.LogProbStop(1e-3)}


def compiled_fit(label, k):
    """fit(X, train, seed), from frames and which recordings to train on to a mixture for each label."""
    fit = jax.vmap(lambda key, X, weight: jgmm.fit(key, X, k, sample_weight=weight, **OPTIONS).params)
    keys = jax.random.split(jax.random.key(0), (args.seeds, label.max() + 1))
    program = jax.jit(fit).lower(keys[0], *batch(plain, length, label, train)).compile()
    return lambda X, train, seed: jax.block_until_ready(program(keys[seed], *batch(X, length, label, train)))


def fit_sklearn(X, label, k, train, seed):
    chosen = [(train & (label == value))[owner] for value in range(label.max() + 1)]
    return [GaussianMixture(k, covariance_type="diag", random_state=seed).fit(X[frames]) for frames in chosen]


log_probs = jax.jit(lambda mixtures, X: jax.vmap(lambda params: jgmm.log_prob(params, X))(mixtures))


def judge(scores, label, test):
    """What was heard, by the highest sum over the test frames' scores; its accuracy, the log-likelihood of a frame."""
    sums = np.array([np.bincount(owner[test[owner]], score, len(label)) for score in scores])[:, test]
    heard, truth = sums.argmax(0), label[test]
    return heard, (heard == truth).mean(), sums[truth, np.arange(len(truth))].sum() / length[test].sum()


# %% Words: on the set's own split, and on each speaker by the mixtures of the others.
def table(results):
    """(seeds, columns) of accuracies and log-likelihoods: own split, mean of the speakers, each speaker's accuracy."""
    scores = np.array([scores for _, *scores in results]).reshape(args.seeds, len(trains), 2)
    mean = np.average(scores[:, 1:], axis=1, weights=np.bincount(speaker))
    return np.hstack([scores[:, 0], mean, scores[:, 1:, 0]])


print("\nWords: accuracy, and mean log-likelihood of a held-out frame (nats) under the mixture of its own word")
print(f"{'':18}own split         speakers left out in turn{'':{9 * len(speakers)}}seconds")
names = "".join(f"{name[:8]:>9}" for name in speakers)
print(f"{'':13}  k accuracy log-lik. accuracy log-lik.{names}  compile    fits")
trains = [train] + [speaker != one for one in range(len(speakers))]
for k in args.components:
    fit, compiling = timed(compiled_fit, word, k)
    ours, theirs, seconds = [], [], np.zeros(2)
    for seed, trained in progress([*product(range(args.seeds), trains)], f"{k} components"):
        mixtures, took = timed(fit, normalised, trained, seed)
        models, sklearn_took = timed(fit_sklearn, normalised, word, k, trained, seed)
        rows = ~trained[owner]
        ours.append(judge(log_probs(mixtures, normalised)[:, rows], word, ~trained))
        theirs.append(judge([model.score_samples(normalised[rows]) for model in models], word, ~trained))
        seconds += took, sklearn_took
    for name, results, *took in (("jgmm", ours, compiling, seconds[0]), ("scikit-learn", theirs, 0, seconds[1])):
        numbers = "".join(f"{number:9.3f}" for number in table(results).mean(0))
        print(f"{name:13}{k:3}{numbers}" + "{:9.1f}{:8.1f}".format(*took), flush=True)
    if args.seeds > 1:
        errors = np.sqrt((table(ours).var(0, ddof=1) + table(theirs).var(0, ddof=1)) / args.seeds)
        print(f"{'standard error':16}" + "".join(f"{error:9.3f}" for error in errors) + "  of the difference")


# %% Speakers: a mixture for each, or a background of everybody adapted to each (Reynolds, Quatieri & Dunn 2000).
def adapted(background, X, frozen):
    stats = jax.vmap(lambda X, weight: jgmm.e_step(background, X, weight))(*batch(X, length, speaker, train))
    return jax.vmap(lambda stats: jgmm.adapt(background, stats, relevance=16.0, frozen=frozen))(stats)


print(f"\nSpeakers: own split, mixtures of {args.background} components; accuracy, log-likelihood of a held-out frame")
fit_each, fit_all = (compiled_fit(label, args.background) for label in (speaker, 0 * speaker))
for title, X in (("means taken off", normalised), ("means left in", plain)):
    background = jax.tree.map(lambda leaf: leaf[0], fit_all(X, train, 0))
    mixtures = {
        "a mixture of its own": fit_each(X, train, 0),
        "background, means adapted": adapted(background, X, ("weights", "cov")),
        "background, all adapted": adapted(background, X, ()),
    }
    for name, each in mixtures.items():
        _, accuracy, log_prob = judge(log_probs(each, X)[:, ~train[owner]], speaker, ~train)
        print(f"{title:17}{name:27}{accuracy:6.3f}{log_prob:9.3f}")

# %% The picture: which word was heard for which, with the most components.
figure = Figure(figsize=(7.8, 4.8), dpi=130, layout="constrained")  # without pyplot: no display is needed
panels = (("Own split", ours[:1], trains[:1]), ("Speakers left out in turn", ours[1 : len(trains)], trains[1:]))
for axes, (title, results, masks) in zip(figure.subplots(1, 2), panels, strict=True):
    counts = np.zeros((len(words), len(words)), int)
    for (heard, *_), mask in zip(results, masks, strict=True):
        np.add.at(counts, (word[~mask], heard), 1)
    axes.imshow(counts / counts.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    for said, heard in np.argwhere(counts):
        color = "white" if counts[said, heard] > counts[said].sum() / 2 else "black"
        axes.text(heard, said, counts[said, heard], ha="center", va="center", color=color, fontsize=7)
    axes.set(title=f"{title}: {np.trace(counts) / counts.sum():.3f}", xlabel="recognised", ylabel="spoken")
    axes.set_xticks(range(len(words)), words, rotation=60 if len(words[0]) > 1 else 0)
    axes.set_yticks(range(len(words)), words)
figure.suptitle(f"{len(recordings)} {kind}, {k} components for each word")
figure.savefig(args.out)
print(f"\nPicture: {args.out}; {time.perf_counter() - begun:.0f} s in all")
