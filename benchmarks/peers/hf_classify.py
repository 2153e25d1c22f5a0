"""transformers' text-classification pipeline, in batches of 32; prints a JSON object.

    python hf_classify.py FOLDER THREADS CLOCK

FOLDER holds `hf`, a BERT with its pooler; head.npz, the layer of labels; texts.json, the texts and the labels' names.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BertForSequenceClassification, pipeline

BATCH, WARM = 32, 64


def main() -> None:
    folder, threads, timer = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(threads)
    facts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    names = dict(enumerate(facts["labels"]))
    model = BertForSequenceClassification.from_pretrained(
        folder / "hf", num_labels=len(names), id2label=names, label2id={name: i for i, name in names.items()}
    )
    head = np.load(folder / "head.npz")
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(head["weight"]))
        model.classifier.bias.copy_(torch.from_numpy(head["bias"]))
    tokenizer = AutoTokenizer.from_pretrained(folder / "hf", model_max_length=facts["max_len"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # any will do, attention does not see it
    classify = pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, batch_size=BATCH)
    options = {"top_k": None, "truncation": True}
    now = time.process_time if timer == "cpu" else time.perf_counter
    classify(facts["texts"][:WARM], **options)
    started = now()
    found = classify(facts["texts"], **options)
    seconds = now() - started
    by_name = [{one["label"]: one["score"] for one in row} for row in found]
    probabilities = [[row[name] for name in facts["labels"]] for row in by_name]
    print(json.dumps({"texts_per_second": len(found) / seconds, "probabilities": probabilities}))


if __name__ == "__main__":
    main()
