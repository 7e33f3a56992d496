"""The legal key, or word, that a mistyped one stands for."""

import difflib
import re
from collections.abc import Iterable

_LOOKED_AT = 12  # words that difflib finds alike, whose slips are then counted
_ALIKE = 0.5
_NAMED = 3  # at most: a key that stands in several sections
# What other trainers call a thing, and the key here that means it
_MEANS = {
    word: key
    for key, words in {
        "schedule.epochs": "steps maxsteps totalsteps numsteps trainsteps iterations iters maxepochs numepochs",
        "schedule.warmup_epochs": "warmup warmupsteps warmupratio",
        "optim.lr": "learningrate baselr",
        "optim.weight_decay": "wd",
        "optim.betas": "beta1 beta2 adambetas",
        "batch.total": "batchsize bs trainbatchsize globalbatchsize",
        "batch.micro": "microbatch microbatchsize perdevicebatchsize accumulation accumsteps gradientaccumulationsteps",
        "precision": "dtype amp bf16 fp16 fp32 mixedprecision",
        "loader.threads": "workers numworkers",
        "checkpoint.every_steps": "saveevery savesteps checkpointevery",
        "evaluation.every_steps": "evalevery evalsteps evaluateevery valevery",
        "log_every": "logsteps loggingsteps",
        "masking.image_ratio": "maskratio",
        "image.high_size": "imagesize imgsize resolution inputsize",
    }.items()
    for word in words.split()
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'optim.lr'?`` behind a message, or nothing where no key is near."""
    found = [f"'{name}'" for name in nearest(word, known)]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The legal names that ``word`` may stand for, dotted as it is: one, or a few that are equally near.

    A key written in another way (``everySteps``) or in a wrong section goes before one that other trainers call so
    (``max_steps``), and that before one that is spelt wrongly.
    """
    names = list(dict.fromkeys(known))
    same = [name for name in names if _plain(_leaf(name)) == _plain(_leaf(word))]
    if same:
        section = _plain(_leaf(word.rpartition(".")[0]))
        own = [name for name in same if section and _plain(_leaf(name.rpartition(".")[0])) == section]
        return _closest(word, own) or same[:_NAMED]
    if (meant := _MEANS.get(_plain(_leaf(word)))) in names:
        return [meant]
    plain = {name: _plain(name) for name in names}
    alike = difflib.get_close_matches(_plain(word), list(dict.fromkeys(plain.values())), n=_LOOKED_AT, cutoff=_ALIKE)
    found = _closest(word, [name for name in names if plain[name] in alike])
    if found and slips(_plain(word), _plain(found[0])) <= _allowed(word):
        return found
    leaves = difflib.get_close_matches(_plain(_leaf(word)), {_plain(_leaf(name)) for name in names}, n=1, cutoff=0.75)
    elsewhere = [name for name in names if _plain(_leaf(name)) in leaves]  # a slip, and a wrong section
    return _closest(word, elsewhere) or found[:1]


def slips(one: str, other: str) -> int:
    """Letters left out, put in, changed or swapped with the next, between two words."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _closest(word: str, names: list[str]) -> list[str]:
    """Those with the fewest slips; only then does the way of writing count."""
    if not names:
        return []
    counted = {name: (slips(_plain(word), _plain(name)), slips(word, name)) for name in names}
    return [name for name in names if counted[name] == min(counted.values())][:_NAMED]


def _allowed(word: str) -> int:
    return max(1, len(_leaf(word)) // 3)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _plain(name: str) -> str:
    """Without capitals, hyphens and underscores."""
    return re.sub(r"[-_ ]", "", name).lower()
