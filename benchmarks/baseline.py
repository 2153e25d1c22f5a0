"""The logistic regression on n-grams that encoders are to beat, on all labelled data.

    python benchmarks/baseline.py [nsmc subjectivity movie_reviews korsts wnut17] [--part choose] [--peer-python PYTHON]

Prints a table. `--part choose` leaves the score part alone. See benchmarks/labelled.py for the parts, and
benchmarks/peers/ngrams.py for the models.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from common import machine, table
from labelled import DATASETS, PARTS, baseline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(DATASETS), help=", ".join(DATASETS))
    parser.add_argument("--part", default="score", choices=PARTS[1:])
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has scikit-learn")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names:
            dataset = DATASETS[name]
            found = baseline(dataset, dataset.write(Path(folder)), options.part, options.peer_python)
            shown = {"figure": dataset.figure, "value": f"{found[dataset.figure]:.4f}"}
            rows.append({"data": name, "records": found["n"], **shown, "seconds": found["seconds"]})
    print(machine())
    print(table(rows))


if __name__ == "__main__":
    main()
