"""For the site: links that lead out of docs/ lead into the repository, where those files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

LINK = re.compile(r"\]\((\.\./[^)\s]*)\)")


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """MkDocs' hook: the page's text before it becomes HTML. The path keeps a ``#section``."""
    root = Path(config.docs_dir).parent
    folder = Path(page.file.abs_src_path or config.docs_dir).parent

    def outside(link: re.Match[str]) -> str:
        name, mark, section = link[1].partition("#")
        path = (folder / name).resolve()
        if not path.is_relative_to(root) or path.is_relative_to(config.docs_dir) or not path.exists():
            return link[0]  # MkDocs itself judges it
        kind = "tree" if path.is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{path.relative_to(root)}{mark}{section})"

    return LINK.sub(outside, markdown)
