"""The site is built strictly from docs/, asks nobody for anything, and has every page; quotes and links are right."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jetpress.deploy.errors import INTERRUPTED, JetpressError
from tests.test_prose import ROOT, pages, prose

DOCS = ROOT / "docs"


class _Loaded(HTMLParser):
    """What a browser fetches by itself when it shows the page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built_and_fetches_nothing(site: Path) -> None:
    for page in DOCS.glob("*.md"):
        html = site / ("index.html" if page.stem == "index" else f"{page.stem}/index.html")
        seen = _Loaded()
        seen.feed(html.read_text())
        assert seen.addresses
        assert not [address for address in seen.addresses if urlsplit(address).netloc], page.name


def test_links_out_of_docs_lead_into_the_repository(site: Path) -> None:
    assert (
        "https://github.com/jetpress/jetpress/blob/main/studies/log/pruning.md"
        in (site / "migration" / "index.html").read_text()
    )


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    """Strict is strict: a page and a section that are not there."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A\n[b](b.md) [c](#nowhere)\n")
    config = (ROOT / "mkdocs.yml").read_text().partition("nav:\n")[0]
    config = config.replace("docs/site_links.py", str(DOCS / "site_links.py"))
    (tmp_path / "mkdocs.yml").write_text(config.replace("name: material", "name: mkdocs"))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "b.md" in done.stderr
    assert "#nowhere" in done.stderr


def test_the_index_names_every_page() -> None:
    index = (DOCS / "index.md").read_text()
    assert [p.name for p in sorted(DOCS.glob("*.md")) if f"({p.name})" not in index] == ["index.md"]


def sections(page: Path) -> set[str]:
    """The anchors that a page's headings have, by GitHub's rule."""
    titles = [line.lstrip("#").strip() for _, line in prose(page.read_text()) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages())
def test_links_to_sections_lead_somewhere(page: str) -> None:
    text = "\n".join(line for _, line in prose((ROOT / page).read_text()))
    for name, section in re.findall(r"\]\((?!https?:)([^)\s#]*)#([^)\s]+)\)", text):
        other = (ROOT / page).parent / name if name else ROOT / page
        assert section in sections(other), f"{page}: {name}#{section}"


@pytest.mark.parametrize("page", pages())
def test_addresses_are_well_formed(page: str) -> None:
    """Whether anybody answers there is not asked: a test must not hang on somebody else's server."""
    for address in re.findall(r"\]\((https?:[^)]*)\)", (ROOT / page).read_text()):
        parts = urlsplit(address)
        assert parts.scheme == "https", address
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), address
        assert not re.search(r"[\s<>\"{}|\\^`]", address), address


@cache
def texts() -> str:
    """All string literals of the product, and the Makefile, which has messages, too."""
    found = [(ROOT / "Makefile").read_text()]
    for top in ("pipeline", "deploy", "benchmarks"):
        for path in (ROOT / top).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text()))
            found += [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return "\n".join(found)


def quotes() -> list[str]:
    """What the first column of troubleshooting's tables under `it says` quotes."""
    found, listed = [], False
    for line in (DOCS / "troubleshooting.md").read_text().splitlines():
        if not line.startswith("|"):
            listed = False
        elif line.startswith("| it says"):
            listed = True
        elif listed:
            found += re.findall(r"`([^`]+)`", line.split("|")[1])
    return found


@pytest.mark.parametrize("quote", quotes())
def test_what_troubleshooting_quotes_is_what_jetpress_says(quote: str) -> None:
    assert quote in texts()


def test_there_are_quotes() -> None:
    assert len(quotes()) > 40


def test_every_exit_code_is_explained() -> None:
    listed = re.findall(r"^\| (\d+) \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    known = {kind.exit_code for kind in JetpressError.__subclasses__()}
    assert {int(code) for code in listed} == {0, 1, INTERRUPTED} | known
