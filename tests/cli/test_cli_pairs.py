"""Commands for pairs of texts: train on two files or a table, translate, evaluate, look at the attention."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from cli_cases import TINY, Malgil

import malgil as face
from malgil.cli.main import main

PAIRS = [("말길", "the way of words"), ("산은 높다", "mountains are high"), ("물이 흐른다", "water flows")] * 10
SMALL = [
    *(
        "--model.n-layers",
        "1",
        "--model.d-model",
        "12",
        "--tokenizer.kind",
        "char",
        "--device",
        "cpu",
        "--threads",
        "1",
    ),
    *("--training.batch-tokens", "200", "--training.precision", "fp32", "--generation.max-tokens", "6"),
]


def sides(folder: Path) -> tuple[Path, Path]:
    """The pairs as two aligned files."""
    paths = folder / "train.ko", folder / "train.en"
    for path, texts in zip(paths, zip(*PAIRS, strict=True), strict=True):
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("pairs")
    korean, english = sides(folder)
    words = ["train", "transformer", "--source", str(korean), "--target", str(english), "--steps", "2"]
    assert main([*words, "--out", str(folder / "run"), "--model.n-heads", "2", *SMALL]) == 0
    return folder / "run"


def test_two_files_are_all_that_is_needed(malgil: Malgil, tmp_path: Path) -> None:
    """Everything else fits itself to them, the tokenizer too."""
    korean, english = sides(tmp_path)
    words = ["train", "seq2seq", "--source", korean, "--target", english, "--steps", 1, "--model.d-model", 8]
    assert malgil(*words, "--model.d-hidden", 8, "--threads", 1, "--out", tmp_path / "run").status == 0
    assert "kind: bpe" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Standard input, as bytes that come from no file."""
    stream = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogateescape")))
    monkeypatch.setattr(stream.buffer, "fileno", lambda: 0, raising=False)
    monkeypatch.setattr("sys.stdin", stream)


