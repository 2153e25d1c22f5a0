"""Encoder-only models as Hugging Face's classes of their names, out and in, on tiny random weights."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import torch.nn.functional as F
from foreign import edit_config, read_weights, write_weights
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from malgil.errors import CheckpointError, ConfigError
from malgil.interop import keys
from malgil.interop.configs import SPELLINGS
from malgil.interop.huggingface import export_model, import_model
from malgil.models import build_model
from malgil.models.base import Encoder
from malgil.models.bert import BertConfig
from malgil.text.tokenizer import Tokenizer
from malgil.text.wordpiece import read_wordpiece

transformers: Any = pytest.importorskip("transformers")

VOCAB = 41
_BERT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 15,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 21,
}
_DISTILBERT = {
    "vocab_size": VOCAB, "dim": 15, "n_layers": 2, "n_heads": 3, "hidden_dim": 17, "max_position_embeddings": 21,
}  # fmt: skip
_MODERN = {
    **_BERT, "hidden_size": 18, "num_hidden_layers": 4, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
    "cls_token_id": None, "sep_token_id": None,
}  # fmt: skip
#: the name of their classes, and their settings
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", _BERT),
    "bert-three-types": ("Bert", {**_BERT, "type_vocab_size": 3, "layer_norm_eps": 1e-3}),
    "roberta": ("Roberta", {**_BERT, "max_position_embeddings": 23, "type_vocab_size": 1}),
    "electra": ("Electra", {**_BERT, "embedding_size": 7}),
    "electra-as-wide": ("Electra", {**_BERT, "embedding_size": 15}),
    "distilbert": ("DistilBert", _DISTILBERT),
    "albert": ("Albert", {**_BERT, "embedding_size": 7, "num_hidden_layers": 3}),
    "albert-exact-gelu": ("Albert", {**_BERT, "embedding_size": 15, "hidden_act": "gelu"}),
    "modernbert": ("ModernBert", {**_MODERN, "local_attention": 4, "global_attn_every_n_layers": 2}),
    "modernbert-as-published": ("ModernBert", _MODERN),
}
every_case = pytest.mark.parametrize("case", CASES)


def written(folder: Path, case: str, kind: str = "ForMaskedLM") -> Any:
    """One of their models whose every weight and bias matters, saved to the folder."""
    name, settings = CASES[case]
    model = getattr(transformers, f"{name}{kind}")(getattr(transformers, f"{name}Config")(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.logging.enable_progress_bar()
    return model


def imported(folder: Path) -> Encoder:
    model = import_model(folder).build()
    assert isinstance(model, Encoder)
    return model


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Rows of different lengths (their padding token is 0 or 1), what is real of them, and types."""
    mask = torch.arange(9) < torch.tensor([[9], [3], [6]])
    return torch.randint(2, VOCAB, (3, 9)).masked_fill(~mask, 1), mask, torch.randint(0, 2, (3, 9))


def inputs(model: Any, tokens: Tensor, mask: Tensor, types: Tensor) -> dict[str, Tensor]:
    """The arguments of one of their models."""
    typed = {"token_type_ids": types} if getattr(model.config, "type_vocab_size", 0) > 1 else {}
    return {"input_ids": tokens, "attention_mask": mask.long(), **typed}


@every_case
@torch.no_grad()
def test_hidden_states_and_logits(case: str, tmp_path: Path) -> None:
    theirs = written(tmp_path, case)
    ours, (tokens, mask, types) = imported(tmp_path), batch()
    expected = theirs(**inputs(theirs, tokens, mask, types), output_hidden_states=True)
    hidden = ours(tokens, token_mask=mask, type_ids=types).hidden
    torch.testing.assert_close(hidden[mask], expected.hidden_states[-1][mask], atol=1e-5, rtol=1e-5)
    assert expected.logits.std() > 0.3
    torch.testing.assert_close(ours.logits(hidden)[mask], expected.logits[mask], atol=1e-5, rtol=1e-5)


