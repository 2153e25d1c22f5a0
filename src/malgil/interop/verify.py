"""What was exported, loaded by whoever will load it, against the model it came from.

The only place that imports `transformers`, and only when an export is checked.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from malgil.errors import RunError
from malgil.interop.encoders import ROBERTA_PADDING
from malgil.interop.sentences import SentenceVectors
from malgil.interop.weights import read_json
from malgil.models.base import Encoder, EncoderDecoder, Model
from malgil.text.tokenizer import Tokenizer

#: the largest difference of two fp32 logits, as a share of the largest logit (or of 1)
TOLERANCE = 1e-5
SAMPLE = "말길은 글이 가는 길이다. 낱말 하나, ㅋㅋㅋ 그리고 a word.\n\tOnce upon a time, 3 + 5 = 8!"

#: from a language model's tokens, or an encoder-decoder's source and tokens, to scores
Logits = Callable[..., Tensor]


def sample_inputs(model: Model) -> tuple[Tensor, ...]:
    """Fixed ids for `Logits`: a source too, where there is one."""
    tokens = sample_tokens(model.vocab_size, model.context)
    if isinstance(model, EncoderDecoder):
        return sample_tokens(model.source_vocab_size, model.source_context), tokens.flip(0)
    if isinstance(model, Encoder):
        return (tokens.masked_fill(tokens == ROBERTA_PADDING, 0),)  # which RoBERTa would not count as a position
    return (tokens,)


def sample_tokens(vocab_size: int, longest: int | None) -> Tensor:
    """(2, T) fixed ids from the whole vocabulary."""
    length = min(longest or 32, 32)
    return (torch.arange(2 * length) * 7919 + 3).remainder(vocab_size).view(2, length)


def own(model: Model) -> Logits:
    """The logits of one of our models."""
    if isinstance(model, EncoderDecoder):
        return lambda source, tokens: model.logits(model(tokens, memory=model.encode(source)).hidden)
    return lambda tokens: model.logits(model(tokens).hidden)


def plain_recurrent(folder: Path) -> Logits:
    """The logits of torch.nn's modules with an exported recurrent model's tensors, under the names of the file."""
    settings = read_json(folder / "config.json")
    size, width, hidden, depth = (settings[name] for name in ("ntoken", "ninp", "nhid", "nlayers"))
    cell: type[nn.RNNBase] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN_TANH": nn.RNN}[settings["rnn_type"]]
    model = nn.ModuleDict(
        {
            "encoder": nn.Embedding(size, width),
            "rnn": cell(width, hidden, depth),
            "decoder": nn.Linear(hidden, size, bias=False),
        }
    )
    stored = load_file(folder / "model.safetensors")
    if settings["tie_weights"]:
        stored["decoder.weight"] = stored["encoder.weight"]
    model.load_state_dict(stored, strict=True)

    def logits(tokens: Tensor) -> Tensor:
        out: Tensor = model["decoder"](model["rnn"](model["encoder"](tokens.t()))[0])
        return out.transpose(0, 1)

    return logits


def has_transformers() -> bool:
    return importlib.util.find_spec("transformers") is not None


def with_transformers(
    folder: Path,
    reference: Model,
    tokenizers: Mapping[Path, Tokenizer | None],
    outputs: Mapping[str, Logits] | None = None,
) -> list[str]:
    """Loads the folder as any user of transformers would; nothing comes from a network, no code from the folder.

    Args:
        tokenizers: what was written, by its folder.
        outputs: of a class for pretraining, our scores by what it calls them; None: a class for language models.
    """
    transformers: Any = importlib.import_module("transformers")
    name = f"transformers {transformers.__version__}"
    safely = {"local_files_only": True, "trust_remote_code": False}
    logging = transformers.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        translates = isinstance(reference, EncoderDecoder)
        masked = isinstance(reference, Encoder)
        kind = "Seq2SeqLM" if translates else "MaskedLM" if masked else "CausalLM"
        loader = getattr(transformers, f"AutoModelFor{kind if outputs is None else 'PreTraining'}")
        model = loader.from_pretrained(str(folder), dtype=torch.float32, **safely).eval()
        asked = ("input_ids", "decoder_input_ids") if translates else ("input_ids",)
        done = [
            same_logits(
                f"{name}: {output}" if outputs else name,
                reference,
                lambda *ids, output=output: getattr(model(**dict(zip(asked, ids, strict=True))), output),
                expected,
            )
            for output, expected in (outputs or {"logits": own(reference)}).items()
        ]
        for where, tokenizer in tokenizers.items():
            if tokenizer is not None:
                theirs = transformers.AutoTokenizer.from_pretrained(str(where), **safely)
                done.append(same_ids(name, tokenizer, partial(_encode, theirs)))
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    return done


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def same_sentences(read: SentenceVectors | None, meant: SentenceVectors, max_len: int) -> str:
    """How a text's vector is made, as sentence-transformers will read it.

    Raises:
        RunError: another way.
    """
    whole = replace(meant, longest=meant.longest or max_len)
    if read != whole:
        raise RunError(f"the export says {read} of embeddings, not {whole}", fix="report it with the model")
    return f"sentence-transformers: {whole.describe()}"


def same_config(again: Any, config: Any) -> str:
    """The configuration that was read again computes the same.

    Raises:
        RunError: it does not; so do all functions below.
    """
    seen_in_tensors = ("init", "d_head", "d_ff", "n_kv_heads", "d_hidden", "n_encoder_layers", "shared")
    computed = [name for name in vars(config) if name not in seen_in_tensors]
    different = [name for name in computed if getattr(again, name) != getattr(config, name)]
    if different:
        raise _failed(f"{', '.join(different)} came back otherwise")
    return "malgil: settings equal"


def same_tensors(again: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Every tensor, bit for bit."""
    different = [name for name in state if name not in again or not torch.equal(again[name], state[name])]
    if different or len(again) != len(state):
        raise _failed(f"tensors differ: {', '.join(different[:5])}")
    return f"malgil: {len(state)} tensors equal bit for bit"


@torch.no_grad()
def same_logits(name: str, reference: Model, logits: Logits, wanted: Logits | None = None) -> str:
    """Scores on fixed tokens, within `TOLERANCE`; those that are wanted are the reference's own if nothing is said."""
    inputs = sample_inputs(reference)
    expected, actual = (wanted or own(reference))(*inputs), logits(*inputs)
    largest = float((expected - actual).abs().max())
    if not largest <= TOLERANCE * max(1.0, float(expected.abs().max())):  # also refuses NaN
        raise _failed(f"{name}'s logits differ by up to {largest:.2g}")
    return f"{name}: logits equal, largest difference {largest:.2g}"


def same_ids(name: str, tokenizer: Tokenizer, encode: Callable[[str], list[int]] | None) -> str:
    """The ids of a sample text, Hangul and all."""
    if encode is None or encode(SAMPLE) != tokenizer.encode(SAMPLE):
        raise _failed(f"{name} splits a sample text otherwise")
    return f"{name}: ids of a sample text equal"


def _failed(what: str) -> RunError:
    return RunError(f"the export was not kept: {what}", fix="report it with the configuration")
