"""Imported runs: what their folders hold, and that they work like trained ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import malgil
from malgil.cli.main import main
from malgil.errors import CheckpointError, ConfigError, InputError, ResumeMismatch
from malgil.interop.huggingface import export_model
from malgil.models import build_model, family
from malgil.runs.exchange import export_run, import_run
from malgil.runs.recipe import SECTIONS
from malgil.runs.run import Run
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

TEXT = "말길은 글이 가는 길이다. ㅋㅋ 낱말이 모여 글이 된다. The way that words take is long. " * 9
SHAPES = {
    "gpt2": ("gpt2", {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 13}),
    "llama": ("llama", {"n_layers": 1, "n_heads": 4, "n_kv_heads": 2, "d_model": 20, "d_head": 6, "max_len": 13}),
    "qwen3": ("llama", {"n_layers": 1, "n_heads": 2, "d_model": 12, "max_len": 13, "qk_norm": True, "tied": False}),
    "gru": ("rnn_lm", {"cell": "gru", "n_layers": 2, "d_model": 9, "max_len": 7}),
}
RECIPES = {"gpt2": "gpt2", "llama": "gpt", "qwen3": "gpt", "gru": "gru"}


def foreign(folder: Path, name: str) -> Path:
    """A model folder as another library would leave it."""
    model_family, shape = SHAPES[name]
    tokenizer = train_tokenizer([TEXT], TokenizerSettings(kind="bpe", vocab_size=300))
    config = family(model_family).config(**shape)
    model = build_model(model_family, config, tokenizer.vocab_size + 3)  # as padded vocabularies are
    export_model(model, config, tokenizer, folder, format="torch" if model_family == "rnn_lm" else "hf")
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_an_imported_run_does_what_a_run_does(name: str, tmp_path: Path) -> None:
    source, out = foreign(tmp_path / "theirs", name), tmp_path / "run"
    said = import_run(source, out)
    assert "checked" in said
    assert "bit for bit" in said
    assert "3 rows of the embedding belong to no token" in said
    assert sorted(p.name for p in out.iterdir()) == ["config.yaml", "model.safetensors", "tokenizer.json"]
    run = Run(out, threads=1)
    assert run.config["recipe"] == RECIPES[name]
    assert run.config["description"] == "imported from theirs"
    assert run.tokenizer.encode("말길") == run.tokenizer.encode("말길")
    assert run.tokenizer.decode(run.tokenizer.encode("말길 ㅋㅋ")) == "말길 ㅋㅋ"
    (tmp_path / "text.txt").write_text(TEXT[:200], encoding="utf-8")
    assert run.evaluate(tmp_path / "text.txt")["bits_per_byte"] > 0
    said = export_run(out, tmp_path / "back", "torch" if name == "gru" else "hf")
    assert "equal bit for bit" in said
    from safetensors.torch import load_file

    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("two", [False, True])
def test_an_imported_translator(two: bool, tmp_path: Path) -> None:
    """Marian's format, with one tokenizer for both sides or one for each; there and back."""
    source, out = tmp_path / "theirs", tmp_path / "run"
    tokenizer = train_tokenizer([TEXT], TokenizerSettings(kind="bpe", vocab_size=300))
    other = train_tokenizer([TEXT], TokenizerSettings(kind="char")) if two else None
    config = family("transformer").config(n_layers=1, n_heads=2, d_model=12, d_ff=10, max_len=30, output_bias=True)
    model = build_model("transformer", config, tokenizer.vocab_size, other.vocab_size if other else None)
    export_model(model, config, tokenizer, source, source_tokenizer=other)
    assert "bit for bit" in import_run(source, out)
    assert (out / "source_tokenizer.json").exists() == two
    run = Run(out, threads=1)
    assert run.config["recipe"] == "transformer"
    assert run.tokenizers.reading.fingerprint == (other or tokenizer).fingerprint
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("말길은 길다\tthe way is long\n낱말\twords\n", encoding="utf-8")
    assert run.evaluate(pairs, generation={"max_tokens": 4})["sentences"] == 2
    assert isinstance(run.translate("말길", max_tokens=4), str)
    assert "equal bit for bit" in export_run(out, tmp_path / "back")
    from safetensors.torch import load_file

    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_an_imported_encoder(tmp_path: Path) -> None:
    """What can be done with it today, said in one line each where it cannot."""
    source, out, text = tmp_path / "theirs", tmp_path / "run", tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    tokenizer = train_tokenizer([TEXT], TokenizerSettings(kind="bpe", vocab_size=300))
    config = family("bert").config(n_layers=1, n_heads=2, d_model=12, max_len=30)
    model = build_model("bert", config, tokenizer.vocab_size)
    export_model(model, config, tokenizer, source)
    assert "bit for bit" in import_run(source, out)
    run = Run(out, threads=1)
    assert run.config["recipe"] == "bert"
    tokens = torch.tensor([run.tokenizer.encode("말길은 길다")])
    with torch.no_grad():
        assert torch.equal(run.model(tokens).hidden, model.eval()(tokens).hidden)
    with pytest.raises(ConfigError, match=r"does not continue a text.*malgil embed gives vectors"):
        run.generate("말길")
    with pytest.raises(ConfigError, match=r"does not turn one text into another.*malgil embed gives vectors"):
        run.translate("말길")
    with pytest.raises(ConfigError, match="the tokenizer has no token for what is hidden"):
        run.evaluate(text)
    assert "equal bit for bit" in export_run(out, tmp_path / "back")


