"""Pairs as subword tokens: tokenised once, kept in memory-mapped files, padded batch by batch."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, compress, islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

from . import cldr, pairs, tables
from .pairs import SPLITS, Corpus, Pair, Row, normalise, open_corpora
from .source import Data, DataError, cache_folder, check_source

PAD, BEGIN, END = 0, 1, 2
SIDES = ("source", "target")
_SPECIAL = ["<pad>", "<s>", "</s>"]
SMALLEST_VOCABULARY = 256 + len(_SPECIAL)
_INDEX, _TOKENIZER = "corpus.json", "tokenizer.json"


@dataclass(frozen=True)
class TokenisedPairs:
    """Token ids of both corpora, and the tokenizer that they share.

    A split of ``data`` holds, for each objective and side, the ids of all its phrases one after the other
    (``main_source``, int32) and where each ends (``main_source_ends``, int64, from 0 on).
    """

    data: Data
    tokenizer: Tokenizer


def load_pairs(
    source: str,
    corpora: str,
    objectives: tuple[str, str],
    vocabulary: int,
    tokenizer_pairs: int,
    max_length: int,
) -> TokenisedPairs:
    """Both corpora, tokenised on the first call and kept in the user's cache folder.

    Rows with an empty side, pairs longer than ``max_length``, and train pairs whose English phrase (whatever
    its case) is held out in either corpus are skipped; ``notes`` of the data says how many.

    Args:
        source: ``"embedded"``, ``"hub"`` or a folder in the hub's layout.
        corpora: a key of `pairs.CORPORA`.
        objectives: the names of the main and the auxiliary objective.
        vocabulary: size of the tokenizer, at least the 256 bytes and 3 special tokens.
        tokenizer_pairs: how many train pairs of each corpus, at most, it is trained on.
        max_length: tokens of a phrase, its end token included.

    Raises:
        DataError: a corpus is missing or not what it should be, or the cache folder cannot be written.
    """
    named = dict(zip(objectives, open_corpora(source, corpora), strict=True))
    code = [Path(module.__file__ or "").read_text(encoding="utf-8") for module in (cldr, pairs, tables)]
    keys = {objective: corpus.key for objective, corpus in named.items()}
    settings = [
        keys,
        vocabulary,
        tokenizer_pairs,
        max_length,
        code,
        Path(__file__).read_text(encoding="utf-8"),
    ]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    try:
        folder = cache_folder() / "pairs" / key
        if not folder.is_dir():
            _build(folder, named, vocabulary, tokenizer_pairs, max_length)
    except OSError as error:
        raise DataError(f"the pairs cannot be kept in the cache (XDG_CACHE_HOME): {error}") from error
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    if index["tokenizer"] != _digest(folder):
        raise DataError(f"{folder / _TOKENIZER} is damaged; remove {folder}, it is made again")
    splits = {split: _open_split(folder, split, objectives) for split in index["splits"]}
    name = " + ".join(corpus.name for corpus in named.values())
    data = Data(check_source(source), name, splits, notes=index["notes"])
    return TokenisedPairs(data, Tokenizer.from_file(str(folder / _TOKENIZER)))


def padded(tokens: Tensor, ends: Tensor, rows: Tensor) -> Tensor:
    """The phrases ``rows`` ``(B,)`` as one tensor ``(B, longest)``, filled up with `PAD` on the right."""
    starts = ends[rows]
    lengths = ends[rows + 1] - starts
    positions = torch.arange(int(lengths.max()))
    inside = positions < lengths[:, None]
    index = (starts[:, None] + positions).clamp(max=len(tokens) - 1)
    return torch.where(inside, tokens[index].long(), PAD)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE, which loses nothing of any text; equal texts give equal merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return tokenizer


def _build(
    folder: Path, corpora: dict[str, Corpus], vocabulary: int, tokenizer_pairs: int, max_length: int
) -> None:
    """Write tokenizer and tokens to a temporary folder, then rename it."""
    batches = (rows for corpus in corpora.values() for rows, _ in corpus.read())
    held_out = {normalise(source) for rows in batches for split, source, _ in rows if split != "train"}
    texts = (
        text
        for objective, corpus in corpora.items()
        for pair in islice(_train_pairs(_kept(objective, corpus, held_out, Counter())), tokenizer_pairs)
        for text in pair
    )
    tokenizer = train_tokenizer(texts, vocabulary)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unfinished-"))
    try:
        tokenizer.save(str(temporary / _TOKENIZER))
        notes: Counter[str] = Counter()
        for objective, corpus in corpora.items():
            for rows in _kept(objective, corpus, held_out, notes):
                notes[f"{objective}_too_long"] += _write(temporary, objective, rows, tokenizer, max_length)
            if not _path(temporary, "train", objective, "source").exists():
                raise DataError(
                    f"data set {corpus.name}, split train: no pair is left; skipped {dict(+notes)}"
                )
        splits = [s for s in SPLITS if all(_path(temporary, s, o, "source").exists() for o in corpora)]
        index = json.dumps({"splits": splits, "notes": +notes, "tokenizer": _digest(temporary)})
        (temporary / _INDEX).write_text(index, encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _kept(objective: str, corpus: Corpus, held_out: set[str], notes: Counter[str]) -> Iterator[list[Row]]:
    for rows, empty in corpus.read():
        kept = [row for row in rows if row[0] != "train" or normalise(row[1]) not in held_out]
        notes[f"{objective}_empty_side"] += empty
        notes[f"{objective}_held_out_elsewhere"] += len(rows) - len(kept)
        yield kept


def _train_pairs(batches: Iterable[list[Row]]) -> Iterator[Pair]:
    return ((source, target) for rows in batches for split, source, target in rows if split == "train")


def _write(folder: Path, objective: str, rows: list[Row], tokenizer: Tokenizer, max_length: int) -> int:
    """Append the rows to the files of their splits; how many were too long."""
    sources, targets = (
        [encoding.ids for encoding in tokenizer.encode_batch([row[side] for row in rows])] for side in (1, 2)
    )
    fitting = [max(len(s), len(t)) <= max_length for s, t in zip(sources, targets, strict=True)]
    for split in SPLITS:
        chosen = [fits and row[0] == split for fits, row in zip(fitting, rows, strict=True)]
        if any(chosen):
            _append(_path(folder, split, objective, "source"), list(compress(sources, chosen)))
            _append(_path(folder, split, objective, "target"), list(compress(targets, chosen)))
    return len(rows) - sum(fitting)


def _append(path: Path, phrases: list[list[int]]) -> None:
    ends = np.cumsum([len(phrase) for phrase in phrases], dtype=np.int64)
    with path.open("ab") as ids, path.with_suffix(".ends").open("ab") as file:
        if not file.tell():
            np.zeros(1, np.int64).tofile(file)
        (ids.tell() // 4 + ends).tofile(file)
        np.fromiter(chain.from_iterable(phrases), np.int32).tofile(ids)


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / _TOKENIZER).read_bytes()).hexdigest()


def _path(folder: Path, split: str, objective: str, side: str) -> Path:
    return folder / f"{split}-{objective}-{side}.ids"


def _open_split(folder: Path, split: str, objectives: Iterable[str]) -> dict[str, Tensor]:
    tensors = {}
    for objective in objectives:
        for side in SIDES:
            path = _path(folder, split, objective, side)
            tensors[f"{objective}_{side}"] = _mapped(path, torch.int32)
            tensors[f"{objective}_{side}_ends"] = _mapped(path.with_suffix(".ends"), torch.int64)
    return tensors


def _mapped(path: Path, dtype: torch.dtype) -> Tensor:
    return torch.from_file(str(path), size=path.stat().st_size // dtype.itemsize, dtype=dtype)
