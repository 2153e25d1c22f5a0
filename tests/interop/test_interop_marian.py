"""The Transformer as Hugging Face's MarianMTModel, out and in, by their own computation on tiny random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from foreign import TEXT, edit_config, read_weights, small_tokenizer, write_weights
from torch import Tensor

from malgil.errors import CheckpointError, ConfigError
from malgil.interop import keys, verify
from malgil.interop.configs import SPELLINGS
from malgil.interop.huggingface import Imported, export_model, import_model
from malgil.models import build_model
from malgil.models.base import EncoderDecoder
from malgil.models.seq2seq import Seq2SeqConfig
from malgil.models.transformer import Transformer, TransformerConfig
from malgil.text.tokenizer import Tokenizer

transformers: Any = pytest.importorskip("transformers")

VOCAB, SOURCE_VOCAB = 31, 37
MARIAN: dict[str, Any] = {
    "vocab_size": VOCAB,
    "d_model": 15,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 17,
    "decoder_ffn_dim": 17,
    "max_position_embeddings": 21,
    "activation_function": "swish",
    "scale_embedding": True,
    "decoder_start_token_id": VOCAB - 1,
    "pad_token_id": VOCAB - 1,
    "eos_token_id": 0,
    "forced_eos_token_id": None,
}
CASES: dict[str, dict[str, Any]] = {
    "swish": MARIAN,
    "relu-even-unscaled": {
        **MARIAN, "activation_function": "relu", "d_model": 18, "scale_embedding": False, "encoder_layers": 1,
    },
    "separate": {
        **MARIAN, "vocab_size": SOURCE_VOCAB, "decoder_vocab_size": VOCAB, "share_encoder_decoder_embeddings": False,
    },
}  # fmt: skip
SETTINGS: dict[str, Any] = {"n_layers": 2, "n_heads": 3, "d_model": 15, "d_ff": 17, "max_len": 21}


def written(folder: Path, settings: dict[str, Any]) -> Any:
    """A MarianMTModel whose every weight and bias matters, saved to the folder."""
    model = transformers.MarianMTModel(transformers.MarianConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in [*model.parameters(), model.final_logits_bias]:
            if parameter.requires_grad or parameter is model.final_logits_bias:  # the sines stay as they are
                parameter.add_(torch.randn_like(parameter) * 0.3)
    verbosity = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if verbosity:
        transformers.logging.enable_progress_bar()
    return model


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Transformer]:
    theirs = written(tmp_path, CASES[request.param])
    ours = import_model(tmp_path).build()
    assert isinstance(ours, Transformer)
    return theirs, ours


def batch(model: Transformer) -> tuple[Tensor, Tensor, Tensor]:
    """Sources of different lengths, what is real of them, and targets."""
    source = torch.randint(1, model.source_vocab_size - 1, (3, 7))
    mask = torch.arange(7) < torch.tensor([[7], [2], [5]])
    return source.masked_fill(~mask, 0), mask, torch.randint(1, VOCAB - 1, (3, 6))


@torch.no_grad()
def test_memory_and_logits(pair: tuple[Any, Transformer]) -> None:
    theirs, ours = pair
    source, mask, tokens = batch(ours)
    expected = theirs(input_ids=source, attention_mask=mask.long(), decoder_input_ids=tokens)
    memory = ours.encode(source, source_mask=mask)
    hidden = expected.encoder_last_hidden_state
    torch.testing.assert_close(memory.hidden[mask], hidden[mask], atol=1e-5, rtol=1e-5)
    assert expected.logits.std() > 0.3
    logits = ours.logits(ours(tokens, memory=memory).hidden)
    torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=1e-5)


def test_gradients(pair: tuple[Any, Transformer]) -> None:
    theirs, ours = pair
    source, mask, tokens = batch(ours)
    targets = torch.randint(0, VOCAB, (3, 6))
    targets[1, 4:] = -100
    theirs.final_logits_bias.requires_grad_()
    logits = theirs(input_ids=source, attention_mask=mask.long(), decoder_input_ids=tokens).logits
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    hidden = ours(tokens, memory=ours.encode(source, source_mask=mask)).hidden
    ours.nll(hidden.flatten(0, 1), targets.flatten()).sum().backward()
    shapes = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    table = SPELLINGS["marian" if ours.source_embedding is None else "marian-separate"].table
    named = {**dict(theirs.named_parameters()), "final_logits_bias": theirs.final_logits_bias}
    expected = keys.to_ours(keys.parts(table, shapes, ours.config), lambda name: named[name].grad)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@torch.no_grad()
def test_greedy_ids(pair: tuple[Any, Transformer]) -> None:
    theirs, ours = pair
    source, mask, _ = batch(ours)
    expected = theirs.generate(
        source, attention_mask=mask.long(), num_beams=1, do_sample=False, max_new_tokens=12, use_cache=True
    )
    begin, end = MARIAN["decoder_start_token_id"], MARIAN["eos_token_id"]
    tokens = torch.full((3, 1), begin)
    state = ours.init_state(ours.encode(source, source_mask=mask), 13)
    new = tokens
    for _ in range(expected.shape[1] - 1):
        hidden, state = ours(new, state=state)
        new = ours.logits(hidden[:, -1:]).argmax(-1)
        finished = (tokens == end).any(1, keepdim=True)
        new = new.masked_fill(finished, MARIAN["pad_token_id"])
        tokens = torch.cat((tokens, new), 1)
    assert tokens.tolist() == expected.tolist()


# --- import


def test_what_import_tells(tmp_path: Path) -> None:
    written(tmp_path, CASES["separate"])
    imported = import_model(tmp_path)
    assert (imported.family, imported.vocab_size, imported.source_vocab_size) == ("transformer", VOCAB, SOURCE_VOCAB)
    assert (imported.tokenizer, imported.source_tokenizer) == (None, None)
    c = imported.config
    assert (c.n_layers, c.encoder_layers, c.activation, c.shared, c.output_bias) == (2, 3, "silu", False, True)


def test_stored_copies_of_the_embedding_and_sines_are_left_out(tmp_path: Path) -> None:
    """As the folders of older versions are."""
    written(tmp_path, MARIAN)
    expected, whole = import_model(tmp_path), read_weights(tmp_path)
    shared = whole["model.shared.weight"]
    copies = [f"model.{side}.embed_tokens.weight" for side in ("encoder", "decoder")] + ["lm_head.weight"]
    sines = {f"model.{side}.embed_positions.weight": torch.ones(21, 15) for side in ("encoder", "decoder")}
    write_weights(tmp_path, {**whole, **sines, **dict.fromkeys(copies, shared)})
    again = import_model(tmp_path)
    assert all(torch.equal(again.state[name], tensor) for name, tensor in expected.state.items())
    assert any("kept once" in note for note in again.notes)
    write_weights(tmp_path, {**whole, copies[1]: shared + 1})
    with pytest.raises(CheckpointError, match=r"decoder\.embed_tokens.*differs"):
        import_model(tmp_path)


@pytest.mark.parametrize(
    "values, word",
    [
        ({"decoder_ffn_dim": 19}, "17 encoder_ffn_dim and 19 decoder_ffn_dim"),
        ({"encoder_attention_heads": 5}, "attention_heads"),
        ({"normalize_before": True}, "normalize_before"),
        ({"normalize_embedding": True}, "normalize_embedding"),
        ({"static_position_embeddings": False}, "static_position_embeddings"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"share_encoder_decoder_embeddings": False}, "unexpected|missing"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder"),
        ({"activation_function": "tanh"}, "tanh"),
        ({"encoder_layers": 10**9}, "layers"),
        ({"decoder_layers": ...}, "decoder_layers"),
    ],
)
def test_refused_configurations(values: dict[str, Any], word: str, tmp_path: Path) -> None:
    written(tmp_path, MARIAN)
    edit_config(tmp_path, **values)
    with pytest.raises(CheckpointError, match=word):
        import_model(tmp_path)


# --- export


def random_transformer(vocab_size: int, source_vocab_size: int | None = None, **changed: Any) -> Transformer:
    config = TransformerConfig(**{**SETTINGS, **changed})
    model = build_model("transformer", config, vocab_size, source_vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    assert isinstance(model, Transformer)
    return model.eval()


@pytest.mark.parametrize(
    "changed",
    [{}, {"activation": "silu", "output_bias": True, "n_encoder_layers": 3, "scale_embedding": False, "dropout": 0.2}],
)
@torch.no_grad()
def test_there_and_back_with_one_tokenizer(changed: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    model = random_transformer(tokenizer.vocab_size, **changed)
    done = export_model(model, model.config, tokenizer, tmp_path / "out").verifications
    assert sum(line.startswith("transformers") for line in done) == 2
    again = import_model(tmp_path / "out")
    assert again.tokenizer is not None
    assert (again.tokenizer.fingerprint, again.source_tokenizer) == (tokenizer.fingerprint, None)
    assert all(torch.equal(again.state[name], tensor) for name, tensor in model.state_dict().items())
    assert again.state["output_bias"].any() == bool(changed)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    assert type(theirs).__name__ == "MarianMTModel"
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = [TEXT[:17], "길"]
    read = reader(texts, return_tensors="pt", padding=True)
    ids = [[*tokenizer.encode(text), tokenizer.end_id] for text in texts]
    assert read["input_ids"][0].tolist() == ids[0]
    assert read["attention_mask"].sum(1).tolist() == [len(row) for row in ids]
    expected = theirs(**read, decoder_input_ids=read["input_ids"][:, :5]).logits
    memory = model.encode(read["input_ids"], source_mask=read["attention_mask"].bool())
    logits = model.logits(model(read["input_ids"][:, :5], memory=memory).hidden)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-5)
    generated = theirs.generate(**read, num_beams=1, do_sample=False, max_new_tokens=4)
    assert (generated[:, 0] == tokenizer.begin_id).all()


def test_there_and_back_with_two_tokenizers(tmp_path: Path) -> None:
    target, source = small_tokenizer(), small_tokenizer("char", 60)
    model = random_transformer(target.vocab_size, source.vocab_size)
    exported = export_model(model, model.config, target, tmp_path / "out", source_tokenizer=source)
    assert sum(line.startswith("transformers") for line in exported.verifications) == 3
    again = import_model(tmp_path / "out")
    assert again.tokenizer is not None
    assert again.source_tokenizer is not None
    assert (again.tokenizer.kind, again.source_tokenizer.kind) == ("bpe", "char")
    assert again.source_vocab_size == source.vocab_size
    assert again.build().source_vocab_size == source.vocab_size
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", subfolder="source")
    assert reader("말길")["input_ids"] == [*source.encode("말길"), source.end_id]


def test_without_a_tokenizer(tmp_path: Path) -> None:
    model = random_transformer(VOCAB)
    export_model(model, model.config, None, tmp_path / "out")
    assert import_model(tmp_path / "out").tokenizer is None
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["pad_token_id"] is None


def test_what_marian_cannot_hold_is_refused(tmp_path: Path) -> None:
    for changed, word in (({"tied": False}, "tied"), ({"norm_eps": 1e-6}, "1e-05")):
        model = random_transformer(VOCAB, **changed)
        with pytest.raises(ConfigError, match=word):
            export_model(model, model.config, None, tmp_path / "out")
    recurrent = build_model("seq2seq", Seq2SeqConfig(n_layers=1, d_model=5), VOCAB)
    with pytest.raises(ConfigError, match="no class for seq2seq; its run folder travels"):
        export_model(recurrent, recurrent.config, None, tmp_path / "out")
    assert not list(tmp_path.iterdir())


# --- Marian's own tokenizers

SOURCE_TEXT = "말길은 글이 가는 길이다.\n낱말이 이어져 길이 된다.\n길 위에 말이 있다.\n" * 9
TARGET_TEXT = "A road of words is a way.\nWords go on and on, and a way is made.\nThere are words on the road.\n" * 9
SPECIAL = ["</s>", "<unk>"]


def spm(folder: Path, name: str, text: str, kind: str) -> list[str]:
    """Trains a SentencePiece model; its pieces."""
    sentencepiece = pytest.importorskip("sentencepiece")
    (folder / "text.txt").write_text(text, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / name),
        model_type=kind,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / f"{name}.model").rename(folder / f"{name}.spm")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
    return [processor.id_to_piece(i) for i in range(3, processor.vocab_size())]


def marian_folder(folder: Path, kind: str, *, same: bool = False) -> Any:
    """A folder as Helsinki-NLP publishes them: two .spm files over one vocab.json, and MarianTokenizer for it."""
    pieces = spm(folder, "source", SOURCE_TEXT, kind)
    pieces += spm(folder, "target", TARGET_TEXT, kind)
    if same:
        shutil.copyfile(folder / "source.spm", folder / "target.spm")
    names = [*SPECIAL, *sorted(set(pieces)), ">>eng<<", "<pad>"]
    vocab = {name: i for i, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    ids = {"decoder_start_token_id": vocab["<pad>"], "pad_token_id": vocab["<pad>"]}
    written(folder, {**MARIAN, **ids, "vocab_size": len(vocab)})
    with pytest.warns(UserWarning, match="sacremoses"):
        return transformers.MarianTokenizer(
            str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json")
        )


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_marians_tokenizers(kind: str, tmp_path: Path) -> None:
    theirs = marian_folder(tmp_path, kind)
    imported = import_model(tmp_path)
    target, source = imported.tokenizer, imported.source_tokenizer
    assert target is not None
    assert source is not None
    assert (target.begin_id, target.end_id, target.unknown_id) == (imported.vocab_size - 1, 0, 1)
    for text in [*SOURCE_TEXT.splitlines()[:3], "말 Ω 길", ">>eng<< 말길", "  길은   글 ", ""]:
        assert [*source.encode(text), source.end_id] == theirs(text)["input_ids"]
    for text in [*TARGET_TEXT.splitlines()[:3], "way Ω way", "  a   road ", ""]:
        ids = theirs(text_target=text)["input_ids"]
        assert [*target.encode(text), target.end_id] == ids
        assert target.decode(ids) == theirs.decode(ids, skip_special_tokens=True, use_source_tokenizer=False)
    assert source.unknown_id in source.encode("Zebra")
    assert source.end_id not in source.encode("말 </s> <pad>")
    assert source.decode(target.encode("A road")) == "A road"  # the other language's pieces have their text


def test_one_file_for_both_sides_is_one_tokenizer(tmp_path: Path) -> None:
    marian_folder(tmp_path, "unigram", same=True)
    imported = import_model(tmp_path)
    assert imported.tokenizer is not None
    assert imported.source_tokenizer is None


def test_an_imported_folder_travels_on(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    marian_folder(tmp_path / "theirs", "unigram")
    first = import_model(tmp_path / "theirs")
    model = first.build()
    export_model(model, first.config, first.tokenizer, tmp_path / "out", source_tokenizer=first.source_tokenizer)
    again = import_model(tmp_path / "out")
    assert fingerprints(again) == fingerprints(first)
    assert again.config == first.config
    assert isinstance(model, EncoderDecoder)
    assert verify.same_logits("again", model, verify.own(again.build()))


def fingerprints(imported: Imported) -> list[str]:
    both: list[Tokenizer | None] = [imported.tokenizer, imported.source_tokenizer]
    return [tokenizer.fingerprint for tokenizer in both if tokenizer is not None]


@pytest.mark.parametrize("vocab", [{"</s>": 0, "<unk>": 2}, {"</s>": 0, "말": 1}, {"</s>": "0", "<unk>": 1}])
def test_a_broken_vocabulary(vocab: dict[str, Any], tmp_path: Path) -> None:
    marian_folder(tmp_path, "unigram")
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"vocabulary with gaps|mapping of tokens"):
        import_model(tmp_path)
