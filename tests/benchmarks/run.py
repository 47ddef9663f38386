"""All benchmarks in one run: prints Markdown tables as they come and writes the numbers as JSON.

    python tests/benchmarks/run.py [--quick] [--only iteration restarts ...] [--json FILE]

Nothing else should run on the machine meanwhile. --quick takes a sixteenth of the rows or so.
"""

import argparse
import importlib
import json

from common import machine

TABLES = [
    "iteration",
    "restarts",
    "answer",
    "acceleration",
    "gradient",
    "composition",
    "scaling",
    "startup",
    "model_choice",
    "stream",
]


def shown(value):
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


def print_table(title, rows):
    """Print each row when it is there; return them all."""
    print(f"\n### {title}\n", flush=True)
    kept, columns = [], None
    for row in rows:
        if columns is None:
            columns = list(row)
            print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
        print("| " + " | ".join(shown(row.get(column, "")) for column in columns) + " |", flush=True)
        kept.append(row)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="these tables")
    parser.add_argument("--json", help="write the numbers to this file")
    args = parser.parse_args()
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    tables = {}
    for name in args.only:
        module = importlib.import_module(name)
        tables[name] = print_table(module.TITLE, module.rows(args.quick))
        if args.json:  # after each table: a run that is cut short keeps what it has
            with open(args.json, "w") as file:
                json.dump({"machine": where, "quick": args.quick, "tables": tables}, file, indent=1)


if __name__ == "__main__":
    main()
