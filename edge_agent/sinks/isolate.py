"""Finding what a server refuses in a batch, in few requests: everything else is delivered on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

Post = Callable[[Sequence[T]], Awaitable[str | None]]
"""Sends some items; the server's words where it refuses them, None where it took them."""
FEW = 3
"""Up to so many items at fault are looked for one by one; more are found by halving everything."""


async def isolate(items: Sequence[T], words: str, post: Post[T], *, prove: bool) -> list[tuple[T, str]]:
    """The items that are refused, each with the server's words. All `items` together were refused with `words`.

    One item at fault among n costs log2(n) + 1 requests; one more with `prove`: then each was sent alone and refused,
    else the last one left over is taken to be at fault.
    """
    found: list[tuple[T, str]] = []
    rest = list(items)
    while len(found) < FEW:
        fault, others, words = await first(rest, words, post, prove=prove)
        if fault is not None:
            found.append((fault[0], words))
        if not others or (said := await post(others)) is None:
            return found
        rest, words = others, said
    return found + await _halve(rest, words, post)


async def first(rest: list[T], words: str, post: Post[T], *, prove: bool) -> tuple[list[T] | None, list[T], str]:
    """The first item at fault, as a list of one (None: there is none); what was not looked at; the server's words."""
    suspects, others, proven = rest, list[T](), True
    while len(suspects) > 1:
        half = len(suspects) // 2
        left, right = suspects[:half], suspects[half:]
        if (said := await post(left)) is None:
            suspects, proven = right, False
        else:
            suspects, others, words, proven = left, right + others, said, True
    if prove and not proven:
        if (said := await post(suspects)) is None:
            return None, others, words
        words = said
    return suspects, others, words


async def _halve(items: list[T], words: str, post: Post[T]) -> list[tuple[T, str]]:
    """`items` were refused: try each half."""
    if len(items) == 1:
        return [(items[0], words)]
    half = len(items) // 2
    found: list[tuple[T, str]] = []
    for part in (items[:half], items[half:]):
        if (said := await post(part)) is not None:
            found += await _halve(part, said, post)
    return found