@every_case
def test_gradients(case: str, tmp_path: Path) -> None:
    theirs = written(tmp_path, case)
    ours, (tokens, mask, types) = imported(tmp_path), batch()
    targets = torch.randint(0, VOCAB, (3, 9)).masked_fill(~mask, -100)
    targets[:, ::2] = -100
    logits = theirs(**inputs(theirs, tokens, mask, types)).logits
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    hidden = ours(tokens, token_mask=mask, type_ids=types).hidden
    ours.nll(hidden.flatten(0, 1), targets.flatten()).sum().backward()
    shapes = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    table = SPELLINGS[theirs.config.model_type].table
    stored = {name: p.grad for name, p in theirs.named_parameters(remove_duplicate=False)}
    expected = keys.to_ours(keys.parts(table, shapes, ours.config), lambda name: stored[name])
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- checkpoints of other classes than the one for masked language models


@every_case
@torch.no_grad()
def test_a_body_alone_gets_a_new_head(case: str, tmp_path: Path) -> None:
    theirs = written(tmp_path, case, "Model")
    found, (tokens, mask, types) = import_model(tmp_path), batch()
    assert any("no head for masked tokens" in note for note in found.notes)
    ours = found.build()
    expected = theirs(**inputs(theirs, tokens, mask, types))
    hidden = ours(tokens, token_mask=mask, type_ids=types).hidden
    torch.testing.assert_close(hidden[mask], expected.last_hidden_state[mask], atol=1e-5, rtol=1e-5)
    assert isinstance(ours, Encoder)
    pools = case.startswith(("bert", "roberta", "albert"))
    assert getattr(found.config, "pooler", False) == pools
    if pools:
        torch.testing.assert_close(ours.pooled(hidden[:, 0]), expected.pooler_output, atol=1e-5, rtol=1e-5)
    again = import_model(tmp_path).state  # what begins at random is always the same
    assert all(torch.equal(again[name], tensor) for name, tensor in found.state.items())


