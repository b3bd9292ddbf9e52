"""ILVR's sequence plans (arXiv 2512.05665): an answer as a list of text and latent items, in any number and order.

An item is ``{"type": "text", "content": …}`` or ``{"type": "latent", "helper_image": …, "latent_size": …}``. Stage 1
learns a block from its helper image, so every latent item has one; ``latent_size``, the latents of this block, may be
left out. This module knows the items; ``jsonl.py`` finds the images.
"""

from collections.abc import Mapping
from typing import Any

CONTENT = {"text": "content", "latent": "helper_image"}
"""The key that an item of each type must have."""

Item = Mapping[str, Any]


def read_plan(plan: object, marker: str) -> list[str | tuple[str, int | None]]:
    """Read a plan's items.

    Args:
        plan: the JSON value of ``sequence_plan``.
        marker: what stands for a latent block in the other form; a plan's text holds it after a backslash alone.

    Returns:
        Texts, and for each latent block its helper image and the number of its latents (``None``: the run's).

    Raises:
        ValueError: what is wrong, with the number of the item; the first item is 1.
    """
    if not isinstance(plan, list):
        raise ValueError(f"sequence_plan must be a list of items, got {type(plan).__name__}")
    items: list[str | tuple[str, int | None]] = []
    for number, value in enumerate(plan, start=1):
        try:
            item = _checked(value)
            is_latent = item["type"] == "latent"
            items.append((_helper_image(item), _latent_size(item)) if is_latent else _content(item, marker))
        except ValueError as error:
            raise ValueError(f"sequence_plan item {number}: {error}") from None
    if not any(items):
        raise ValueError("sequence_plan is empty; give text or latent items, or leave the key out")
    return items


def _checked(value: object) -> Item:
    """Return an item that has a known type, the key that type needs, and no unknown key."""
    if not isinstance(value, dict):
        raise ValueError(f"an item must be a JSON object, got {type(value).__name__}")
    # columnar formats export every item with the same keys, null where an item has none
    item = {key: entry for key, entry in value.items() if entry is not None}
    kind = item.get("type")
    if kind not in ("text", "latent"):
        raise ValueError(f'type must be "text" or "latent", got {kind!r}')
    known = {"type", CONTENT[kind]} | ({"latent_size"} if kind == "latent" else set())
    if unknown := item.keys() - known:
        raise ValueError(f"unknown key(s) {sorted(unknown)}; a {kind} item knows {sorted(known)}")
    entry = item.get(CONTENT[kind])
    if not isinstance(entry, str):
        given = "none" if entry is None else type(entry).__name__
        raise ValueError(f"a {kind} item needs {CONTENT[kind]}, a string; got {given}")
    return item


def _content(item: Item, marker: str) -> str:
    content: str = item["content"]
    if marker in content.replace(f"\\{marker}", ""):
        raise ValueError(
            f"content holds {marker}, but in a plan latent items say where blocks are; remove it, or write "
            f"\\{marker} for the word itself"
        )
    return content.replace(f"\\{marker}", marker)


def _helper_image(item: Item) -> str:
    path: str = item["helper_image"]
    if not path:
        raise ValueError("helper_image is empty; stage 1 learns the block from it, so give the path of an image")
    return path


def _latent_size(item: Item) -> int | None:
    size = item.get("latent_size")
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool):
        raise ValueError(f"latent_size must be an integer, got {size!r}")
    if size < 1:
        raise ValueError(f"a block with latent_size {size} has no latents; give 1 or more, or leave the item out")
    return size
