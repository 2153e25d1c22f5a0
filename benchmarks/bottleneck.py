"""The bottleneck of one vector: BLEU by length of the source, without and with attention, as a picture.

    python benchmarks/multi30k.py seq2seq ... > plain.json
    python benchmarks/multi30k.py seq2seq-bahdanau ... > attention.json
    python benchmarks/bottleneck.py plain.json attention.json docs/bottleneck.png

Both runs have the same data and about the same number of parameters (docs/results.md has the commands).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs=2, help="what benchmarks/multi30k.py printed for each")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for path, marker in zip(options.results, ("o", "s"), strict=True):
        result = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        rows = result["by_length"]
        middles = [(row["low"] + row["high"]) / 2 for row in rows]
        label = f"{result['recipe']}, {result['parameters'] / 1e6:.1f} M parameters: {result['bleu_beam5']:.1f} in all"
        axes.plot(middles, [row["bleu"] for row in rows], marker=marker, label=label)
    axes.set_xlabel("words of the source (middle of a group)")
    axes.set_ylabel("BLEU, beam 5")
    axes.set_ylim(bottom=0)
    axes.set_title("Multi30k, German to English: what one vector cannot hold")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(options.picture, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
