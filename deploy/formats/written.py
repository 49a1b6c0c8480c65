"""Text files of a package: filled-in templates, labels, and the README that says what was tried."""

from __future__ import annotations

import json
import re
import textwrap
from functools import cache
from pathlib import Path

import jinja2

from jetpress.deploy.formats.subject import Subject, copy_bundle, copy_engine

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(  # noqa: S701 - configuration and source code: nothing is a page
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["number"] = number
    made.filters["wrapped"] = wrapped
    made.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    return made


def wrapped(text: str, bullet: str = "") -> str:
    """A paragraph in lines that an editor shows whole."""
    return textwrap.fill(
        text, 118, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def number(value: float) -> str:
    """A float as C++ reads it."""
    text = f"{value:.9g}"
    return f"{text}f" if any(one in text for one in ".en") else f"{text}.0f"


def slug(subject: Subject) -> str:
    """The network's name as a program, a node or a model may be called."""
    return re.sub(r"[^a-z0-9]+", "_", subject.name.lower()).strip("_") or "network"


def fill(template: str, place: Path, subject: Subject, **more: object) -> None:
    """Write a template of ``templates/`` with what is known of a network."""
    known = {
        "image": subject.image,
        "task": subject.task,
        "labels": subject.labels,
        "first": subject.outputs[0].name,
        "names": sorted(one.name for one in subject.outputs),
        "summary": summary(subject),
        "slug": slug(subject),
    }
    text = _environment().get_template(f"{template}.jinja").render(subject=subject, **known, **more)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    if text.startswith("#!"):
        place.chmod(0o755)


def summary(subject: Subject) -> str:
    """What the network is, takes and gives, in Markdown."""
    image, (least, usual, most) = subject.image, subject.batches
    row = ", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in subject.outputs)
    batch = f"a batch of {least} to {most}, at best {usual}" if subject.dynamic else f"a batch of {usual}"
    done = "by the graph itself" if image.in_graph else "before it"
    mean, std = (", ".join(f"{one:g}" for one in values) for values in (image.mean, image.std))
    lines = [
        wrapped(f"Made by `jetpress package` from the run `{subject.run}`, for {subject.target['title']}."),
        "",
        "| | |",
        "|---|---|",
        f"| task | {subject.task}{', head ' + subject.rules['head'] if subject.rules else ''} |",
        f"| input | {image.tensor.name} {image.tensor.dtype} {list(image.tensor.shape)}, {batch} |",
        f"| images | {image.colour.upper()}, {image.fit}, (pixel / {image.scale:g} - [{mean}]) / [{std}], {done} |",
        f"| outputs | {row}; the first ends with {subject.ends_with} |",
        f"| precision | {subject.precision} |",
        f"| classes | {subject.class_count or 'not known'} |",
    ]
    return "\n".join(lines)


def labels(place: Path, subject: Subject, separator: str = "\n") -> None:
    """One name a line, or as the reader wants them."""
    place.write_text(separator.join(subject.labels) + "\n")


def engine_and_bundle(place: Path, subject: Subject, onnx: bytes | None = None) -> None:
    """``bundle/`` of which ``build.sh`` builds ``engine/``, and that, where the run built one here of the same file."""
    copy_bundle(subject, place / "bundle", onnx)
    if onnx is None:
        copy_engine(subject, place / "engine")
    fill("build.sh", place / "build.sh", subject)
