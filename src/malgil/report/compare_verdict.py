"""What a comparison means, in three plain sentences: who predicts best, who learns soonest, who is quickest in use.

They follow from the figures and from nothing else. A tie is called a tie: with several seeds where the interval of the
difference holds zero, with one run each where it is below 1 %. Speeds within a tenth of each other are called alike;
who learns soonest is not said where evaluations are too rare to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from malgil.report import figures
from malgil.report.compare_words import CompareWords, budget_text, figure_text, milliseconds, phrase

Row = Mapping[str, Any]
#: speeds and times that differ by less are alike: another measurement would differ as much
ALIKE = 0.1


def sentences(result: Mapping[str, Any], language: str = "en") -> list[str]:
    """Three sentences, fewer where models have failed or nothing was measured."""
    rows = [row for row in result["rows"] if row["runs"] and row[result["headline"]["name"]] is not None]
    if not rows:
        return []
    korean = language == "ko"
    said = [_quality(result, rows, korean)]
    if len(rows) > 1:
        said += [line for line in (_learning(rows, result, korean), _use(rows, korean)) if line]
    return said


def names(recipes: Sequence[str], korean: bool) -> str:
    """`a`, `a and b`, `a, b and c`; in Korean they are said to be models, so that no particle depends on a name."""
    if korean:
        return f"{', '.join(recipes)} 모델"
    return recipes[0] if len(recipes) == 1 else f"{', '.join(recipes[:-1])} and {recipes[-1]}"


def _quality(result: Mapping[str, Any], rows: Sequence[Row], korean: bool) -> str:
    """Who is best, or who are even at the top, and by how much before the next."""
    headline, words = result["headline"], CompareWords("ko" if korean else "en")
    name, top = headline["name"], [rows[0], *(row for row in rows[1:] if row["tie"])]
    rest = [row for row in rows if row not in top]
    budget, language = budget_text(result, words), words.language
    shown = names([row["recipe"] for row in top], korean)
    several = [figure_text(name, row[name]) for row in top[:-1]]
    values = ", ".join([*several, phrase(name, top[-1][name], language)])
    if len(top) > 1:
        why = _why_tied(result, {row["recipe"] for row in top}, korean)
        if korean:
            head = f"{budget} 뒤에 {shown}은 비겼습니다. {values}: {why}"
        else:
            head = f"After {budget}, {shown} are tied for the best: {values}, {why}"
    else:
        head = (
            f"{budget} 뒤에 {shown}이 가장 좋습니다. {values}"
            if korean
            else (f"After {budget}, {shown} is best: {values}")
        )
    if not rest:
        return f"{head}."
    following, gap = rest[0], _gap(rows[0][name], rest[0][name], name, korean)
    other, figure, best = following["recipe"], figure_text(name, following[name]), rows[0]["recipe"]
    if rows.index(following) < rows.index(top[-1]):  # a tie is with the best alone; one that varies more lies behind
        if korean:
            return f"{head}. {other} 모델은 {figure}, {best} 모델보다 {gap}."
        return f"{head}; {other} has {figure}, {gap} than {best}."
    if korean:
        return f"{head}. 다음은 {other} 모델로 {figure}, {gap}."
    return f"{head}; the next, {other}, has {figure}, {gap}."


def _why_tied(result: Mapping[str, Any], top: set[str], korean: bool) -> str:
    """What makes a tie of those at the top: an interval that holds zero or, where there is none, a small difference."""
    pairs = [one for one in result["differences"] if one["tie"] and {one["a"], one["b"]} <= top]
    if all(one["half"] is not None for one in pairs):
        if korean:
            return "차이가 시드만 바꾸어도 생길 만큼 작습니다"
        return "the difference is no larger than chance makes it"
    one_seed = len(result["seeds"]) == 1
    if korean:
        return f"{'시드 하나로는' if one_seed else '이 횟수로는'} 가릴 수 없을 만큼 비슷합니다"
    return f"too close to tell apart with {'one seed' if one_seed else 'so few runs'}"


def _gap(best: float, other: float, name: str, korean: bool) -> str:
    """How far the other lies behind, in percent or in points."""
    if name in ("bleu", "chrf"):
        points = f"{abs(best - other):.1f}"
        return f"{points}점 낮습니다" if korean else f"{points} points less"
    if other < best:  # a share of right answers
        points = f"{100 * (best - other):.1f}"
        return f"{points} %p 낮습니다" if korean else f"{points} percentage points less"
    share = f"{100 * (other - best) / best:.1f} %"
    return f"{share} 높습니다" if korean else f"{share} more"


def _learning(rows: Sequence[Row], result: Mapping[str, Any], korean: bool) -> str:
    """Who reached soonest what is asked of all; a model that was there at its first evaluation may have been sooner."""
    if result["quality"] is None:
        return ""
    language = "ko" if korean else "en"
    quality = phrase(result["curve"]["name"], result["quality"], language)
    known = sorted((row for row in rows if row["time_to_quality"] is not None), key=lambda row: row["time_to_quality"])
    missing = [row["recipe"] for row in rows if row["time_to_quality"] is None]
    if not known:
        return f"{quality}에 이른 모델이 없습니다." if korean else f"No model reached {quality}."
    soon = known[0]["time_to_quality"] * (1 + ALIKE)
    alike = [row for row in known if row["at_most"] or row["time_to_quality"] <= soon]
    last, slowest = alike[-1]["time_to_quality"], known[-1]
    within, soonest = figures.duration(last, language), names([row["recipe"] for row in alike], korean)
    if len(alike) == len(rows):
        equally = last <= soon and not any(row["at_most"] for row in alike)
        return _all_alike(quality, within, equally, korean)
    exactly = len(alike) == 1 and not alike[0]["at_most"]
    took = figures.duration(slowest["time_to_quality"], language) if slowest not in alike else ""
    if korean:
        head = f"{soonest}이 가장 빨리 배워 {within} {'만에' if exactly else '안에'} {quality}에 이르렀"
        ends = [f"{slowest['recipe']} 모델은 {took} {'걸렸고' if missing else '걸렸습니다'}"] if took else []
        ends += [f"{names(missing, korean)}은 이르지 못했습니다"] if missing else []
        return f"{head}고, {', '.join(ends)}."
    verb, about = "learns" if len(alike) == 1 else "learn", "after" if exactly else "within"
    ends = [f"where {slowest['recipe']} took {took}"] if took else []
    ends += [f"which {names(missing, korean)} never reached"] if missing else []
    return f"{soonest} {verb} soonest, reaching {quality} {about} {within} of training, {', and '.join(ends)}."


def _all_alike(quality: str, within: str, equally: bool, korean: bool) -> str:
    """All were there at about one time, or the curves do not say who was first."""
    if korean:
        if equally:
            return f"배우는 속도는 비슷합니다. 모두 {within} 안에 {quality}에 이르렀습니다."
        return f"모두 {within} 안에 {quality}에 이르렀고, 누가 먼저인지는 평가가 드물어 알 수 없습니다."
    if equally:
        return f"They learn about equally fast: all reached {quality} within {within}."
    return f"All reached {quality} within {within}; evaluations were too rare to tell who was first."


def _use(rows: Sequence[Row], korean: bool) -> str:
    """Who is quickest in use, what that costs, and whom to take."""
    known = sorted((row for row in rows if row["latency"] is not None), key=lambda row: row["latency"])
    if len(known) < 2:
        return ""
    best, quick, slow = rows[0], known[0], known[-1]
    quickest = [row["recipe"] for row in known if row["latency"] <= quick["latency"] * (1 + ALIKE)]
    unit = quick["unit"]
    fast, slowly = milliseconds(quick["latency"]), milliseconds(slow["latency"])
    if len(quickest) == len(known):
        if korean:
            return f"쓸 때의 속도는 모두 비슷하니({_unit(unit, korean)} {fast} 안팎) 품질로 고르면 됩니다."
        return f"In use they are about equally quick ({fast} for {_unit(unit, korean)}), so choose by quality."
    group = names(quickest, korean)
    if {best["recipe"], *(row["recipe"] for row in rows if row["tie"])} & set(quickest):
        if len(quickest) == 1:
            tail = (
                "품질과 속도 어느 쪽으로도 좋은 선택입니다" if korean else "so that nothing has to be given up for it"
            )
        else:
            tail = "가장 좋은 모델도 속도에서 뒤지지 않습니다" if korean else "so that the best costs no speed"
    elif korean:
        tail = f"속도가 중요하면 {quick['recipe']}, 품질이 중요하면 {best['recipe']} 모델을 쓰십시오"
    else:
        tail = f"so take {quick['recipe']} where speed counts and {best['recipe']} where quality does"
    if korean:
        return (
            f"쓸 때는 {group}이 가장 빠릅니다. {_unit(unit, korean)} {fast}, {slow['recipe']} 모델은 {slowly}. {tail}."
        )
    verb = "is" if len(quickest) == 1 else "are"
    speeds = f"{fast} for {_unit(unit, korean)} against {slowly} of {slow['recipe']}"
    return f"In use {group} {verb} quickest, {speeds}, {tail}."


def _unit(unit: str, korean: bool) -> str:
    known = {
        "token": ("a token", "토큰 하나에"),
        "sentence": ("a sentence", "문장 하나에"),
        "text": ("a text", "글 하나에"),
    }
    return known[unit][korean]
