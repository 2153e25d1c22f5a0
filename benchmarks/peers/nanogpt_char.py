"""nanoGPT's CPU run on tiny Shakespeare, by its own model.py and optimizer; prints a JSON object.

    python nanogpt_char.py NANOGPT_DIR tinyshakespeare.txt SEED

The settings are those of nanoGPT's README for a CPU: 4 layers, 4 heads, width 128, context 64, batch 12, 2,000
iterations, no dropout, AdamW 1e-3 to 1e-4 along a cosine after 100 steps, betas 0.9 and 0.99, weight decay 0.1,
clipping at 1. Its loop is written here in its simplest form without its logging and evaluation, which would
only make it slower.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

T, BATCH, STEPS, WARMUP = 64, 12, 2000, 100


def rate(step: int) -> float:
    if step < WARMUP:
        return 1e-3 * (step + 1) / (WARMUP + 1)
    return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) * (1e-3 - 1e-4)


def main() -> None:
    folder, text, seed = sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8"), int(sys.argv[3])
    sys.path.insert(0, folder)
    from model import GPT, GPTConfig

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    letters = sorted(set(text))
    index = {c: i for i, c in enumerate(letters)}
    ids = np.array([index[c] for c in text], dtype=np.int64)
    train, held = ids[: int(0.9 * len(ids))], ids[int(0.9 * len(ids)) :]
    sys.stdout, out = sys.stderr, sys.stdout
    model = GPT(
        GPTConfig(block_size=T, vocab_size=len(letters), n_layer=4, n_head=4, n_embd=128, dropout=0.0, bias=False)
    )
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    started = time.perf_counter()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        starts = torch.randint(len(train) - T, (BATCH,)).tolist()
        x = torch.stack([torch.from_numpy(train[i : i + T]) for i in starts])
        y = torch.stack([torch.from_numpy(train[i + 1 : i + 1 + T]) for i in starts])
        _, loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - started
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for i in range(0, len(held) - 1, T):
            x, y = (torch.from_numpy(held[a : a + T][: len(held) - 1 - i])[None] for a in (i, i + 1))
            total += float(model(x, y)[1]) * y.numel()
            count += y.numel()
    result = {"step": STEPS, "tokens": STEPS * BATCH * T, "seconds": seconds, "val_loss": total / count}
    result["parameters"] = sum(p.numel() for p in model.parameters())
    print(json.dumps(result), file=out)


if __name__ == "__main__":
    main()
