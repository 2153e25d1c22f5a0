"""Translating Multi30k's validation part, 1,014 sentences: ours against Hugging Face's MarianMT, the same weights.

    python benchmarks/decoding.py --run DIR [--threads 1] [--rounds 1] [--beams 1,5] [--cpus 1] [--clock wall]
                                  [--peer-python PYTHON]

DIR is a run of `malgil train transformer`, German to English; it is exported in Hugging Face's format, and `generate`
of `transformers` reads that in its default precision, fp32, in batches of 32: in the order of the file, and sorted by
length. Ours translates text to text in fp32 and in bf16, its own way with batches; theirs is given ids and gives ids.
Both search greedily and with beams, for at most 127 tokens, each with its own length penalty of 1: so their beams may
end with another choice. BLEU is sacrebleu's. Each measurement is a process of its own, which translates 64
sentences before its clock starts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import PEERS, clock, data, lines_of, machine, run_json, table

MAX_TOKENS, WARM = 127, 64


def validation(side: str) -> list[str]:
    return lines_of(data(f"translation/multi30k/val.{side}.gz"))


def measure(folder: Path, threads: int, beam: int, timer: str, precision: str) -> None:
    """Ours, in this process; prints a JSON object."""
    from malgil.runs.run import load

    run = load(folder, device="cpu", threads=threads)
    how = {"beam": beam, "temperature": 0.0, "max_tokens": MAX_TOKENS, "length_penalty": 1.0, "precision": precision}

    def translate(texts: list[str]) -> list[str]:
        return [one.text for one in run.translations(texts, **how)]

    now, sources = clock(timer), validation("de")
    translate(sources[:WARM])
    started = now()
    texts = translate(sources)
    print(json.dumps({"sentences_per_second": len(sources) / (now() - started), "texts": texts}))


def prepare(run: Path, folder: Path) -> Any:
    """The weights and the sources as the peer reads them; returns the tokenizer that reads what the peer writes."""
    from malgil.runs.run import load

    loaded = load(run, device="cpu", threads=1)
    loaded.export(folder / "marian")
    reading = loaded.tokenizers.reading
    ids = [[*source, reading.end_id] for source in reading.encode_batch(validation("de"))]
    (folder / "sources.json").write_text(json.dumps(ids), encoding="utf-8")
    return loaded.tokenizers.target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="the folder of a trained `transformer`")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--beams", default="1,5")
    parser.add_argument("--cpus", help="pin to these processors")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"], help="of the wall, or of the processor")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has transformers")
    parser.add_argument("--measure", nargs=2, metavar=("BEAM", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        beam, precision = options.measure
        measure(options.run, options.threads, int(beam), options.clock, precision)
        return

    from malgil.metrics.translation import bleu

    rows = []
    with tempfile.TemporaryDirectory() as name:
        tokenizer = prepare(options.run, Path(name))
        shape = [str(options.threads), str(MAX_TOKENS), options.clock]
        peer = [options.peer_python, str(PEERS / "hf_marian_generate.py"), name, *shape]
        own = [sys.executable, __file__, "--run", str(options.run), "--threads", shape[0], "--clock", options.clock]
        for number in range(options.rounds):
            for beam in options.beams.split(","):
                commands = {
                    "transformers, in order": [*peer, beam, "ordered"],
                    "transformers, sorted": [*peer, beam, "sorted"],
                    "malgil, fp32": [*own, "--measure", beam, "fp32"],
                    "malgil, bf16": [*own, "--measure", beam, "bf16"],
                }
                made = {who: run_json(c, options.threads, options.cpus) for who, c in commands.items()}
                slowest = made["transformers, in order"]["sentences_per_second"]
                for who, result in made.items():
                    texts = result.get("texts") or [tokenizer.decode(ids) for ids in result["ids"]]
                    speed = result["sentences_per_second"]
                    rows.append(
                        {
                            "round": number + 1,
                            "beam": beam,
                            "": who,
                            "sentences/s": f"{speed:.1f}",
                            "ratio": f"{speed / slowest:.2f}",
                            "BLEU": f"{bleu(texts, validation('en')).score:.2f}",
                        }
                    )
    print(machine())
    print(f"{options.threads} threads, {options.clock} clock")
    print(table(rows))


if __name__ == "__main__":
    main()
