"""Pretraining speed of `bert` on real text of uneven length, against transformers' BertForMaskedLM.

    python benchmarks/masked_speed.py [--threads 1] [--steps 60] [--rounds 1] [--cpus 1] [--clock wall]
                                      [--peer-python PYTHON]

4 layers, d_model 256, 4 heads, d_ff 1,024, a WordPiece vocabulary of 30,000, dropout 0.1 everywhere, 15 % of tokens
hidden, AdamW at 1e-3 after a short warm-up, clipping at 1, the same initial weights: on both sides. A sequence is a
paragraph of Korean and English texts (benchmarks/labelled.py), cut where it is longer than 128 tokens. A step reads the
sequences of 16 rows of 128 tokens, packed; the peer gets the same sequences with the same tokens hidden, in a file, and
pads them to the longest, as its DataCollatorForLanguageModeling does. Ours computes as `malgil train bert` does, in
bf16 where the CPU has it, and makes its batches within the time; the peer computes in its default precision, fp32.

Tokens are real ones, begin and end of each sequence included. A round's figure is all tokens over all time after the
first steps, by the clock of the wall or of the processor. Losses are the mean over the last half of the steps, and
that of sequences which were not trained on, without dropout. Rounds alternate, each measurement a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import PEERS, clock, machine, run_json, table, timing_arguments, trainer_of
from labelled import paragraphs, write_texts

SIZE = {"n_layers": 4, "n_heads": 4, "d_model": 256, "max_len": 128, "dropout": 0.1}
VOCAB, ROWS, WARM, RISE = 30_000, 16, 4, 10
#: batches that are held out, behind those of the steps
HELD = 8
TOKENIZER, WEIGHTS, BATCHES = "tokenizer.json", "hf", "batches.npz"


def batches(folder: Path) -> Any:
    """Ours, as a function of the step."""
    from malgil.data.corpus import open_whole
    from malgil.data.sequences import Sequences
    from malgil.data.settings import DataSettings
    from malgil.data.store import token_store
    from malgil.objectives.base import BatchPlan
    from malgil.objectives.masked_lm import MaskedBatches
    from malgil.objectives.masking import Masking
    from malgil.text.tokenizer import Tokenizer
    from malgil.text.words import Vocabulary

    tokenizer = Tokenizer.load(folder / TOKENIZER)
    part, _ = open_whole(DataSettings(paths=[str(folder / "text.jsonl")]))
    sequences = Sequences(token_store(part, tokenizer), SIZE["max_len"])
    return MaskedBatches(sequences, Masking(Vocabulary.of(tokenizer)), BatchPlan(ROWS), SIZE["max_len"])


def model_of(vocab_size: int) -> Any:
    """The model as it begins."""
    import torch

    from malgil.models import build_model
    from malgil.models.bert import BertConfig

    torch.manual_seed(0)
    return build_model("bert", BertConfig(**SIZE), vocab_size)


def prepare(folder: Path, steps: int) -> None:
    """The tokenizer, and for the peer the initial weights and all batches, a sequence a row."""
    import numpy as np

    from malgil.interop.huggingface import export_model
    from malgil.models.bert import BertConfig
    from malgil.text.settings import TokenizerSettings
    from malgil.text.training import train_tokenizer

    texts = [text.strip() for text in paragraphs() if text.strip()]
    write_texts(texts, folder / "text.jsonl")
    tokenizer = train_tokenizer(texts, TokenizerSettings(kind="wordpiece", vocab_size=VOCAB - 2)).with_mask()
    tokenizer.save(folder / TOKENIZER)
    export_model(model_of(tokenizer.vocab_size), BertConfig(**SIZE), tokenizer, folder / WEIGHTS)
    ours, ids, labels, lengths, sizes = batches(folder), [], [], [], []
    for step in range(steps + HELD):
        batch = ours(step)[0]
        wanted = np.full(batch.tokens.numel(), -100)
        wanted[batch.positions.numpy()] = batch.targets.numpy()
        segments = batch.segment_ids.numpy()
        real = segments > 0
        row = np.repeat(np.arange(len(segments)), segments.shape[1]).reshape(segments.shape)
        _, counts = np.unique((row * segments.shape[1] + segments)[real], return_counts=True)
        ids.append(batch.tokens.numpy()[real])
        labels.append(wanted.reshape(segments.shape)[real])
        lengths.append(counts)
        sizes.append(len(counts))
    arrays = {name: np.concatenate(x) for name, x in (("ids", ids), ("labels", labels), ("lengths", lengths))}
    np.savez(folder / BATCHES, **arrays, sizes=np.array(sizes))


def measure(folder: Path, threads: int, steps: int, timer: str) -> None:
    """Ours, in this process; prints a JSON object."""
    import torch

    from malgil.models.base import count_parameters
    from malgil.objectives.masked_lm import MaskedLanguageModelling
    from malgil.runtime.device import prepare_cpu
    from malgil.training.settings import TrainingSettings

    prepare_cpu(threads)
    made = batches(folder)
    model = model_of(made.masking.vocabulary.goes_on.size)
    objective = MaskedLanguageModelling(made.masking)
    objective.begin(model)
    settings = TrainingSettings(
        steps=steps, batch_size=ROWS, warmup=RISE, schedule="constant", beta2=0.98, weight_decay=0.01
    )
    trainer = trainer_of(objective, model, made, settings)
    model.train()
    now, tokens, started, losses = clock(timer), 0, 0.0, []
    for step in range(steps):
        if step == WARM:
            tokens, started = 0, now()
        losses.append(trainer.step(trainer.batches(step)).loss)
        tokens += trainer.batches.tokens(step)
        trainer.progress.step += 1
    speed = tokens / (now() - started)
    model.eval()
    held = [made(step)[0] for step in range(steps, steps + HELD)]
    with torch.no_grad():
        nll = sum(float(objective.loss(trainer.assembled, batch, None)[0]["mlm"]) for batch in held)
    count = sum(len(batch.targets) for batch in held)
    facts = {"precision": trainer.precision.name, "parameters": count_parameters(model)}
    late = losses[len(losses) // 2 :]
    result = {"tokens_per_second": speed, "loss": sum(late) / len(late), "held": nll / count, "first": losses[0]}
    print(json.dumps(result | facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing_arguments(parser, steps=60, peer="transformers")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.threads, options.steps, options.clock)
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), options.steps)
        shape = [str(options.threads), str(options.steps), options.clock]
        peer = [options.peer_python, str(PEERS / "hf_bert_masked.py"), name, *shape]
        flags = ("--threads", "--steps", "--clock")
        own = [sys.executable, __file__, "--measure", name, *(x for f in zip(flags, shape, strict=True) for x in f)]
        for number in range(options.rounds):
            theirs, ours = (run_json(c, options.threads, options.cpus) for c in (peer, own))
            rows.append(
                {
                    "round": number + 1,
                    "transformers, fp32 (tokens/s)": f"{theirs['tokens_per_second']:,.0f}",
                    f"malgil, {ours['precision']} (tokens/s)": f"{ours['tokens_per_second']:,.0f}",
                    "ratio": f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}",
                    "loss, transformers": f"{theirs['loss']:.4f}",
                    "loss, malgil": f"{ours['loss']:.4f}",
                    "held out, transformers": f"{theirs['held']:.4f}",
                    "held out, malgil": f"{ours['held']:.4f}",
                }
            )
    print(machine())
    steps = f"{options.steps} steps of {theirs['sequences']:.0f} sequences"
    print(f"{options.threads} threads, {options.clock} clock, {steps}")
    unpadded = theirs["tokens_per_second"] / (1 - theirs["padding"])
    padding = f"{theirs['padding']:.0%} of the peer's places are padding: it reads {unpadded:,.0f} places a second"
    print(f"{ours['parameters']:,} parameters (transformers {theirs['parameters']:,}), {padding}")
    print(f"loss before the first step: {theirs['first']:.4f} and {ours['first']:.4f}, with dropout")
    print(table(rows))


if __name__ == "__main__":
    main()
