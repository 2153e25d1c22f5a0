"""Bad input, a row of the promises each: exit status, code, and what the one line names; the same from Python."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_cases import TEXT, TINY, Malgil

import malgil as face
from malgil.errors import (
    CheckpointError,
    ConfigError,
    ContextLengthError,
    DataError,
    InputError,
    MalgilError,
    NonFiniteError,
    NotFoundError,
    ResourceError,
    ResumeMismatch,
    StorageError,
)
from malgil.runtime.files import FolderLock
from malgil.training.trainer import Trainer

SETTINGS: dict[str, Any] = {
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 12, "max_len": 9},
    "training": {"batch_size": 3, "precision": "fp32"},
    "tokenizer": {"kind": "char"},
}


def python_train(**changes: Any) -> face.Run:
    arguments: dict[str, Any] = {"data": "text.txt", "steps": 1, "device": "cpu", "threads": 1, "quiet": True}
    return face.train("gpt2", **(arguments | SETTINGS | changes))


def refused(malgil: Malgil, *arguments: object, code: str, status: int = 2, says: tuple[str, ...] = ()) -> str:
    """Calls `malgil`, which must end with one line of that code that has all parts."""
    said = malgil(*arguments)
    assert said.status == status, said.err
    line = said.error
    assert line.startswith(f"error[{code}]: "), line
    for part in says:
        assert part in line, line
    assert not any(p.name.startswith("runs") for p in Path.cwd().iterdir()) or status == 1, "a run folder was made"
    return line


# --- what is asked for: names


@pytest.mark.parametrize("name, close", [("gtp2", "gpt2"), ("lstn", "lstm"), ("GPT", "gpt"), ("한글", "known:")])
def test_unknown_recipe(malgil: Malgil, name: str, close: str) -> None:
    for command in (["train", name, "--data", "text.txt"], ["recipes", name]):
        refused(malgil, *command, code="not_found", says=("unknown recipe", close))
    with pytest.raises(NotFoundError, match="unknown recipe"):
        face.train(name, data="text.txt", quiet=True)


@pytest.mark.parametrize(
    "flag, close",
    [
        ("--model.d-modle", "--model.d-model"),
        ("--model.d_modle", "--model.d-model"),
        ("--training.learning-rat", "--training.learning-rate"),
        ("--trainnig.steps", "--training.steps"),
        ("--data.textfield", "--data.text-field"),
    ],
)
def test_unknown_setting_has_the_nearest_in_the_spelling_typed(malgil: Malgil, flag: str, close: str) -> None:
    line = refused(malgil, "train", "gpt2", "--data", "text.txt", flag, 3, code="not_found")
    assert f"unknown setting {flag}; did you mean {close}" in line


def test_unknown_names_from_python(malgil: Malgil) -> None:
    with pytest.raises(NotFoundError, match=r"model\.d_modle.*model\.d_model") as caught:
        python_train(model={"d_modle": 3})
    assert caught.value.nearest[0] == "model.d_model"
    with pytest.raises(NotFoundError, match=r"modle.*model"):
        python_train(modle={"d_model": 3})
    with pytest.raises(NotFoundError, match="device"):
        python_train(device="gpu")
    run = python_train(out="r")
    with pytest.raises(NotFoundError, match=r"temprature.*temperature"):
        run.generate("글", temprature=1)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--batch-size", "3"], "--training.batch-size"),
        (["--d-model", "3"], "--model.d-model"),
        (["--stesp", "3"], "--steps"),
        (["--no-resume"], "--help"),
    ],
)
def test_unknown_options(malgil: Malgil, arguments: list[str], says: str) -> None:
    refused(malgil, "train", "gpt2", "--data", "text.txt", *arguments, code="usage", says=(says,))


def test_unknown_commands(malgil: Malgil) -> None:
    refused(malgil, "trian", code="usage", says=("trian", "train"))
    refused(malgil, "tokenizer", "compere", code="usage", says=("compare",))
    refused(malgil, "export", code="usage", says=("RUN",))


def test_settings_of_other_commands(malgil: Malgil, run: Path) -> None:
    refused(malgil, "generate", run, "--training.steps", 3, code="input", says=("--training.steps", "generation"))
    refused(malgil, "generate", run, "--seed", 3, "--generation.seed", 3, code="input", says=("--seed", "same setting"))


# --- what is asked for: values


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--time", "0"], "90s"),
        (["--time", "abc"], "'abc'"),
        (["--time=-3s"], "above zero"),
        (["--time", "nan"], "'nan'"),
        (["--time", "1d"], "1h30m"),
        (["--time", ""], "90s"),
        (["--time", "9" * 400], "above zero"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--steps", "1.5"], "--steps must be an integer"),
        (["--steps", "-1"], "--steps must be at least 1"),
        (["--steps", "many"], "--steps must be an integer"),
        (["--tokens", "0"], "--tokens must be at least 1"),
        (["--epochs", "nan"], "--epochs must be a finite number"),
        (["--epochs", "0"], "--epochs must be above 0"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--model.d-model"], "--model.d-model needs a value"),
        (["--model.tied", "perhaps"], "--model.tied must be true or false"),
        (["--training.optimizer", "adam"], "adamw"),
        (["--model.name", "gtp2"], "gpt2"),
        (["--device", "tpu"], "cpu"),
        (["--model", "3"], "--model"),
    ],
)
def test_values_out_of_their_range(malgil: Malgil, arguments: list[str], says: str) -> None:
    said = malgil("train", "gpt2", "--data", "text.txt", "--dry-run", *arguments)
    assert said.status == 2
    assert says in said.error


def test_values_from_python(malgil: Malgil) -> None:
    for time in (0, -1.0, float("nan"), float("inf"), "abc", True, "1w"):
        with pytest.raises(InputError, match="time"):
            python_train(time=time)
    for steps in (0, -3, 1.5, True, "x", float("nan"), 10**5000, [1, 2]):
        with pytest.raises(InputError, match=r"training\.steps"):
            python_train(steps=steps)
    with pytest.raises(InputError, match="section"):
        python_train(model=3)
    assert issubclass(InputError, ValueError)


def test_a_device_that_is_not_there(malgil: Malgil, run: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    refused(malgil, "train", "gpt2", "--data", "text.txt", "--device", "cuda", code="input", says=("CUDA",))
    refused(malgil, "generate", run, "--device", "cuda:3", code="input", says=("cuda:3",))
    with pytest.raises(InputError, match="CUDA"):
        _ = face.load(run, device="cuda").model


@pytest.mark.parametrize(
    "recipe, values, says",
    [
        ("gpt2", {"d_model": 13, "n_heads": 2}, "13 is not divisible by"),
        ("gpt", {"d_model": 6, "n_heads": 2, "d_head": 3}, "odd"),
        ("gpt", {"d_model": 12, "n_heads": 3, "n_kv_heads": 2}, "n_kv_heads 2 does not divide"),
        ("gpt", {"d_model": 13, "n_heads": 2, "d_head": "none"}, "13 is not divisible by"),
        ("lstm", {"d_model": 12, "d_hidden": 5}, "d_hidden"),
    ],
)
def test_settings_that_do_not_fit_one_another(malgil: Malgil, recipe: str, values: dict[str, Any], says: str) -> None:
    flags = [part for name, value in values.items() for part in (f"--model.{name.replace('_', '-')}", value)]
    said = malgil("train", recipe, "--data", "text.txt", "--steps", 1, *flags)
    assert said.status == 2
    assert says in said.error.replace("--model.", "model.").replace("n-kv-heads", "n_kv_heads").replace("d-h", "d_h")
    with pytest.raises(ConfigError):
        face.train(recipe, data="text.txt", steps=1, quiet=True, model=values)


# --- settings files


@pytest.mark.parametrize(
    "content, says",
    [
        (b"model:\n  d_model: [1, 2]\n", "model.d_model must be an integer"),
        (b"model:\n  d_model: true\n", "model.d_model must be an integer"),
        (b"model:\n  d_model: .nan\n", "model.d_model must be an integer"),
        (b"model:\n  dropout: .inf\n", "model.dropout must be a finite number"),
        (b"model:\n  d_model: 1.5\n", "model.d_model must be an integer"),
        (b"model:\n  d_model: {a: 1}\n", "model.d_model must be an integer"),
        (b"model:\n  d_model: null\n", "model.d_model must be an integer"),
        (b"model:\n  tied: 3\n", "model.tied must be true or false"),
        (b"model:\n  1: 3\n", "unknown setting 'model.1'"),
        (b"modle: {}\n", "did you mean model?"),
        (b"model: 3\n", "'model' is a section"),
        (b"training: [1]\n", "'training' is a section"),
        (b"generation: null\n", "'generation' is a section"),
        (b"- model\n- training\n", "mapping"),
        (b"just text", "mapping"),
        (b"3: 4\n", "mapping"),
        (b"model: {d_model: 3\n", "not valid YAML; bad.yaml:"),
        (b"model: \xff\xfe\n", "not UTF-8; bad.yaml at byte 7"),
        ("model: {d_modle: 말길}\n".encode(), "did you mean model.d_model"),
        (b"steps: 2001-99-99\n", "not valid YAML"),
        (b"steps: " + b"9" * 5000, "not valid YAML"),
        (b"a: " + b"[" * 600, "not valid YAML"),
        (b"!!python/object/apply:os.system [ls]\n", "not valid YAML"),
        (b"a: \x00\n", "not valid YAML"),
    ],
)
def test_settings_files(malgil: Malgil, content: bytes, says: str) -> None:
    Path("bad.yaml").write_bytes(content)
    said = malgil("train", "gpt2", "--data", "text.txt", "--config", "bad.yaml", "--dry-run")
    assert said.status == 2
    assert says in said.error
    with pytest.raises(InputError, match=re.escape(says)):
        face.train("gpt2", data="text.txt", config="bad.yaml", quiet=True)


def test_a_settings_file_that_is_not_there(malgil: Malgil) -> None:
    refused(malgil, "train", "gpt2", "--config", "nix.yaml", code="data", says=("nix.yaml", "No such file"))
    refused(malgil, "train", "gpt2", "--config", ".", code="data", says=("directory",))


# --- data


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("missing.txt", None, ("missing.txt", "no such file")),
        ("empty.txt", b"", ("empty.txt", "empty")),
        ("bom.txt", b"\xef\xbb\xbf", ("bom.txt", "empty")),
        ("latin.txt", "말길 ".encode() * 100 + b"\xe9t\xe9", ("latin.txt", "byte 700", "UTF-8")),
        ("euckr.txt", "말길은 글이 가는 길이다".encode("euc-kr"), ("euckr.txt", "UTF-8")),
        ("utf16.txt", "말길".encode("utf-16"), ("utf16.txt", "UTF-8")),
        ("rows.jsonl", b'{"text": "a"}\n{"text": \n{"text": "b"}\n', ("rows.jsonl:2", "--data.skip-bad")),
        ("column.jsonl", b'{"a": 1}\n{"a": 2}\n', ("column.jsonl",)),
        ("table.csv", b'text,n\n"open,1\n', ("table.csv",)),
        ("cut.txt.gz", gzip.compress(TEXT.encode())[:-20], ("cut.txt.gz",)),
        ("no.txt.gz", b"this is no gzip", ("no.txt.gz",)),
        ("book.pdf", b"%PDF", ("book.pdf", ".txt")),
        ("one.txt", b"a", ("one.txt", "at least 2")),
    ],
)
def test_data_that_cannot_be_used(malgil: Malgil, name: str, content: bytes | None, says: tuple[str, ...]) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    refused(malgil, "train", "gpt2", "--data", name, "--steps", 1, *TINY, code="data", says=says)
    with pytest.raises(DataError):
        python_train(data=name)


def test_data_that_is_too_short_says_how_much_is_needed(malgil: Malgil) -> None:
    Path("short.txt").write_text("말길은 글", encoding="utf-8")
    line = refused(malgil, "train", "gpt2", "--data", "short.txt", "--steps", 1, *TINY, code="data")
    assert len(re.findall(r"\d+", line)) >= 2, f"what there is and what is needed: {line}"
    with pytest.raises(DataError):
        python_train(data="short.txt")


def test_no_data(malgil: Malgil) -> None:
    for arguments in ([], ["--data"], ["--data", "*.none"]):
        refused(malgil, "train", "gpt2", "--steps", 1, *arguments, *TINY, code="data", says=("data",))
    refused(malgil, "train", "gpt2", "--data.text-field", "x", "--data", "a.jsonl", code="data", says=("a.jsonl",))


def test_unreadable_data(malgil: Malgil) -> None:
    Path("locked.txt").write_text(TEXT, encoding="utf-8")
    os.chmod("locked.txt", 0)
    if os.access("locked.txt", os.R_OK):
        pytest.skip("this user may read every file")
    refused(malgil, "train", "gpt2", "--data", "locked.txt", code="data", says=("locked.txt", "Permission"))


def test_malformed_rows_may_be_skipped(malgil: Malgil) -> None:
    rows = [json.dumps({"text": TEXT[:400]}, ensure_ascii=False)] * 5 + ["{", "[]"]
    Path("rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    arguments = ("train", "gpt2", "--data", "rows.jsonl", "--steps", 1, *TINY)
    assert "rows.jsonl:7" in refused(malgil, *arguments, "--data.skip-bad", 1, code="data")
    said = malgil(*arguments, "--data.skip-bad", 2)
    assert said.status == 0
    assert "2 malformed rows were skipped" in said.err


def test_lone_surrogates_in_data_are_replaced_and_counted(malgil: Malgil) -> None:
    rows = [json.dumps({"text": TEXT[:400] + "\ud800"})] * 5
    Path("rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    said = malgil("train", "gpt2", "--data", "rows.jsonl", "--steps", 1, *TINY)
    assert said.status == 0
    assert "5 lone surrogates were replaced by U+FFFD" in said.err


# --- prompts


def test_a_lone_surrogate_in_a_prompt_is_replaced_and_counted(malgil: Malgil, run: Path) -> None:
    from_shell = os.fsdecode(b"a\xff\xfe")  # bytes that are not UTF-8, as arguments bring them
    said = malgil("generate", run, "--prompt", from_shell, "--max-tokens", 1)
    assert said.status == 0
    assert said.out.startswith("a\ufffd\ufffd")
    assert "2 characters that are not UTF-8 were replaced by U+FFFD" in said.err
    assert isinstance(face.load(run, threads=1).generate("말\ud800", max_tokens=1), str)


def test_a_prompt_beyond_the_context(malgil: Malgil, run: Path) -> None:
    line = refused(malgil, "generate", run, "--prompt", "가" * 20, code="context_length_exceeded", says=("21", "9"))
    assert "shorten" in line
    said = malgil("generate", run, "--prompt", "가" * 20)
    assert said.out == "", "nothing is shown before the prompt was read"
    with pytest.raises(ContextLengthError, match=r"21 .* 9"):
        face.load(run, threads=1).generate("가" * 20)
    with pytest.raises(ContextLengthError):
        face.load(run, threads=1).stream("가" * 20)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--temperature", "-1"], "--temperature must be at least 0"),
        (["--temperature", "nan"], "--temperature must be a finite number"),
        (["--top-k", "0"], "--top-k must be at least 1"),
        (["--top-p", "1.5"], "--top-p must be at most 1"),
        (["--max-tokens", "0"], "--max-tokens must be at least 1"),
        (["--samples", "0"], "--samples must be at least 1"),
        (["--repetition-penalty", "0"], "--repetition-penalty must be above 0"),
        (["--stop", ""], "stop text is empty"),
        (["--generation.top-k", "many"], "--generation.top-k must be an integer"),
        (["--threads", "-1"], "--threads must be at least 1"),
    ],
)
def test_settings_of_generation(malgil: Malgil, run: Path, arguments: list[str], says: str) -> None:
    assert says in refused(malgil, "generate", run, *arguments, code="input")


# --- runs that cannot be used


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def replace(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    "file, spoil",
    [
        ("model.safetensors", truncate),
        ("model.safetensors", lambda p: p.write_bytes(b"")),
        ("model.safetensors", lambda p: p.write_bytes(b"\xff" * 100)),
        ("model.safetensors", lambda p: torch.save({"a": torch.ones(1)}, p)),
        ("tokenizer.json", truncate),
        ("tokenizer.json", lambda p: p.write_bytes(b"\xff")),
        ("tokenizer.json", lambda p: p.write_text("{}", encoding="utf-8")),
        ("tokenizer.json", Path.unlink),
        ("config.yaml", lambda p: p.write_text("{", encoding="utf-8")),
        ("config.yaml", lambda p: p.write_text("", encoding="utf-8")),
        ("config.yaml", lambda p: p.write_bytes(b"\xff")),
        ("config.yaml", lambda p: p.write_text("[1]", encoding="utf-8")),
        ("config.yaml", replace("d_model: 12", "d_model: twelve")),
        ("config.yaml", replace("d_model: 12", "d_model: auto")),
        ("config.yaml", replace("d_model:", "d_modle:")),
        ("config.yaml", replace("name: gpt2", "name: gpt9")),
        ("config.yaml", Path.unlink),
    ],
)
def test_corrupt_files_of_a_run(malgil: Malgil, run: Path, file: str, spoil: Callable[[Path], None]) -> None:
    spoil(run / file)
    for command in (["generate", run], ["evaluate", run], ["export", run, "out"]):
        refused(malgil, *command, code="checkpoint", says=(file,))
    with pytest.raises(CheckpointError):
        face.load(run, threads=1).generate("글")


@pytest.mark.parametrize(
    "old, new",
    [
        ("d_model: 12", "d_model: 1200000"),
        ("n_layers: 1", "n_layers: 1000000000"),
        ("n_layers: 1", "n_layers: 2"),
        ("max_len: 9", "max_len: 100000000"),
        ("vocab_size: ", "vocab_size: 9"),
    ],
)
def test_sizes_are_compared_before_anything_is_allocated(malgil: Malgil, run: Path, old: str, new: str) -> None:
    replace(old, new)(run / "config.yaml")
    refused(malgil, "generate", run, code="checkpoint", says=("run",))


def test_a_folder_that_is_no_run(malgil: Malgil, tmp_path: Path) -> None:
    for arguments in (["generate", "."], ["evaluate", "nix"], ["export", "text.txt", "out"], ["generate"]):
        refused(malgil, *arguments, code="checkpoint", says=("malgil",))
    refused(malgil, "train", "--resume", "--out", "nix", code="checkpoint", says=("nix",))
    with pytest.raises(CheckpointError, match="no run"):
        face.load(tmp_path)


def test_a_run_without_weights(malgil: Malgil, run: Path) -> None:
    (run / "model.safetensors").unlink()
    shutil.rmtree(run / "checkpoints")
    refused(malgil, "generate", run, code="checkpoint", says=("--resume",))


def test_pickled_weights_are_refused(malgil: Malgil, tmp_path: Path, run: Path) -> None:
    assert malgil("export", run, "hf").status == 0
    from safetensors.torch import load_file

    torch.save(load_file("hf/model.safetensors"), "hf/pytorch_model.bin")
    Path("hf/model.safetensors").unlink()
    refused(malgil, "import", "hf", "again", code="checkpoint", says=("pytorch_model.bin", "pickle"))
    assert not Path("again").exists()
    with pytest.raises(CheckpointError, match="pickle"):
        face.import_model("hf", "again")
    assert malgil("import", "hf", "again", "--allow-pickle").status == 0
    assert malgil("generate", "again", "--max-tokens", 2).status == 0


# --- runs that go on


def test_resume_lists_what_differs(malgil: Malgil, run: Path) -> None:
    arguments = ("train", "--resume", "--out", run, "--model.d-model", 24, "--training.learning-rate", 0.5)
    line = refused(malgil, *arguments, code="resume_mismatch", says=("12", "24", "0.5"))
    assert "model.d" in line
    assert "learning" in line
    refused(malgil, "train", "lstm", "--resume", "--out", run, code="resume_mismatch", says=("gpt2", "lstm"))
    with pytest.raises(ResumeMismatch):
        face.train("lstm", resume=True, out=run, quiet=True)


def test_resume_with_other_data(malgil: Malgil, run: Path, trained: Path) -> None:
    text = trained.parent / "text.txt"
    before = text.read_bytes()
    try:
        text.write_bytes(before + "더 많은 글".encode() * 9)
        refused(malgil, "train", "--resume", "--out", run, "--steps", 6, code="resume_mismatch", says=("data",))
    finally:
        text.write_bytes(before)


def test_a_folder_that_exists(malgil: Malgil, run: Path) -> None:
    for command in (
        ["train", "gpt2", "--data", "text.txt", "--out", run],
        ["train", "gpt2", "--data", "text.txt", "--out", "text.txt"],
        ["export", run, run],
        ["import", "hf", run],
    ):
        refused(malgil, *command, code="input", says=("name",))


def test_a_second_writer(malgil: Malgil, run: Path) -> None:
    with FolderLock(run):
        refused(malgil, "train", "--resume", "--out", run, code="input", says=(str(os.getpid()),))


# --- runs that fail


def test_disk_full(malgil: Malgil, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.read_bytes() for p in run.glob("checkpoints/*/*")}

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("malgil.training.checkpoint.save_file", full)
    refused(malgil, "train", "--resume", "--out", run, "--steps", 6, code="storage", status=1, says=("No space left",))
    assert before
    assert {p: p.read_bytes() for p in run.glob("checkpoints/*/*")} == before
    with pytest.raises(StorageError):
        python_train(out="r")


def fails_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def step(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Trainer, "step", step)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory(malgil: Malgil, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fails_with(monkeypatch, error)
    refused(
        *(malgil, "train", "gpt2", "--data", "text.txt", "--steps", 1, "--model.n-heads", 1),
        code="out_of_memory",
        status=1,
        says=("lower training.batch_size",),
    )
    with pytest.raises(ResourceError, match=r"training\.batch_size"):
        python_train()


def test_a_model_that_is_too_large_to_build(malgil: Malgil) -> None:
    large = ("--model.d-model", 1 << 40, "--model.n-heads", 1, "--model.n-layers", 1, "--model.max-len", 9)
    refused(
        *(malgil, "train", "gpt2", "--data", "text.txt", "--steps", 1, *large, "--training.batch-size", 1),
        code="out_of_memory",
        status=1,
    )


def test_numbers_that_are_not_finite(malgil: Malgil, monkeypatch: pytest.MonkeyPatch) -> None:
    said = malgil(
        "train", "gpt2", "--data", "text.txt", "--steps", 3, *TINY, "--training.learning-rate", 1e30, "--out", "r"
    )
    assert said.status == 1
    assert said.error.startswith("error[non_finite]")
    assert "step " in said.error
    assert "learning_rate" in said.error or "learning-rate" in said.error
    with pytest.raises(NonFiniteError):
        python_train(steps=3, training={"batch_size": 3, "learning_rate": 1e30})


def test_a_fault_of_ours_is_one_line_too(malgil: Malgil, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, ZeroDivisionError("말길\nline two"))
    line = refused(malgil, "train", "gpt2", "--data", "text.txt", "--steps", 1, *TINY, code="bug", status=1)
    assert "--debug" in line
    with pytest.raises(ZeroDivisionError):
        malgil("train", "gpt2", "--data", "text.txt", "--steps", 1, *TINY, "--debug")


def test_debug_shows_where_it_happened(malgil: Malgil) -> None:
    with pytest.raises(MalgilError):
        malgil("generate", "nix", "--debug")
