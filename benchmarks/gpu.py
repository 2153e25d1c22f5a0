"""Training speed on a GPU: GPT-2 124M at context 1,024, in tokens a second and as a share of the matrix rate.

    python benchmarks/gpu.py [--batch-size 32] [--steps 30]

The matrix rate is that of bf16 products of 8,192 x 8,192 on random data, measured in the same process before
training. A step's operations are counted as 6 N + 12 L T D a token (Chowdhery et al. 2022, appendix B), N
without position embeddings, the causal half of attention counted in full as the field does. The text is the
built-in corpus; the trainer, the model and the precision are those of `malgil train gpt2`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import torch

from common import trainer_of
from malgil.data.corpus import open_corpus
from malgil.data.settings import DataSettings
from malgil.data.store import token_store
from malgil.models import build_model
from malgil.models.base import count_parameters
from malgil.models.gpt2 import GPT2Config
from malgil.models.llama import LlamaConfig
from malgil.objectives.base import BatchPlan, Specials
from malgil.objectives.causal_lm import CausalLanguageModelling
from malgil.runtime.device import resolve_precision
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer
from malgil.training.settings import TrainingSettings

SIZE = {"n_layers": 12, "n_heads": 12, "d_model": 768, "max_len": 1024}
VOCAB = 50304  # GPT-2's 50,257 up to a multiple of 64: matrix units want even shapes
TINY = {"n_layers": 2, "n_heads": 2, "d_model": 64, "max_len": 64}


def matrix_rate(device: torch.device, n: int) -> float:
    """FLOP/s of bf16 products n x n x n on random data: the median of ten."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        synchronise(device)
        started = time.perf_counter()
        a @ b
        synchronise(device)
        times.append(time.perf_counter() - started)
    return 2 * n**3 / statistics.median(times[3:])


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="gpt2", choices=["gpt2", "llama"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30, help="measured steps, after ten to warm up")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the script on a CPU")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size, vocab = (TINY, 4096) if options.tiny else (SIZE, VOCAB)

    rate = matrix_rate(device, 256 if options.tiny else 8192)
    part = open_corpus(DataSettings(paths=["builtin"])).train
    tokenizer = train_tokenizer((c for d in part.documents() for c in d), TokenizerSettings(vocab_size=4096))
    store = token_store(part, tokenizer)

    torch.manual_seed(0)
    config = GPT2Config(**size) if options.family == "gpt2" else LlamaConfig(**size, qk_norm=True)
    model = build_model(options.family, config, vocab).to(device)
    objective = CausalLanguageModelling(Specials(tokenizer.begin_id, tokenizer.end_id), boundaries="ignore")
    settings = TrainingSettings(
        steps=10 + options.steps, batch_size=options.batch_size, learning_rate=6e-4, beta2=0.95, warmup=10
    )
    batches = objective.training_batches(store, model, size["max_len"], BatchPlan(options.batch_size))
    trainer = trainer_of(objective, model, batches, settings)
    losses, times = [], []
    for step in range(10 + options.steps):
        synchronise(device)
        started = time.perf_counter()
        losses.append(trainer.step(batches(step)).loss)
        synchronise(device)
        times.append(time.perf_counter() - started)
        trainer.progress.step += 1
    seconds = statistics.median(times[10:])
    tokens = options.batch_size * size["max_len"]
    n = count_parameters(model) - (config.max_len * config.d_model if options.family == "gpt2" else 0)
    flops = tokens * (6 * n + 12 * config.n_layers * config.d_model * config.max_len)
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor(),
                "torch": torch.__version__,
                "family": options.family,
                "parameters": count_parameters(model),
                "batch_size": options.batch_size,
                "context": size["max_len"],
                "precision": resolve_precision("auto", device).name,
                "ms_per_step": round(1000 * seconds, 2),
                "tokens_per_second": round(tokens / seconds),
                "tflops": round(flops / seconds / 1e12, 1),
                "matrix_tflops": round(rate / 1e12, 1),
                "share_of_matrix_rate": round(flops / seconds / rate, 3),
                "first_loss": round(losses[0], 3),
                "last_loss": round(losses[-1], 3),
                "first_step_seconds": round(times[0], 1),
                "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else None,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