def test_a_run_of_pairs_is_a_folder_like_any_other(translator: Path) -> None:
    config = (translator / "config.yaml").read_text(encoding="utf-8")
    assert "train.ko" in config
    report = (translator / "report.html").read_text(encoding="utf-8")
    assert "BLEU" in report
    assert "말길" in report  # a source of the validation part
    samples = [json.loads(line) for line in (translator / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["prompt"] for line in samples} <= {korean for korean, _ in PAIRS}


def test_translate_answers_line_by_line(malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = face.load(translator, threads=1)
    for batch in ([], ["--batch", 2]):
        give(monkeypatch, "말길\n\n물이 흐른다\r\n산은")
        said = malgil("translate", translator, "--beam", 2, *batch)
        assert said.status == 0
        expected = [run.translate(text, beam=2) for text in ("말길", "", "물이 흐른다", "산은")]
        assert said.out.split("\n") == [*expected, ""]


def test_the_mark_before_the_first_line_is_no_text(
    malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, "\ufeff말길\n산은\n")
    made = malgil("translate", translator, "--json").out.splitlines()
    assert [json.loads(line)["source"] for line in made] == ["말길", "산은"]


def test_a_source_that_is_cut_is_said(malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The context holds 128 tokens, here characters, one of which is the end."""
    give(monkeypatch, "말길\n" + 130 * "산" + "\n")
    said = malgil("translate", translator, "--json")
    assert [json.loads(line)["cut"] for line in said.out.splitlines()] == [0, 3]
    assert "warning: line 2 is longer than the model reads: 3 of its tokens were left out" in said.err
    assert "line 1 " not in said.err


def test_translate_needs_standard_input(malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    said = malgil("translate", translator)
    assert said.status == 2
    assert "there is no standard input" in said.error


def test_n_best_and_json(malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "말길\n산은\n")
    rows = [line.split("\t") for line in malgil("translate", translator, "--n-best", 2, "--beam", 3).out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert float(rows[0][1]) >= float(rows[1][1])
    give(monkeypatch, "말길\n")
    made = json.loads(malgil("translate", translator, "--n-best", 2, "--beam", 3, "--json").out)
    assert made["source"] == "말길"
    assert [h["text"] for h in made["hypotheses"]] == [row[2] for row in rows[:2]]
    assert made["text"] == rows[0][2]


def test_a_tab_in_a_translation_begins_no_column(
    malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malgil.generation.translation.line", lambda tokenizer, ids: "길\t말")
    give(monkeypatch, "말길\n")
    made = malgil("translate", translator, "--n-best", 2, "--beam", 2).out.splitlines()
    assert [line.split("\t")[2:] for line in made] == [["길 말"]] * 2


def test_bytes_that_are_no_text_are_replaced(malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "말\udcff길\n")
    said = malgil("translate", translator)
    assert said.status == 0
    assert "replaced by U+FFFD" in said.err
    assert said.out.count("\n") == 1


def test_evaluate_scores_translations(malgil: Malgil, translator: Path, tmp_path: Path) -> None:
    korean, english = sides(tmp_path)
    result = json.loads(malgil("evaluate", translator, "--source", korean, "--target", english, "--json").out)
    assert result["sentences"] == len(PAIRS)
    assert {"loss", "accuracy", "bleu", "chrf", "bleu_signature", "exact_match", "token_error_rate"} <= set(result)
    shown = malgil("evaluate", translator, "--source", korean, "--target", english, "--beam", 1).out
    assert "nrefs:1|case:mixed" in shown
    assert "BLEU by length of the source" in shown
    own = json.loads(malgil("evaluate", translator, "--json").out)  # its own validation part
    assert own["sentences"] == 3


def test_attention_is_a_page_and_a_picture(malgil: Malgil, translator: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "눈.html", tmp_path / "눈.png"
    said = malgil("attention", translator, "말길", "--target", "the way", "--out", page, "--png", picture)
    assert said.status == 0
    assert said.out.startswith(f"{page}: cross: 1 layer x 2 heads")
    assert "말" in page.read_text(encoding="utf-8")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    maps = face.load(translator, threads=1).attention("말길", "the way")
    assert maps["cross"].shape[:2] == (1, 2)
    assert maps["cross"].sum(-1) == pytest.approx(1, abs=1e-5)


def test_attention_of_a_language_model(malgil: Malgil, run: Path, tmp_path: Path) -> None:
    said = malgil("attention", run, "말길은", "--out", tmp_path / "x.html")
    assert said.status == 0
    assert "self: 1 layer x 2 heads, 4 x 4 tokens" in said.out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["generate", "RUN", "--prompt", "말"], "a transformer model does not continue a text"),
        (["attention", "RUN", " ", "--out", "x.html"], "an empty source has nothing to look at"),
        (["attention", "RUN", "말", "--out", "no/x.html"], "no such folder"),
        (["translate", "RUN", "--batch", "0"], "a batch of 0 lines"),
        (["translate", "RUN", "--n-best", "3", "--beam", "2"], "a beam of 2 cannot find 3 translations; --n-best"),
        (["translate", "RUN", "--n-best", "9"], "a beam of 5 cannot find 9 translations; --n-best; raise --beam to 9"),
        (["translate", "RUN", "--beam", "1.5"], "--beam must be"),
        (["evaluate", "RUN", "--beam", "0"], "--beam must be"),
        (["evaluate", "RUN", "--data.text-field", "ko"], "this setting is of text or labels; --data.text-field; name"),
        (["translate", "RUN", "--precision", "fp8"], "unknown --precision 'fp8'; did you mean fp32?"),
        (["evaluate", "RUN", "--source", "a.ko"], "no such file or folder; a.ko; check --source"),
        (["evaluate", "RUN", "--model.d-model", "3"], "--model.d-model is not used by this command"),
    ],
)
def test_errors_teach(
    words: list[str], what: str, malgil: Malgil, translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, "말\n")
    said = malgil(*[str(translator) if word == "RUN" else word for word in words])
    assert said.status == 2
    assert what in said.error


def test_a_language_model_does_not_translate(malgil: Malgil, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "말\n")
    said = malgil("translate", run)
    assert said.status == 2
    assert "does not turn one text into another" in said.error


def test_a_language_model_has_no_beam(malgil: Malgil) -> None:
    said = malgil("train", "gpt2", "--data", "text.txt", "--steps", 2, *TINY, "--generation.beam", 2)
    assert said.status == 2
    assert "--generation.beam" in said.error
    assert not Path("runs").exists()


def test_text_is_not_trained_on_pairs(malgil: Malgil, tmp_path: Path) -> None:
    korean, english = sides(tmp_path)
    said = malgil("train", "gpt2", "--source", korean, "--target", english, "--steps", 1)
    assert said.status == 2
    assert "text is read here, and this setting is of pairs or labels; --source; give text with --data" in said.error


def test_an_objective_is_refused_before_the_data_is_read(malgil: Malgil) -> None:
    said = malgil("train", "transformer", "--data", "no.tsv", "--objective.name", "causal_lm", "--steps", 1)
    assert said.status == 2
    assert "objective CausalLanguageModelling does not fit model Transformer; models that fit: " in said.error


def test_pairs_that_are_all_too_long(malgil: Malgil) -> None:
    """What the message advises is an option as it is typed, and helps."""
    Path("pairs.tsv").write_text("".join(f"말길 {i}\tthe way {i}\n" for i in range(20)), encoding="utf-8")
    words = ["train", "transformer", "--data", "pairs.tsv", "--steps", 1, "--model.n-heads", 2, *SMALL]
    said = malgil(*words, "--model.max-len", 3)
    assert said.status == 2
    assert said.error.endswith("raise --model.max-len, and --data.max-pair-len if it is set")
    assert malgil(*words, "--model.max-len", 12, "--dry-run").status == 0


def test_a_run_may_have_a_tokenizer_for_each_side(malgil: Malgil, tmp_path: Path, translator: Path) -> None:
    korean, english = sides(tmp_path)
    words = ["train", "seq2seq-luong", "--source", korean, "--target", english, "--steps", 2, *SMALL]
    said = malgil(*words, "--tokenizer.source-kind", "word", "--tokenizer.min-frequency", 1, "--out", "run")
    assert said.status == 0, said.err
    assert Path("run/source_tokenizer.json").is_file()
    moved = Path(shutil.move("run", tmp_path / "elsewhere"))
    run = face.load(moved, threads=1)
    assert run.tokenizers.reading.kind == "word"
    assert run.model.source_vocab_size == run.tokenizers.reading.vocab_size  # type: ignore[union-attr]
    assert run.translate("산은 높다") == run.translate("산은 높다")
