"""The documents of many features at once, from the columns in which their statistics are.

Every number's text is made in one go and the texts are copied between the constant pieces by compiled code: a document
costs little more than its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swathe.model.statistical import Sampling
from swathe.outputs.documents import IntervalEntry, document_head, document_tail
from swathe.outputs.filling import fill
from swathe.outputs.numbers import joined_bytes, number_texts
from swathe.outputs.templates import BIN_PARTS, Section, TemplateList, make_sections

# So many features are written at once, and fewer where they have much to say.
_MOST_FEATURES = 1000
_MOST_NUMBERS = 1_000_000

_STATUSES = ("OK", "PARTIAL", "FAILED")
_BIN_TEXT, _BIN_STARTS = joined_bytes(BIN_PARTS)


@dataclass(frozen=True)
class WrittenFeatures:
    """The documents of the features from `first` on; `failures` says by position why all intervals of one failed."""

    first: int
    documents: tuple[bytes, ...]
    failures: dict[int, str]


def write_documents(
    entries: Sequence[IntervalEntry],
    feature_ids: npt.NDArray[np.int64],
    identifiers: Sequence[str | None],
    sampling: Sampling,
) -> Iterator[WrittenFeatures]:
    """Documents of the features that entries speak of by position, in the order of the positions, some at a time.

    A response is FAILED where all of a feature's intervals failed, PARTIAL where some did, else OK.
    """
    sections = make_sections(entries)
    features = len(feature_ids)
    numbers = sum(_numbers_of(entry) for entry in entries)
    step = int(min(_MOST_FEATURES, max(1, _MOST_NUMBERS * features // max(1, numbers))))
    tails = joined_bytes([document_tail(status, sampling) for status in _STATUSES])
    out = np.empty(0, np.uint8)
    for first in range(0, features, step):
        last = min(features, first + step)
        heads = joined_bytes(
            [
                document_head(key, identifier)
                for key, identifier in zip(feature_ids[first:last].tolist(), identifiers[first:last], strict=True)
            ]
        )
        near = [section for section in sections if next(section.within(first, last), None) is not None]
        templates = TemplateList(near, first, last)
        present = templates.rows >= 0
        failed = present & np.array([section.error is not None for section in near], np.bool_)[:, None]
        failures = failed.sum(axis=0)
        status = np.where(failures == 0, 0, np.where(failures < present.sum(axis=0), 1, 2))
        out, ends = _fill(templates, heads, tails, status, out)
        view = out.data
        begins = [0, *ends[:-1].tolist()]
        documents = tuple(bytes(view[begin:end]) for begin, end in zip(begins, ends.tolist(), strict=True))
        yield WrittenFeatures(first, documents, _reasons(near, failed, np.flatnonzero(status == 2), first))


def _fill(
    templates: TemplateList,
    heads: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]],
    tails: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]],
    status: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The documents side by side, in `out` or, where they do not fit, in a longer array, and where each ends."""
    numbers = templates.numbers.joined()
    text, tokens = number_texts(numbers)
    ends = np.empty(len(status), np.int64)
    columns = (
        templates.rows,
        templates.starts,
        templates.operations,
        np.frombuffer(bytes(templates.constants), np.uint8),
        text,
        tokens,
        numbers,
        templates.integers.joined(),
        templates.histograms,
        _BIN_TEXT,
        _BIN_STARTS,
    )
    while not fill(out, ends, *heads, *tails, status, *columns):
        out = np.empty(max(2 * len(out), 4 * len(text), 2**16), np.uint8)
    return out, ends


def _numbers_of(entry: IntervalEntry) -> int:
    """About how many numbers there are in an entry."""
    count = entry.count
    for bands in entry.bands.values():
        for band in bands.values():
            count += entry.count * (6 + len(band.percents))
            if band.histograms is not None:
                count += 3 * len(band.histograms.counts)
    return count


def _reasons(
    sections: Sequence[Section], failed: npt.NDArray[np.bool_], features: npt.NDArray[np.int64], first: int
) -> dict[int, str]:
    """What the first interval of each of some features failed of, by position."""
    reasons: dict[int, str] = {}
    for feature in features.tolist():
        error = sections[int(failed[:, feature].argmax())].error
        reasons[first + feature] = "" if error is None else error[1]
    return reasons