@pytest.mark.parametrize(
    "case, kind, left",
    [
        ("bert", "ForSequenceClassification", "classifier.bias"),
        ("roberta", "ForTokenClassification", "classifier.weight"),
        ("modernbert", "ForSequenceClassification", "classifier.weight"),
        ("distilbert", "ForSequenceClassification", "pre_classifier.weight"),
        ("distilbert", "ForQuestionAnswering", "qa_outputs.weight"),
    ],
)
@torch.no_grad()
def test_heads_of_other_tasks_are_left_out_and_named(case: str, kind: str, left: str, tmp_path: Path) -> None:
    theirs = written(tmp_path, case, kind)
    found = import_model(tmp_path)
    assert any("left out" in note and left in note for note in found.notes)
    tokens, mask, types = batch()
    body = getattr(theirs, theirs.base_model_prefix)
    expected = body(**inputs(theirs, tokens, mask, types)).last_hidden_state
    hidden = found.build()(tokens, token_mask=mask, type_ids=types).hidden
    torch.testing.assert_close(hidden[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_older_files(tmp_path: Path) -> None:
    """Norms were called gamma and beta, the tied output layer was stored twice, positions were a tensor."""
    theirs = written(tmp_path, "bert")
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in read_weights(tmp_path).items()
    }
    weights["cls.predictions.decoder.weight"] = theirs.bert.embeddings.word_embeddings.weight.detach()
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"]
    weights["bert.embeddings.position_ids"] = torch.arange(21)[None]
    write_weights(tmp_path, weights)
    tokens = torch.randint(2, VOCAB, (2, 8))
    ours = imported(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(tokens).hidden), theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"] + 1
    write_weights(tmp_path, weights)
    with pytest.raises(CheckpointError, match="tied"):
        import_model(tmp_path)


@every_case
def test_a_head_in_part_and_unknown_tensors_are_refused(case: str, tmp_path: Path) -> None:
    written(tmp_path, case)
    weights = read_weights(tmp_path)
    norms = [name for name in weights if name.lower().endswith("norm.weight")]
    prefix = SPELLINGS[case.split("-")[0]].prefix
    name = next(n for n in norms if not n.startswith(prefix))
    write_weights(tmp_path, {key: t for key, t in weights.items() if key != name})
    with pytest.raises(CheckpointError, match=f"missing tensors: {name}"):
        import_model(tmp_path)
    write_weights(tmp_path, {**weights, f"{prefix}encoder.길": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="unexpected tensors"):
        import_model(tmp_path)


@pytest.mark.parametrize(
    "case, values, word",
    [
        ("bert", {"hidden_act": "relu"}, "hidden_act"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("bert", {"num_hidden_layers": 10**9}, "layers"),
        ("bert", {"intermediate_size": ...}, "intermediate_size"),
        ("roberta", {"pad_token_id": 0}, "pad_token_id"),
        ("roberta", {"max_position_embeddings": 2}, "max_len"),
        ("electra", {"embedding_size": "wide"}, "d_embedding"),
        ("distilbert", {"activation": "relu"}, "activation"),
        ("albert", {"num_hidden_groups": 2}, "num_hidden_groups"),
        ("albert", {"num_hidden_layers": 10**9}, "n_layers"),
        ("modernbert", {"norm_bias": True}, "norm_bias"),
        ("modernbert", {"layer_types": ["full_attention", "full_attention", "sliding_attention"]}, "layer_types"),
        ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rotations"),
    ],
)
def test_refused_configurations(case: str, values: dict[str, Any], word: str, tmp_path: Path) -> None:
    written(tmp_path, case)
    edit_config(tmp_path, **values)
    with pytest.raises(CheckpointError, match=word):
        import_model(tmp_path)


@torch.no_grad()
def test_the_older_spelling_of_modernbert(tmp_path: Path) -> None:
    theirs = written(tmp_path, "modernbert")
    old = {"layer_types": ..., "rope_parameters": ..., "global_attn_every_n_layers": 2}
    edit_config(tmp_path, **old, global_rope_theta=160_000.0, local_rope_theta=10_000.0)
    tokens = torch.randint(2, VOCAB, (2, 12))
    ours = imported(tmp_path)
    torch.testing.assert_close(ours.logits(ours(tokens).hidden), theirs(tokens).logits, atol=1e-5, rtol=1e-5)


# --- tokenizers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = unicodedata.normalize("NFD", "말길")
WORDS = [*SPECIAL, "말", "##길", "길", "##은", "the", "way", "##s", "é", "e", "A", "a", LETTERS[:3], f"##{LETTERS[3:]}"]


def vocabulary(folder: Path, **settings: Any) -> Path:
    """BERT's vocab.txt, of as many tokens as the models have rows, and what stands beside it."""
    path = folder / "vocab.txt"
    names = [*WORDS, *(f"[unused{i}]" for i in range(VOCAB - len(WORDS)))]
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "settings", [{}, {"do_lower_case": False}, {"do_lower_case": True, "strip_accents": False}], ids=str
)
def test_vocabularies_of_bert(settings: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path, "bert")
    path = vocabulary(tmp_path, **settings)
    tokenizer = import_model(tmp_path).tokenizer
    assert tokenizer is not None
    named = (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.begin_id, tokenizer.end_id, tokenizer.mask_id)
    assert named == (0, 1, 2, 3, 4)
    theirs = transformers.BertTokenizer(vocab=str(path), **settings)
    for text in ("말길은 The ways é", "A a 길  é!", "말 ways", "세상"):
        assert tokenizer.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    # where accents are taken off, syllables are taken apart
    assert tokenizer.decode(tokenizer.encode("말길 the way")) == f"{'말길' if settings else LETTERS} the way"
    assert 2 not in tokenizer.encode("[CLS]")  # a special token's name in a text is text


def test_the_tokens_of_roberta(tmp_path: Path) -> None:
    """Byte-level BPE, whose special tokens are named beside it."""
    written(tmp_path, "roberta")
    letters = sorted({c for word in ("말길", "way") for c in ByteLevel().pre_tokenize_str(word)[0][0]})
    special = ["<s>", "<pad>", "</s>", "<mask>"]
    vocab = {token: i for i, token in enumerate([*special, *letters])}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(special)
    backend.save(str(tmp_path / "tokenizer.json"))
    names = {"mask_token": {"content": "<mask>"}, "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(names), encoding="utf-8")
    found = import_model(tmp_path).tokenizer
    assert found is not None
    assert (found.begin_id, found.pad_id, found.end_id, found.mask_id, found.unknown_id) == (0, 1, 2, 3, None)
    assert found.decode(found.encode("말길way")) == "말길way"


def test_broken_vocabularies(tmp_path: Path) -> None:
    for content, word in ((b"\xff\n", "UTF-8"), (b"[UNK]\na\na\n", "different"), (b"a\nb\n", "UNK"), (b"", "UNK")):
        (tmp_path / "vocab.txt").write_bytes(content)
        with pytest.raises(CheckpointError, match=word):
            read_wordpiece(tmp_path / "vocab.txt")
    written(tmp_path, "bert")
    vocabulary(tmp_path, do_lower_case="no")
    with pytest.raises(CheckpointError, match="senseless"):
        import_model(tmp_path)


def wordpiece(folder: Path, mask: str | None = "[MASK]") -> Tokenizer:
    backend = read_wordpiece(vocabulary(folder), lowercase=False)
    return Tokenizer.wrap(backend, "imported", begin="[CLS]", end="[SEP]", unknown="[UNK]", mask=mask, pad="[PAD]")


# --- export


@every_case
def test_there_and_back(case: str, tmp_path: Path) -> None:
    name = CASES[case][0]
    written(tmp_path / "theirs", case)
    tokenizer = wordpiece(tmp_path)
    if name == "Roberta":  # whose padding token is 1
        tokenizer = Tokenizer.wrap(
            read_wordpiece(tmp_path / "vocab.txt"), "imported", begin="[CLS]", end="[SEP]", mask="[MASK]", pad="[UNK]"
        )
    first = import_model(tmp_path / "theirs")
    done = export_model(first.build(), first.config, tokenizer, tmp_path / "out").verifications
    assert sum(line.startswith("transformers") for line in done) == 2
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == [f"{name}ForMaskedLM"]
    assert config["pad_token_id"] == tokenizer.pad_id
    stored, before = read_weights(tmp_path / "out"), read_weights(tmp_path / "theirs")
    assert stored.keys() == before.keys()
    skipped = 2 if name == "Roberta" else 0
    for key, tensor in stored.items():
        unread = skipped if "position_embeddings" in key else 0
        assert torch.equal(tensor[unread:], before[key][unread:])
    again = import_model(tmp_path / "out")
    assert again.config == first.config
    assert again.tokenizer is not None
    assert again.tokenizer.fingerprint == tokenizer.fingerprint
    assert (again.tokenizer.mask_id, again.tokenizer.pad_id) == (tokenizer.mask_id, tokenizer.pad_id)


@pytest.mark.parametrize("case", ["bert", "distilbert"])
def test_what_was_exported_works_as_transformers_users_do(case: str, tmp_path: Path) -> None:
    """Tokenizer and model together: padded pairs of texts, with their special tokens, give what ours gives."""
    written(tmp_path / "theirs", case)
    found = import_model(tmp_path / "theirs")
    export_model(found.build(), found.config, wordpiece(tmp_path), tmp_path / "out")
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    assert (reader.mask_token, reader.cls_token, reader.sep_token) == ("[MASK]", "[CLS]", "[SEP]")
    encoded = reader(["말길은 the way", "길"], ["the", "ways the"], padding=True, return_tensors="pt")
    assert encoded["input_ids"][0].tolist()[:6] == [2, 5, 6, 8, 9, 10]
    assert ("token_type_ids" in encoded) == (case == "bert")
    ours = found.build()
    mask = encoded["attention_mask"].bool()
    with torch.no_grad():
        logits = model(**encoded).logits
        hidden = ours(encoded["input_ids"], token_mask=mask, type_ids=encoded.get("token_type_ids")).hidden
        torch.testing.assert_close(ours.logits(hidden)[mask], logits[mask], atol=1e-5, rtol=1e-5)


def test_which_class_a_bert_of_ours_becomes(tmp_path: Path) -> None:
    def exported(name: str, **settings: Any) -> str:
        config = BertConfig(n_layers=1, n_heads=2, d_model=8, max_len=9, **settings)
        export_model(build_model("bert", config, 11), config, None, tmp_path / name)
        tree = json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))
        return str(tree["architectures"][0])

    assert exported("a") == "BertForMaskedLM"
    assert exported("b", n_types=1) == "BertForMaskedLM"  # no padding token by which RoBERTa could count
    assert exported("c", n_types=0) == "DistilBertForMaskedLM"
    assert exported("d", d_embedding=5) == "ElectraForMaskedLM"
    assert exported("e", pooler=True) == "BertForMaskedLM"
    assert import_model(tmp_path / "e").config.pooler
    for settings in ({"norm_eps": 1e-5}, {"pooler": True}, {"d_embedding": 5}):
        with pytest.raises(ConfigError, match=f"model.{next(iter(settings))}"):
            exported("f", n_types=0, **settings)
