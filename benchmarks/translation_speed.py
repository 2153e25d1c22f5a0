"""Training speed of `transformer` on Multi30k, German to English, against JoeyNMT's own modules.

    python benchmarks/translation_speed.py [--threads 1] [--steps 40] [--rounds 1] [--cpus 1] [--clock wall]
                                           [--peer-python PYTHON]

3 + 3 layers, d_model 256, 4 heads, d_ff 1,024, dropout 0.1, label smoothing 0.1, a joint BPE of 8,000 tokens, one
matrix for both embeddings and the output layer, clipping at 1, an Adam step each batch: on both sides. Ours computes
as `malgil train transformer` does, in bf16 where the CPU has it, on batches of similar length. JoeyNMT computes in
fp32, on batches of as many pairs: once as its own loader makes them, shuffled and unsorted, and once on ours.

Tokens are real ones, source plus target with an end each, without padding; a round's figure is all tokens over all
time after the first steps, the making of batches included, by the clock of the wall or of the processor. Rounds
alternate, each measurement a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import PEERS, clock, data, machine, run_json, table, timing_arguments, trainer_of

SIZE = {"n_layers": 3, "n_heads": 4, "d_model": 256, "d_ff": 1024, "dropout": 0.1, "max_len": 128}
VOCAB, BATCH_TOKENS, SMOOTHING, WARM = 8000, 2500, 0.1, 8
PAIRS, TOKENIZER = "pairs.npz", "tokenizer.json"


def store(tokenizer: Any) -> Any:
    """The training pairs as tokens."""
    from malgil.data.pair_store import pair_store

    return pair_store(_corpus().train, tokenizer, tokenizer, longest=127, max_ratio=None, filtering=True)


def _corpus() -> Any:
    from malgil.data.pairs import open_pairs
    from malgil.data.settings import DataSettings

    files = {side: [str(data(f"translation/multi30k/train.{side}.gz"))] for side in ("de", "en")}
    return open_pairs(DataSettings(source=files["de"], target=files["en"], holdout=0.03))


def prepare(folder: Path) -> float:
    """The tokenizer, and for the peer all pairs and our batches of the first epoch; returns pairs a batch."""
    import numpy as np

    from malgil.data.buckets import Buckets
    from malgil.text.settings import TokenizerSettings
    from malgil.text.training import train_tokenizer

    both = (text for pair in _corpus().train.pairs() for text in pair)
    tokenizer = train_tokenizer(both, TokenizerSettings(kind="bpe", vocab_size=VOCAB))
    tokenizer.save(folder / TOKENIZER)
    pairs = store(tokenizer)
    sides = zip(*(pairs.pair(i) for i in range(len(pairs))), strict=True)
    ids = {name: np.concatenate(side) for name, side in zip(("source", "target"), sides, strict=True)}
    lengths = {"source_lengths": pairs.source_lengths, "target_lengths": pairs.target_lengths}
    buckets = Buckets(*(lengths[name] + 1 for name in lengths), batch_tokens=BATCH_TOKENS)
    epoch = buckets.epoch(0)
    np.savez(folder / PAIRS, **ids, **lengths, order=epoch.order, starts=epoch.starts)
    return len(pairs) / len(epoch)


def measure(folder: Path, threads: int, steps: int, timer: str) -> None:
    """Ours, in this process; prints a JSON object."""
    import torch

    from malgil.models import build_model
    from malgil.models.base import count_parameters
    from malgil.models.transformer import TransformerConfig
    from malgil.objectives.base import BatchPlan, Specials
    from malgil.objectives.seq2seq import SequenceToSequence
    from malgil.runtime.device import prepare_cpu
    from malgil.text.tokenizer import Tokenizer
    from malgil.training.settings import TrainingSettings

    prepare_cpu(threads)
    torch.manual_seed(0)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    model = build_model("transformer", TransformerConfig(**SIZE), tokenizer.vocab_size)
    specials = Specials(tokenizer.begin_id, tokenizer.end_id)
    objective = SequenceToSequence(specials, label_smoothing=SMOOTHING)
    plan = BatchPlan(1, batch_tokens=BATCH_TOKENS)
    settings = TrainingSettings(steps=steps, batch_tokens=BATCH_TOKENS, beta2=0.98, weight_decay=0.0)
    batches = objective.training_batches(store(tokenizer), model, SIZE["max_len"], plan)
    trainer = trainer_of(objective, model, batches, settings)
    model.train()
    now, tokens, started = clock(timer), 0, 0.0
    for step in range(steps):
        if step == WARM:
            tokens, started = 0, now()
        trainer.step(trainer.batches(step))
        tokens += trainer.batches.tokens(step)
        trainer.progress.step += 1
    speed = tokens / (now() - started)
    facts = {"precision": trainer.precision.name, "parameters": count_parameters(model)}
    print(json.dumps({"tokens_per_second": speed, **facts}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing_arguments(parser, steps=40, peer="joeynmt")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.threads, options.steps, options.clock)
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        pairs_a_batch = prepare(Path(name))
        shape = [str(options.threads), str(options.steps), options.clock]
        peer = [options.peer_python, str(PEERS / "joeynmt_step.py"), str(Path(name) / PAIRS), *shape]
        flags = ("--threads", "--steps", "--clock")
        own = [sys.executable, __file__, "--measure", name, *(x for f in zip(flags, shape, strict=True) for x in f)]
        commands = [[*peer, str(round(pairs_a_batch))], [*peer, "bucketed"], own]
        for number in range(options.rounds):
            loader, bucketed, ours = (run_json(c, options.threads, options.cpus) for c in commands)
            speed = ours["tokens_per_second"]
            rows.append(
                {
                    "round": number + 1,
                    "JoeyNMT, its batches (tokens/s)": f"{loader['tokens_per_second']:,.0f}",
                    "JoeyNMT, our batches (tokens/s)": f"{bucketed['tokens_per_second']:,.0f}",
                    f"malgil, {ours['precision']} (tokens/s)": f"{speed:,.0f}",
                    "ratio to its batches": f"{speed / loader['tokens_per_second']:.2f}",
                    "ratio to ours": f"{speed / bucketed['tokens_per_second']:.2f}",
                }
            )
    print(machine())
    sizes = f"{ours['parameters']:,} parameters (JoeyNMT {bucketed['parameters']:,})"
    print(f"{options.threads} threads, {options.clock} clock, {options.steps} steps, {sizes}")
    padding = f"padding {loader['padding']:.0%} in its batches, {bucketed['padding']:.0%} in ours"
    print(f"{pairs_a_batch:.0f} pairs a batch, {padding}")
    print(table(rows))


if __name__ == "__main__":
    main()
