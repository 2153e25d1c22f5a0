"""Training throughput at 6 layers, d_model 384, context 256: `gpt2` against Hugging Face's GPT-2.

    python benchmarks/throughput.py [--threads 2] [--batch-size 8] [--rounds 3] [--peer-python PYTHON]

The same batches (random ids), vocabulary, sizes and dropout (none) on both sides; each in its default
precision: fp32 for `transformers`, what `malgil train` chooses for ours. Both clip the gradient at 1 and step
AdamW. Rounds alternate between the two, each a process of its own; a round's figure is the median of its steps.
The matrix rate is that of bf16 products of 512 x 512 in this process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from common import PEERS, machine, run_json, table, trainer_of

SIZE = {"n_layers": 6, "n_heads": 6, "d_model": 384, "max_len": 256}


def measure(threads: int, batch_size: int, steps: int, vocab: int) -> None:
    """Ours, in this process; prints a JSON object."""
    import torch

    from malgil.models import build_model
    from malgil.models.base import count_parameters
    from malgil.models.gpt2 import GPT2Config
    from malgil.objectives.base import Specials
    from malgil.objectives.causal_lm import CausalLanguageModelling, TokenBatch
    from malgil.runs.prepare import matrix_rate
    from malgil.runtime.device import Precision, prepare_cpu
    from malgil.training.settings import TrainingSettings

    prepare_cpu(threads)
    torch.manual_seed(0)
    config = GPT2Config(**SIZE)
    model = build_model("gpt2", config, vocab)
    settings = TrainingSettings(steps=steps, batch_size=batch_size)

    class Batches:
        steps_per_epoch = float(steps)
        tokens_per_step = batch_size * config.max_len

        def __call__(self, step: int) -> list[TokenBatch]:
            ids = torch.randint(vocab, (batch_size, config.max_len + 1), generator=torch.Generator().manual_seed(step))
            return [TokenBatch(ids[:, :-1], ids[:, 1:], ids[:, 1:].numel())]

    trainer = trainer_of(CausalLanguageModelling(Specials(0, 0)), model, Batches(), settings)
    times = []
    for step in range(steps):
        batch = trainer.batches(step)
        started = time.perf_counter()
        trainer.step(batch)
        times.append(time.perf_counter() - started)
        trainer.progress.step += 1
    tokens = batch_size * config.max_len
    n = count_parameters(model) - config.max_len * config.d_model
    flops = tokens * (6 * n + 12 * config.n_layers * config.d_model * config.max_len)
    seconds = statistics.median(times[2:])
    limit = matrix_rate(torch.device("cpu"), Precision("bf16"))
    print(
        json.dumps(
            {
                "tokens_per_second": tokens / seconds,
                "precision": trainer.precision.name,
                "vocab": vocab,
                "share": flops / seconds / limit,
                "limit": limit,
                "parameters": count_parameters(model),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", help="pin to these processors")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has transformers")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.threads, options.batch_size, options.steps, options.vocab)
        return
    shape = [str(n) for n in (options.threads, options.batch_size, options.steps, options.vocab)]
    peer = [options.peer_python, str(PEERS / "hf_gpt2.py"), *shape]
    flags = ("--threads", "--batch-size", "--steps", "--vocab")
    own = [sys.executable, __file__, "--measure", *(x for pair in zip(flags, shape, strict=True) for x in pair)]
    rows = []
    for number in range(options.rounds):
        theirs = run_json(peer, options.threads, options.cpus)
        ours = run_json(own, options.threads, options.cpus)
        rows.append(
            {
                "round": number + 1,
                "transformers, fp32 (tokens/s)": f"{theirs['tokens_per_second']:,.0f}",
                f"malgil, {ours['precision']} (tokens/s)": f"{ours['tokens_per_second']:,.0f}",
                "ratio": f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}",
                "share of the bf16 matrix rate": f"{ours['share']:.0%} of {ours['limit'] / 1e9:.0f} GFLOP/s",
            }
        )
    print(machine())
    size = f"vocabulary {options.vocab:,}, {ours['parameters']:,} parameters each"
    print(f"{options.threads} threads, batch {options.batch_size} x 256, {size}")
    print(table(rows))


if __name__ == "__main__":
    main()
