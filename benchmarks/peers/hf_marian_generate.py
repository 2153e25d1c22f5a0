"""MarianMT's `generate`, as its documentation has it, in batches of 32; prints a JSON object.

    python hf_marian_generate.py FOLDER THREADS MAX_TOKENS CLOCK BEAM ordered | sorted

FOLDER holds `marian`, a model, and sources.json, the ids of each source with the end token.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from transformers import MarianMTModel

BATCH, WARM = 32, 64


def translate(model, sources, beam, max_tokens):
    """The ids of each source's translation, without begin, end and padding."""
    special = {model.config.decoder_start_token_id, model.config.eos_token_id, model.config.pad_token_id}
    made = []
    for start in range(0, len(sources), BATCH):
        batch = sources[start : start + BATCH]
        longest = max(map(len, batch))
        ids = torch.tensor([source + [0] * (longest - len(source)) for source in batch])
        mask = torch.tensor([[1] * len(source) + [0] * (longest - len(source)) for source in batch])
        output = model.generate(ids, attention_mask=mask, num_beams=beam, do_sample=False, max_new_tokens=max_tokens)
        made += [[token for token in row if token not in special] for row in output.tolist()]
    return made


def main() -> None:
    folder, threads, max_tokens, timer = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    beam, order = int(sys.argv[5]), sys.argv[6]
    torch.set_num_threads(threads)
    model = MarianMTModel.from_pretrained(folder / "marian").eval()
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    places = list(range(len(sources)))
    if order == "sorted":
        places.sort(key=lambda i: -len(sources[i]))
    now = time.process_time if timer == "cpu" else time.perf_counter
    translate(model, sources[:WARM], beam, max_tokens)
    started = now()
    made = translate(model, [sources[i] for i in places], beam, max_tokens)
    seconds = now() - started
    by_place = dict(zip(places, made, strict=True))
    ids = [by_place[i] for i in range(len(sources))]
    print(json.dumps({"sentences_per_second": len(sources) / seconds, "ids": ids}))


if __name__ == "__main__":
    main()
