"""A cache with room says what the cache of transformers says."""

from __future__ import annotations

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from aroma.model.aroma.training.room import RoomyLayer, make_room


def states(rows: int, length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    keys, values = torch.randn((2, rows, 2, length, 4), generator=chance)
    return keys, values


def both(more: int) -> tuple[DynamicCache, DynamicCache]:
    """Return a cache of 2 layers and 6 rows made of 2, and the same with room."""
    caches = []
    for _ in range(2):
        cache = DynamicCache()
        for layer in range(2):
            cache.update(*states(2, 5, layer), layer)
        caches.append(cache)
    plain, roomy = caches
    plain.batch_repeat_interleave(3)
    make_room(roomy, 3, more)
    return plain, roomy


def same(plain: DynamicCache, roomy: DynamicCache) -> bool:
    pairs = zip(plain.layers, roomy.layers, strict=True)
    return all(torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values) for a, b in pairs)


def test_what_is_held_is_what_the_plain_cache_holds_with_rows_taken_out_and_beyond_the_room() -> None:
    plain, roomy = both(more=2)
    assert all(isinstance(layer, RoomyLayer) for layer in roomy.layers)
    assert same(plain, roomy)
    for step in range(6):
        for layer in range(2):
            new = states(len(plain.layers[layer].keys), 1, 10 + 2 * step + layer)
            for answer, held in zip(plain.update(*new, layer), roomy.update(*new, layer), strict=True):
                assert torch.equal(answer, held)
        assert plain.get_seq_length() == roomy.get_seq_length() == 6 + step
        if step == 1:
            kept = torch.tensor([0, 3, 5])
            plain.batch_select_indices(kept)
            roomy.batch_select_indices(kept)
        assert same(plain, roomy)


def test_a_token_is_written_into_the_room_and_nothing_else_is_moved() -> None:
    _, roomy = both(more=3)
    before = roomy.layers[0].keys.data_ptr()
    for step in range(3):
        roomy.update(*states(6, 1, step), 0)
    assert roomy.layers[0].keys.data_ptr() == before


def test_layers_of_another_kind_are_repeated_and_stay() -> None:
    cache = DynamicCache()
    cache.layers.append(DynamicSlidingWindowLayer(sliding_window=4))
    cache.update(*states(2, 3, 0), 0)
    make_room(cache, 3, 8)
    assert type(cache.layers[0]) is DynamicSlidingWindowLayer
    assert cache.layers[0].keys.shape[0] == 6
