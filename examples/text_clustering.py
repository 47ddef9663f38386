"""Text clustering: topics of documents as the components of a mixture, with scikit-learn beside it.

    python examples/text_clustering.py [--newsgroups | --data FILE.csv] [--out PATH]

TF-IDF weights, reduced to 50 coordinates by a truncated SVD, rows of length one; then a mixture with full covariances.
The categories only judge the result. Needs the extra packages of ``pip install "jgmm[examples]"``.
"""

# %% The arguments, before the slow imports.
from pathlib import Path

from arguments import Parser, file, png

parser = Parser(description="Cluster documents into topics with jgmm and scikit-learn.")
source = parser.add_mutually_exclusive_group()
source.add_argument("--newsgroups", action="store_true", help="scikit-learn's 20 newsgroups (downloads 14 MB once)")
source.add_argument("--data", metavar="FILE.csv", type=file, help="a table with the columns category and text")
picture = Path(__file__).parent / "out" / "text_clustering.png"
parser.add_argument("--out", metavar="PATH", type=png, default=str(picture), help="the picture (default: %(default)s)")
args = parser.parse()

# %%
import csv
import time
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score, confusion_matrix, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize
from text_data import docstrings, newsgroups, read_table
from threadpoolctl import threadpool_limits

import jgmm
import jgmm.plot


# %% Documents: pairs of a category and a text. By default docstrings of the standard library, by package.
def load():
    if args.data:
        return read_table(args.data)
    packages = "_pydecimal", "asyncio", "email", "ipaddress"
    return newsgroups() if args.newsgroups else [pair for package in packages for pair in docstrings(package)]


name = args.data or ("20 newsgroups" if args.newsgroups else "docstrings")
try:
    documents = load()
    categories, truth = np.unique([category for category, _ in documents], return_inverse=True)
    if len(categories) < 2:
        raise ValueError(f"it needs at least 2 categories, got {len(categories)}")
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=2)
    tfidf = vectorizer.fit_transform([text for _, text in documents])
    if min(tfidf.shape) <= 50:
        raise ValueError(f"it needs more than 50 documents and terms, got {tfidf.shape[0]} and {tfidf.shape[1]}")
except (OSError, ValueError, csv.Error) as error:
    parser.error(f"{name}: {error}")
X = normalize(TruncatedSVD(50, random_state=0).fit_transform(tfidf))
k = len(categories)
starts = min(256, max(1, 400_000 // (len(X) * k)))
print(f"{name}: {len(X)} documents, {k} categories, {tfidf.shape[1]} terms. Compiling ...", flush=True)


# %% The likelihood chooses among fits from k-means, in the coordinates as they are: in units of their standard
# deviations the noise of the last ones would decide. Four times scikit-learn's starts still take less time.
def compiled(cov):
    race = {"num_init": 4 * starts, "race": ((3, max(1, starts // 32)),)}
    fit = partial(jgmm.fit, cov=cov, init=partial(jgmm.init.kmeans, scale=1.0), ridge=1e-3, **race)
    return jax.jit(fit, static_argnums=2).lower(jax.random.key(0), X, k).compile()


def fit_jgmm(program):
    fit = program(jax.random.key(0), X).check()
    return jgmm.predict(fit.params, X), fit.mean_log_prob, fit.params


def fit_sklearn(cov):
    fit = GaussianMixture(k, covariance_type=cov, reg_covar=1e-3, n_init=starts, tol=1e-6, random_state=0).fit(X)
    return fit.predict(X), fit.score(X)


def print_row(name, function, *arguments):
    start = time.perf_counter()
    found, log_prob, *params = function(*arguments)
    seconds, confusion = time.perf_counter() - start, confusion_matrix(truth, found, labels=range(k))
    accuracy = confusion[linear_sum_assignment(-confusion)].sum() / len(X)  # under the best matching
    ari, nmi = adjusted_rand_score(truth, found), normalized_mutual_info_score(truth, found)
    print(f"{name:21}  {ari:5.3f}  {nmi:5.3f}  {accuracy:8.3f}  {log_prob:13.3f}  {seconds:7.2f}", flush=True)
    return params


begun = time.perf_counter()
programs = {cov: compiled(cov) for cov in ("tied", "full")}
print(f"in {time.perf_counter() - begun:.1f} s; now fitting, starts: {starts} of scikit-learn, {4 * starts} of jgmm\n")
print(f"{'':24}ARI    NMI  accuracy  log-lik./text  seconds", flush=True)
with threadpool_limits(1 if len(X) < 2000 else None):  # which cost it more than they bring on few rows
    print_row("k-means", lambda: (KMeans(k, n_init=starts, random_state=0).fit_predict(X), np.nan))
    for cov, program in programs.items():
        (params,) = print_row(f"jgmm {cov}", fit_jgmm, program)
        print_row(f"GaussianMixture {cov}", fit_sklearn, cov)

# %% The topics, and how sure each document is of its own: in 50 dimensions a mixture is seldom in doubt.
resp = np.asarray(jgmm.responsibilities(params, X))
topics, terms = resp.argmax(1), vectorizer.get_feature_names_out()
names = [" ".join(terms[np.argsort(-row)[:5]]) for row in resp.T @ tfidf]  # highest TF-IDF weights, summed
print("\ntopic  weight  highest terms", *(f"{i:5}  {params.weights[i]:6.3f}  {names[i]}" for i in range(k)), sep="\n")
second, sure = np.sort(resp, axis=1)[:, -2:].T
for title, rows in (("Some documents", range(0, len(X), len(X) // 4)), ("The most uncertain", np.argsort(-second)[:4])):
    print(f"\n{title}\ntopic  probability    next  category      text")
    for i in rows:
        category, text = documents[i][0][:12], " ".join(documents[i][1].split())[:60]
        print(f"{topics[i]:5}  {sure[i]:11.6f}  {second[i]:6.0e}  {category:12}  {text}")

# %% The picture: the plane in which the components lie furthest apart for their widths. Under a linear map a mixture is
# a mixture again, so the ellipses are the components' own, not fitted to what is drawn.
plane = eigh(jgmm.moments(params)[1], np.average(params.covariances, 0, params.weights))[1].T[:-3:-1]
flat, points, size = jgmm.affine(params, plane), X @ plane.T, min(14, 20_000 / len(X))
figure = Figure(figsize=(7.8, 4.2 + 0.15 * k), dpi=150, layout="constrained")  # without pyplot: no display is needed
axes = figure.subplots()
drawn = jgmm.plot.points(points, topics, s=size, ax=axes)
jgmm.plot.ellipses(flat, levels=0.86, facecolor="none", ax=axes)
main = np.array([np.bincount(truth[topics == topic], minlength=1).argmax() for topic in range(k)])
odd = truth != main[topics]
axes.scatter(*points[odd].T, s=3 * size, facecolors="none", edgecolors="0.2", linewidths=0.2 * size**0.5)
labels = [names[int(artist.get_label())] for artist in drawn]
style = {"ncols": 2, "frameon": False, "fontsize": "small", "markerscale": (14 / size) ** 0.5}
figure.legend(drawn, labels, loc="outside lower center", **style)
axes.set(xlabel="first discriminant", ylabel="second discriminant", title="Ringed: not of the topic's main category")
figure.savefig(args.out)
print(f"\nPicture: {args.out}")