def test_the_run_is_complete_and_repeatable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config.yaml has every setting, none of them open, and serves as --config for training the same model anew."""
    monkeypatch.chdir(tmp_path)
    import_run(foreign(Path("theirs"), "llama"), Path("run"))
    config = Run("run").config
    assert set(config) == {"recipe", "description", "model", *SECTIONS}
    assert config["training"]["batch_size"] == 12
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    anew = malgil.train("gpt", data="text.txt", config="run/config.yaml", out="anew", steps=1, threads=1, quiet=True)
    assert anew.tokenizer.fingerprint == Run("run").tokenizer.fingerprint
    with pytest.raises((InputError, ResumeMismatch)):
        malgil.train(resume=True, out="run", data="text.txt", steps=1, quiet=True)
    assert sorted(p.name for p in Path("run").glob("*.safetensors")) == ["model.safetensors"]


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    source = foreign(tmp_path / "theirs", "gpt2")
    (source / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer.*tokenizer\.json"):
        import_run(source, tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["theirs"]


def test_nothing_is_left_behind_when_an_import_fails(tmp_path: Path) -> None:
    source = foreign(tmp_path / "theirs", "gpt2")
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        import_run(source, tmp_path / "run")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(InputError, match="exists already"):
        import_run(source, tmp_path / "used")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["theirs", "used"]


def test_a_format_that_the_family_does_not_have(tmp_path: Path) -> None:
    import_run(foreign(tmp_path / "theirs", "gru"), tmp_path / "run")
    with pytest.raises(ConfigError, match="torch"):
        export_run(tmp_path / "run", tmp_path / "out", "hf")
    with pytest.raises(ConfigError, match="gguf"):
        export_run(tmp_path / "run", tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_stories260k_writes_its_published_text(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real checkpoint, through the commands that a person types."""
    pytest.importorskip("sentencepiece")
    source = data_dir / "checkpoints" / "stories260K"
    expected = json.loads((source / "expected.json").read_text(encoding="utf-8"))
    out = tmp_path / "stories"
    assert main(["import", str(source), str(out)]) == 0
    capsys.readouterr()
    length = len(expected["greedy_ids"]) - 1
    assert main(["generate", str(out), "--temperature", "0", "--max-tokens", str(length), "--threads", "1"]) == 0
    assert capsys.readouterr().out == expected["greedy_text"] + "\n"
    made = malgil.load(out, threads=1).complete([""], temperature=0, max_tokens=length)[0]
    assert made.ids == expected["greedy_ids"][1:]
    shutil.rmtree(out)
