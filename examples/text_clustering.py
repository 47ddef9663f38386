"""Text clustering: topics of documents as the components of a mixture, with scikit-learn beside it.

    python examples/text_clustering.py [--newsgroups | --data FILE.csv] [--out PATH]

TF-IDF weights, reduced to 50 coordinates by a truncated SVD, rows of length one; then a mixture with full covariances.
The categories only judge the result. Needs the extra packages of ``pip install "jgmm[examples]"``.
"""

# %%
import argparse
import ast
import csv
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import fetch_20newsgroups
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score, confusion_matrix, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

import jgmm

parser = argparse.ArgumentParser(description="Cluster documents into topics with jgmm and scikit-learn.")
source = parser.add_mutually_exclusive_group()
source.add_argument("--newsgroups", action="store_true", help="scikit-learn's 20 newsgroups (downloads 14 MB once)")
source.add_argument("--data", metavar="FILE.csv", type=Path, help="a table with the columns category and text")
picture = Path(__file__).parent / "figures" / "text_clustering.png"
parser.add_argument("--out", metavar="PATH", type=Path, default=picture, help="the picture (default: %(default)s)")
args = parser.parse_args([] if "ipykernel" in sys.modules else None)


# %% Documents: pairs of a category and a text. By default docstrings of the standard library, by package.
def docstrings(package):
    """Docstrings of at least 20 words, each once, the first 100 in the order of the source."""
    path = Path(find_spec(package).origin)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, kinds))
    texts = dict.fromkeys(ast.get_docstring(node) or "" for node in nodes)
    return [(package, text) for text in texts if len(text.split()) >= 20][:100]


def load():
    if args.newsgroups:
        news = fetch_20newsgroups(subset="all", remove=("headers", "footers", "quotes"), n_retries=1)
        return [(news.target_names[i], text) for i, text in zip(news.target, news.data, strict=True) if text.strip()]
    if not args.data:
        return [pair for name in ("_pydecimal", "asyncio", "email", "ipaddress") for pair in docstrings(name)]
    with args.data.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"category", "text"} - set(reader.fieldnames or ()):
            raise ValueError(f"it needs the columns category and text, and lacks {' and '.join(sorted(missing))}")
        rows = [(row["category"] or "", row["text"] or "") for row in reader]
    if empty := [i + 1 for i, row in enumerate(rows) if not all(map(str.strip, row))]:
        raise ValueError(f"{len(empty)} rows have no category or no text, the first of them row {empty[0]}")
    return rows


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
k, starts, kmeans = len(categories), min(256, max(8, 100_000 // len(X))), partial(jgmm.init.kmeans, scale=1.0)
print(f"{name}: {len(X)} documents, {k} categories, {tfidf.shape[1]} terms. Fitting, {starts} starts each ...\n")


# %% The likelihood chooses among fits from k-means, in the coordinates as they are: in units of their standard
# deviations the many last ones, which are noise, would count as much as the first.
def fit_jgmm(cov):
    fit = jgmm.fit(jax.random.key(0), X, k, cov=cov, init=kmeans, num_init=starts, race=((3, 8),), ridge=1e-3).check()
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
    print(f"{name:24}  {ari:5.3f}  {nmi:5.3f}  {accuracy:8.3f}  {log_prob:13.3f}  {seconds:7.2f}", flush=True)
    return params


print(f"{'':27}ARI    NMI  accuracy  log-lik./text  seconds", flush=True)
with threadpool_limits(1):  # for data this small scikit-learn's threads cost more than they bring
    print_row("k-means", lambda: (KMeans(k, n_init=starts, random_state=0).fit_predict(X), np.nan))
    for cov in ("tied", "full"):
        print_row(f"jgmm {cov}, first call", fit_jgmm, cov)  # which compiles
        (params,) = print_row(f"jgmm {cov}, next call", fit_jgmm, cov)
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
# a mixture again, so the ellipses (two standard deviations) are the components' own, not fitted to what is drawn.
plane = eigh(jgmm.moments(params)[1], np.average(params.covariances, 0, params.weights))[1].T[:-3:-1]
flat, points = jgmm.affine(params, plane), X @ plane.T
figure = Figure(figsize=(7.8, 4.8), dpi=150, layout="constrained")  # without pyplot: no display is needed
axes = figure.subplots()
for topic, (mean, cov) in enumerate(zip(flat.means, flat.cov.cov, strict=True)):
    color, member = f"C{topic % 10}", topics == topic
    axes.scatter(*points[member].T, s=14, color=color, alpha=0.6, linewidths=0, label=names[topic])
    odd = member & (truth != np.bincount(truth[member], minlength=1).argmax())
    axes.scatter(*points[odd].T, s=30, facecolors="none", edgecolors="0.2", linewidths=0.8)
    (minor, major), directions = np.linalg.eigh(cov)
    angle = np.degrees(np.arctan2(*directions[::-1, 1]))  # of the longer axis: eigh sorts upwards
    axes.add_patch(Ellipse(mean, 4 * major**0.5, 4 * minor**0.5, angle=angle, fill=False, edgecolor=color))
figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
axes.set(xlabel="first discriminant", ylabel="second discriminant", title="Ringed: not of the topic's main category")
args.out.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(args.out)
print(f"\nPicture: {args.out}")
