"""Inputs made from other inputs: wrong in their structure, where changed bytes alone would only be no JSON, no archive.

Every function takes a generator of random numbers, and gives the same for the same seed. What cannot be changed by its
structure gives None: bytes are changed then.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from jetpress.deploy.onnx_file import wire

Mutation = Callable[[bytes, random.Random], bytes | None]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**400, 0.0, -0.0, 0.5, 1e-320,
    1e308, float("nan"), float("inf"), float("-inf"), "", " ", "0", "..", "../x", "/etc/passwd", "//x",
    "a\0b", "\x1b[2J", "\ud800", "\u202e", "x" * 300,
    "-oProxyCommand=x", "$(x)", "fp16", "int8", "auto", [], {}, [[]], [0], [1, 2], [-1],
    [{}], {"": {}}, {"a": 1}, [None], ["a"], [1e999], {"0": [[0, 1]]},
)  # fmt: skip
"""What somebody's field may hold: wrong types, edges of types, texts that lead elsewhere."""
SHORT = 12
"""Bytes that are repeated or taken out at once."""


def changed_bytes(data: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, taken out, doubled or put in."""
    held = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at, much = dice.randrange(len(held) + 1), dice.randint(1, SHORT)
        match dice.randrange(4):
            case 0 if held:
                held[at % len(held)] = dice.randrange(256)
            case 1:
                del held[at : at + much]
            case 2:
                held[at:at] = held[at : at + much]
            case _:
                held[at:at] = dice.randbytes(much)
    return bytes(held)


def near(value: object, others: list[Any], dice: random.Random) -> object:
    """Another value of its type: what a check of types lets through."""
    match value:
        case bool():
            return not value
        case int():
            return dice.choice((value + 1, value - 1, 2 * value, value // 2, 0, 1))
        case float():
            return dice.choice((value + 1, -value, value / 2, 0.0, 1.0))
        case list() if value:
            return dice.choice((value[1:], value[::-1], value + value[:1]))
        case _:
            return dice.choice([one for one in others if type(one) is type(value)] or [value])


def changed_json(data: bytes, dice: random.Random) -> bytes | None:
    """JSON with one to three values, names or lists other than before."""
    try:
        root = [json.loads(data)]
        for _ in range(dice.choice((1, 1, 2, 3))):
            _change(root, dice)
        return json.dumps(root[0]).encode()
    except (ValueError, RecursionError):  # too deep to be written
        return None


def _place(root: list[object], dice: random.Random) -> tuple[dict[str, object] | list[object], str | int]:
    """What holds some value, and its key there: a way down that ends somewhere."""
    holder: Any = root
    key: Any = 0
    while True:
        value = holder[key]
        keys = (
            list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        )
        if not keys or (holder is not root and dice.random() < 0.3):
            return holder, key
        holder, key = value, dice.choice(keys)


def _change(root: list[object], dice: random.Random) -> None:
    (holder, key), (other, there) = _place(root, dice), _place(root, dice)
    taken = other[there]  # type: ignore[index]
    match dice.randrange(14):
        case number if number > 6:
            holder[key] = json.loads(json.dumps(near(holder[key], [taken], dice)))  # type: ignore[index]
        case 6 if isinstance(holder[key], str):  # type: ignore[index]
            holder[key] = other_text(str(holder[key]), dice)  # type: ignore[index]
        case 0 if holder is not root:
            del holder[key]  # type: ignore[arg-type]
        case 1:
            holder[key] = json.loads(json.dumps(taken))  # type: ignore[index]
        case 2 if isinstance(holder, dict):
            holder[str(dice.choice(VALUES))[:40]] = holder.pop(str(key))
        case 3 if isinstance(holder, list):
            holder *= 40 if len(json.dumps(holder)) < 200 else 2
        case 4:
            for _ in range(dice.choices((1, 3, 40, 1100), (30, 10, 10, 1))[0]):
                holder[key] = [holder[key]]  # type: ignore[index]
        case _:
            holder[key] = deepcopy(dice.choice(VALUES))  # type: ignore[index]  # what is put in is changed later


def other_text(text: str, dice: random.Random) -> str:
    """One of its numbers another one, or something put between two of its characters."""
    numbers = list(re.finditer(r"\d+", text))
    if numbers and dice.random() < 0.7:
        one = dice.choice(numbers)
        return (
            text[: one.start()]
            + dice.choice(("9" * 5000, "9" * 400, "9" * 20, "0", "-1", ""))
            + text[one.end() :]
        )
    at = dice.randrange(len(text) + 1)
    return (
        text[:at]
        + dice.choice(("\0", "\n", "\x1b[2J", "\u202e", "=", ":", '"', " ", "\u0663", "x" * 999))
        + text[at:]
    )


def changed_text(data: bytes, dice: random.Random) -> bytes | None:
    """A line of text with one to three such changes."""
    text = data.decode("utf-8", "replace")
    for _ in range(dice.randint(1, 3)):
        text = other_text(text, dice)
    return text.encode("utf-8", "replace")


def changed_lines(data: bytes, dice: random.Random) -> bytes | None:
    """A text of lines `key = value`, as a recipe is: a value other than before, a line taken out, moved or doubled."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(dice.choice((1, 1, 2, 3))):
        pairs = [number for number, line in enumerate(lines) if "=" in line]
        places = pairs if pairs and dice.random() < 0.8 else range(len(lines))
        at, other = dice.choice(places), dice.choice(places)
        key, _, value = (part.strip() for part in lines[at].partition("="))
        key_too, _, value_too = (part.strip() for part in lines[other].partition("="))
        match dice.randrange(8):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, lines[other])
            case 2:
                lines[at] = f"{key} = {value_too}"
            case 3:
                lines[at] = f"{key_too} = {value}"
            case 4:
                lines[at] = f"{key} = {_toml(dice.choice(VALUES))}"
            case _:
                lines[at] = f"{key} = {_near_toml(value, value_too, dice)}"
    return "\n".join(lines).encode("utf-8", "replace")


