"""Keys and values with room for what is to be written: a token is put in its place, and nothing is copied for it.

The cache of ``transformers`` makes a new tensor of all keys and values for every token. With many rows after long
prompts that is most of the work of sampling.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, (rows, heads, length, width) each, in tensors that are longer than what they hold.

    Args:
        read: What was read so far; every row of it is repeated.
        repeats: Rows made of each row, which stand together.
        more: Tokens to be written; more than these take new room.
    """

    def __init__(self, read: DynamicLayer, repeats: int, more: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        keys, values = cast("Tensor", read.keys), cast("Tensor", read.values)
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._length = keys.shape[-2]
        self._room = [_repeated(held, repeats, more) for held in (keys, values)]
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_more: Any) -> tuple[Tensor, Tensor]:
        """Put keys and values of new tokens behind those held, and return all of them."""
        start, end = self._length, self._length + key_states.shape[-2]
        if end > self._room[0].shape[-2]:
            self._room = [_repeated(held[..., :start, :], 1, end) for held in self._room]
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[..., start:end, :] = states
        self._length = end
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows alone."""
        self._room = [room[indices] for room in self._room]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (room[..., : self._length, :] for room in self._room)
        return self.keys, self.values


def make_room(cache: DynamicCache, repeats: int, more: int) -> None:
    """Repeat every row of a cache, and give it room for so many more tokens.

    Layers that hold no plain keys and values (a sliding window's) are repeated and stay as they are.
    """
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            layers[number] = RoomyLayer(layer, repeats, more)
        else:
            layer.batch_repeat_interleave(repeats)


def _repeated(held: Tensor, repeats: int, more: int) -> Tensor:
    rows, heads, length, width = held.shape
    room = held.new_empty((rows, repeats, heads, length + more, width))
    room[..., :length, :] = held[:, None]
    return room.flatten(0, 1)
