"""A picture of what run.py measured: python tests/benchmarks/plot.py NUMBERS.json PICTURE.png

Left: one EM iteration, full covariances, beside the peers. Middle: how much faster than scikit-learn, all
families. Right: the time of an iteration against the number of rows.
"""

import argparse
import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLORS = {"jgmm": "#0072b2", "scikit-learn": "#d55e00", "gmmx": "#009e73"}
SHADES = {"float64": "#0072b2", "float32": "#56b4e9"}


def iterations(axes, rows):
    rows = [row for row in rows if row["covariance"] == "full" and row["dtype"] == "float32"]
    for name, color in COLORS.items():
        values = [row[f"{name} ms"] or float("nan") for row in rows]
        axes.plot(values, range(len(rows)), "o", color=color, label=name, markersize=8)
    axes.set_yticks(range(len(rows)), [row["n, d, k"] for row in rows])
    axes.set(xscale="log", xlabel="ms", title="One EM iteration, full, float32", ylabel="n, d, k")
    axes.invert_yaxis()
    axes.legend(frameon=False)


def families(axes, rows):
    names = ["full", "tied", "diag", "spherical"]
    for offset, (dtype, color) in zip((-0.17, 0.17), SHADES.items(), strict=True):
        for place, name in enumerate(names):
            ratios = [row["ratio"] for row in rows if row["covariance"] == name and row["dtype"] == dtype]
            axes.plot([place + offset] * len(ratios), ratios, "o", color=color, label=dtype if not place else None)
    axes.axhline(1, color="0.6", linewidth=1)
    axes.set_xticks(range(len(names)), names)
    axes.set(yscale="log", ylabel="times faster than scikit-learn", title="All shapes and families")
    axes.legend(frameon=False)


def scaling(axes, rows):
    rows = [row for row in rows if row["what"] == "EM iteration" and row["n, d, k"].endswith(" 8, 8")]
    n = [int(row["n, d, k"].split(",")[0]) for row in rows]
    axes.plot(n, [row["µs"] / 1e3 for row in rows], "o-", color=COLORS["jgmm"])
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="ms", title="One EM iteration, d = 8, k = 8, float32")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", help="what run.py --json wrote")
    parser.add_argument("picture", help="the file to write")
    args = parser.parse_args()
    with open(args.numbers) as file:
        tables = json.load(file)["tables"]
    rows = [row for row in tables["iteration"] if row.get("dtype")]
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    iterations(axes[0], rows)
    families(axes[1], rows)
    scaling(axes[2], tables["scaling"])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(args.picture, dpi=110)
    print(args.picture)


if __name__ == "__main__":
    main()
