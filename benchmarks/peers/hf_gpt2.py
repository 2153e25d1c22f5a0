"""Hugging Face's GPT-2 in training, as its documentation has it; prints a JSON object.

python hf_gpt2.py THREADS BATCH_SIZE STEPS VOCABULARY
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

T = 256


def main() -> None:
    threads, batch_size, steps, vocab = map(int, sys.argv[1:5])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocab,
        bos_token_id=0,
        eos_token_id=0,
        n_positions=T,
        n_embd=384,
        n_layer=6,
        n_head=6,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    times = []
    for step in range(steps):
        ids = torch.randint(vocab, (batch_size, T + 1), generator=torch.Generator().manual_seed(step))
        started = time.perf_counter()
        # its own loss shifts labels by one; T + 1 ids would give T targets but compute T + 1 positions
        loss = model(input_ids=ids[:, :-1], labels=ids[:, :-1]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - started)
    print(json.dumps({"tokens_per_second": batch_size * T / statistics.median(times[2:])}))


if __name__ == "__main__":
    main()
