"""One self-contained web page: no scripts, nothing fetched, readable on a phone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from lstmcli.core.pictures import figure_bytes
from lstmcli.core.tables import Table, to_html
from lstmcli.core.terminal import sanitize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { --ink: #222; --soft: #666; --line: #ddd; --back: #f6f7f9; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--back); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .75rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: 1rem;
  margin-top: 1rem; }
nav a { margin-right: 1rem; color: var(--accent); white-space: nowrap; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .5rem 1rem;
  margin: 1rem 0 0; }
.facts dt { color: var(--soft); font-size: .8rem; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; white-space: normal; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; border-bottom: 1px solid #eee;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } .n { text-align: right; }
.note, p { color: var(--soft); font-size: .85rem; margin: .25rem 0 .75rem; max-width: 48rem; }
figure { margin: 0 0 1rem; overflow-x: auto; }
figure svg, figure img { display: block; max-width: 100%; min-width: 36rem; height: auto; }
pre { background: var(--back); padding: .75rem; border-radius: .3rem; overflow-x: auto; font-size: .8rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); }
"""


class Section(NamedTuple):
    """A titled part of the page; `body` is HTML already."""

    title: str
    body: str

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def page(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The whole page; texts of `facts` are escaped here."""
    cards = "".join(f"<div><dt>{_shown(name)}</dt><dd>{_shown(value)}</dd></div>" for name, value in facts)
    links = "".join(f'<a href="#{s.anchor}">{_shown(s.title)}</a>' for s in sections)
    parts = "\n".join(
        f'<section id="{s.anchor}"><h2>{_shown(s.title)}</h2>\n{s.body}</section>' for s in sections
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_shown(title)}</title><style>{STYLE}</style></head>
<body><main>
<h1>{_shown(title)}</h1>
<nav>{links}</nav>
<dl class=facts>{cards}</dl>
{parts}
</main></body></html>
"""


def tables(found: Sequence[Table]) -> str:
    """Tables that scroll by themselves where the page is narrow."""
    return "\n".join(f"<div class=wide>{to_html(table)}</div>" for table in found)


def picture(figure: Figure, about: str, drawing: bool = True) -> str:
    """A figure inside the page: as a drawing, or as pixels where it has too many marks."""
    if drawing:
        made = figure_bytes(figure, "svg").decode()
        return f'<figure role="img" aria-label="{_shown(about)}">{made[made.index("<svg") :]}</figure>'
    pixels = base64.b64encode(figure_bytes(figure, "png", 130)).decode()
    return f'<figure><img alt="{_shown(about)}" src="data:image/png;base64,{pixels}"></figure>'


def text(content: str) -> str:
    """A text as it is, with nothing in it that acts."""
    return f"<pre>{_shown(content)}</pre>"


def paragraph(content: str) -> str:
    return f"<p>{_shown(content)}</p>"


def folded(title: str, body: str) -> str:
    """What is seen after a click."""
    return f"<details><summary>{_shown(title)}</summary>{body}</details>"


def _shown(content: str) -> str:
    """Text that neither a browser nor a terminal acts on."""
    return escape(sanitize(content))