def _near_toml(value: str, other: str, dice: random.Random) -> str:
    """Another value of its type, where JSON writes it the same way."""
    try:
        return _toml(near(json.loads(value), [json.loads(other)], dice))
    except (ValueError, RecursionError):
        return value


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf").replace("null", "''")


def changed_message(data: bytes, dice: random.Random) -> bytes | None:
    """A protobuf message whose lengths still fit: a field changed, doubled, taken out or moved, however deep."""
    try:
        return _message(data, "Model", dice)
    except (wire.WireError, IndexError):
        return None


def _message(data: bytes, kind: str, dice: random.Random) -> bytes:
    found = list(wire.fields(data, 0, len(data)))
    if not found:
        return dice.randbytes(dice.randint(0, 4))
    ends = [one[2] for one in found[1:]] + [len(data)]
    parts = [data[one[2] : end] for one, end in zip(found, ends, strict=True)]
    at, other = dice.randrange(len(found)), dice.randrange(len(found))
    number, form, _, start, stop = found[at]
    inside = wire.INSIDE.get(kind, {}).get(number)
    if form == wire.BYTES and dice.random() < 0.7:
        content = data[start:stop]
        changed = _message(content, inside, dice) if inside else changed_bytes(content, dice)
        parts[at] = wire.encode(number, changed)
    elif form == wire.VARINT and dice.random() < 0.7:
        parts[at] = wire.encode(
            number, dice.choice((0, 1, 2, 7, 8, 16, 127, 128, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
        )
    else:
        match dice.randrange(4):
            case 0:
                del parts[at]
            case 1:
                parts *= dice.choice((1, 2, 9))
                parts.append(parts[other])
            case 2:
                parts[at] = wire.encode(
                    dice.randrange(1, 30), data[start:stop] if form == wire.BYTES else start
                )
            case _:
                parts[at], parts[other] = parts[other], parts[at]
    return b"".join(parts)


def changed_weights(data: bytes, dice: random.Random) -> bytes | None:
    """A file of weights whose outer shape still fits: a member of the archive, or the header of safetensors."""
    if data[:2] == b"PK":
        return _changed_member(data, dice)
    size = struct.unpack("<Q", data[:8])[0] if len(data) > 8 else 0
    if 0 < size <= len(data) - 8 and data[8:9] == b"{" and dice.random() < 0.8:
        header = changed_json(data[8 : 8 + size], dice)
        return header and struct.pack("<Q", len(header)) + header + data[8 + size :]
    return None


def _changed_member(data: bytes, dice: random.Random) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()[:40]]
    except Exception:  # noqa: BLE001  zipfile has a dozen of them
        return None
    if not members:
        return None
    pickles = [number for number, (name, _) in enumerate(members) if name.endswith((".pkl", ".npy"))]
    at = dice.choice(pickles) if pickles and dice.random() < 0.8 else dice.randrange(len(members))
    name, content = members[at]
    match dice.randrange(8):
        case 0:
            del members[at]
        case 1:
            members[at] = (
                dice.choice(("data.pkl", "x/constants.pkl", "../x", "a/.data/serialization_id", "")),
                content,
            )
        case _:
            members[at] = (name, changed_bytes(content, dice))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()
