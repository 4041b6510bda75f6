"""Which bytes are asked for together."""

from __future__ import annotations

import numpy as np
import pytest

from swathe.rasters.plain import Batch, Part, cut_blocks, merge_ranges, plan_batches
from swathe.rasters.tiff import TiffBroken, TiffImage, parse_tiff

KIB = 1024


def _image(offsets: list[int], counts: list[int], *, width: int = 512, planar: int = 1, samples: int = 1) -> TiffImage:
    tags = {256: (width,), 257: (256,), 258: (16,) * samples, 277: (samples,), 284: (planar,), 322: (256,), 323: (256,)}
    return TiffImage("<", tags, np.array(offsets, np.uint64), np.array(counts, np.uint64))


def test_what_lies_within_64_kib_is_one_request() -> None:
    def parts(*places: tuple[int, int]) -> list[Part]:
        return [Part((0, number), 0, start, length) for number, (start, length) in enumerate(places)]

    assert merge_ranges(parts((100, 50), (150, 50))) == ((100, 100),)
    assert merge_ranges(parts((0, 10), (10 + 64 * KIB, 5))) == ((0, 15 + 64 * KIB),)
    assert merge_ranges(parts((0, 10), (11 + 64 * KIB, 5))) == ((0, 10), (11 + 64 * KIB, 5))
    assert merge_ranges(parts((500, 10), (0, 10), (200, 0))) == ((0, 510),)
    assert merge_ranges(parts((0, 0))) == ()


def test_blocks_come_in_the_order_of_the_file() -> None:
    image = _image([9000, 1000], [100, 100])
    (batch,) = plan_batches(image, [(0, 0), (0, 1)], (1,))
    assert [part.block for part in batch.parts] == [(0, 1), (0, 0)]


def test_a_block_whose_bands_lie_apart_stays_in_one_batch() -> None:
    image = _image([1000, 2000, 500_000, 501_000], [100, 100, 100, 100], planar=2, samples=2)
    (batch,) = plan_batches(image, [(0, 0), (0, 1)], (2, 1))
    assert [(part.block, part.band, part.start) for part in batch.parts] == [
        ((0, 0), 1, 500_000),
        ((0, 0), 0, 1000),
        ((0, 1), 1, 501_000),
        ((0, 1), 0, 2000),
    ]
    assert batch.ranges == ((1000, 1100), (500_000, 1100))


def test_a_part_is_cut_out_of_what_came_and_a_short_answer_is_noticed() -> None:
    batch = Batch((Part((0, 0), 0, 10, 3), Part((0, 1), 0, 0, 0), Part((0, 2), 0, 103, 2)), ((10, 3), (100, 5)))
    found = [(block, [bytes(part) for part in parts]) for block, parts in cut_blocks(batch, [b"abc", b"vwxyz"])]
    assert found == [((0, 0), [b"abc"]), ((0, 1), [b""]), ((0, 2), [b"yz"])]
    with pytest.raises(TiffBroken, match="ends before byte 105"):
        list(cut_blocks(batch, [b"abc", b"vwxy"]))


def test_a_block_comes_with_the_parts_of_all_its_bands() -> None:
    parts = (Part((0, 0), 1, 13, 1), Part((0, 0), 0, 10, 3), Part((0, 1), 1, 0, 0), Part((0, 1), 0, 14, 1))
    found = list(cut_blocks(Batch(parts, ((10, 5),)), [b"abcde"]))
    assert found == [((0, 0), [b"d", b"abc"]), ((0, 1), [b"", b"e"])]


def test_a_block_that_claims_more_bytes_than_its_pixels_is_refused() -> None:
    with pytest.raises(TiffBroken, match="far more than its pixels"):
        list(plan_batches(_image([0, 0], [2**40, 1]), [(0, 0)], (1,)))


def test_a_chain_of_directories_that_bites_its_tail_ends() -> None:
    data = b"II*\0" + (8).to_bytes(4, "little") + (0).to_bytes(2, "little") + (8).to_bytes(4, "little")

    with pytest.raises(TiffBroken, match="does not end"):
        parse_tiff(lambda start, length: data[start : start + length])
