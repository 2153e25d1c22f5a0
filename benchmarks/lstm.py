"""LSTM language model, 2 x 200, tied, vocabulary 33,278, real text: against PyTorch's own example written plainly.

    python benchmarks/lstm.py [--threads 1] [--steps 400] [--rounds 1] [--peer-python PYTHON]

Words of War and Peace, WikiText-2's validation part and tiny Shakespeare, the 33,278 most frequent; of every
ten stretches of 5,000 words nine are to train on and one is held out. Both sides: batch 20, 35 steps back,
dropout 0.2, clipping at 0.25, AdamW at 2e-3 (constant), the state carried on; the peer in fp32 with log_softmax
and NLL as its example writes them, ours as `malgil train lstm` computes. Perplexity is that of the held-out
part after the last step, with the state carried through ten streams on both sides.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

from common import PEERS, data, machine, run_json, table, trainer_of

FILES = ("lm/war-and-peace.txt", "lm/wikitext2.valid.txt", "lm/tinyshakespeare.txt")
STRETCH = 5000
VOCAB, BATCH, T, DROPOUT, CLIP, RATE = 33_278, 20, 35, 0.2, 0.25, 2e-3


def measure(train_ids: Path, held_ids: Path, threads: int, steps: int) -> None:
    """Ours, in this process; prints a JSON object."""
    import numpy as np
    import torch

    from malgil.evaluation.language import LanguageEvaluator
    from malgil.models import build_model
    from malgil.models.base import CausalLM, count_parameters
    from malgil.models.rnn_lm import RNNLMConfig
    from malgil.objectives.base import BatchPlan, Specials
    from malgil.objectives.causal_lm import CausalLanguageModelling
    from malgil.runtime.device import Precision, prepare_cpu
    from malgil.training.settings import TrainingSettings

    class Store:
        """The part of a token store that streams read, over ids that both sides share."""

        def __init__(self, path: Path) -> None:
            self.tokens = np.load(path)
            self.starts = np.zeros(1, dtype=np.int64)
            self.n_bytes, self.n_unknown = 1, 0

        def __len__(self) -> int:
            return len(self.tokens)

        def span(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            return self.tokens[start:stop].astype(np.int64), np.zeros(stop - start, dtype=bool)

    prepare_cpu(threads)
    torch.manual_seed(0)
    model = build_model("rnn_lm", RNNLMConfig(d_model=200, max_len=T, dropout=DROPOUT, output_bias=True), VOCAB)
    assert isinstance(model, CausalLM)
    objective = CausalLanguageModelling(Specials(0, 0))
    settings = TrainingSettings(
        steps=steps,
        batch_size=BATCH,
        learning_rate=RATE,
        schedule="constant",
        warmup=0,
        clip=CLIP,
        weight_decay=0.0,
        beta2=0.999,
    )
    batches = objective.training_batches(Store(train_ids), model, T, BatchPlan(BATCH))  # type: ignore[arg-type]
    trainer = trainer_of(objective, model, batches, settings)
    model.train()
    started = time.perf_counter()
    for step in range(steps):
        trainer.step(trainer.batches(step))
        trainer.progress.step += 1
    seconds = time.perf_counter() - started
    score = LanguageEvaluator(Store(held_ids), Specials(0, 0), T, False, Precision("fp32"))  # type: ignore[arg-type]
    loss = score.carried(model)
    assert loss is not None
    print(
        json.dumps(
            {
                "tokens_per_second": steps * BATCH * T / seconds,
                "perplexity": math.exp(loss),
                "parameters": count_parameters(model),
                "precision": trainer.precision.name,
            }
        )
    )


def prepare(folder: Path) -> tuple[Path, Path, int]:
    """The ids of both parts, as files that both sides read, and how many words there are."""
    import numpy as np

    from malgil.text.settings import TokenizerSettings
    from malgil.text.training import train_tokenizer

    text = "\n".join(data(name).read_text(encoding="utf-8") for name in FILES)
    tokenizer = train_tokenizer([text], TokenizerSettings(kind="word", vocab_size=VOCAB, min_frequency=1))
    ids = np.array(tokenizer.encode(text), dtype=np.int64)
    held = np.arange(len(ids)) // STRETCH % 10 == 9
    paths = folder / "train.npy", folder / "held.npy"
    np.save(paths[0], ids[~held])
    np.save(paths[1], ids[held])
    return *paths, tokenizer.vocab_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cpus", help="pin to these processors")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python of the peer's environment")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure, options.threads, options.steps)
        return
    with tempfile.TemporaryDirectory() as name:
        train_ids, held_ids, vocab = prepare(Path(name))
        rows = []
        shape = [str(options.threads), str(options.steps)]
        for number in range(options.rounds):
            peer = [options.peer_python, str(PEERS / "word_lm.py"), str(train_ids), str(held_ids), *shape]
            own = [sys.executable, __file__, "--measure", str(train_ids), str(held_ids)]
            own += ["--threads", shape[0], "--steps", shape[1]]
            theirs, ours = (run_json(c, options.threads, options.cpus) for c in (peer, own))
            rows.append(
                {
                    "round": number + 1,
                    "example, fp32 (tokens/s)": f"{theirs['tokens_per_second']:,.0f}",
                    f"malgil, {ours['precision']} (tokens/s)": f"{ours['tokens_per_second']:,.0f}",
                    "ratio": f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}",
                    "perplexity, example": f"{theirs['perplexity']:.1f}",
                    "perplexity, malgil": f"{ours['perplexity']:.1f}",
                }
            )
    print(machine())
    print(f"{vocab:,} words, {ours['parameters']:,} parameters, {options.steps} steps of {BATCH} x {T}")
    print(f"{options.threads} threads")
    print(table(rows))


if __name__ == "__main__":
    main()
