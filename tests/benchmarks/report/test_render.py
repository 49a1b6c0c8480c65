from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, get_args

import matplotlib as mpl
import pytest

from jetpress.benchmarks.report import plots, record
from jetpress.benchmarks.report.headline import STANDINGS
from jetpress.benchmarks.report.record.networks import Standing
from jetpress.benchmarks.report.render import TEMPLATES, render
from tests.benchmarks.runs import EVIL, bare, hostile, realistic

EMPTY = {"meta", "img"}
DRAWINGS = ("latency", "session", "channels", "histogram", "calibration", "layer_errors", "layer_times", "roofline",
            "frontier", "curve")  # fmt: skip
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section",
    "h1", "h2", "h3", "p", "b", "ul", "li", "a", "div", "span", "dl", "dt", "dd", "pre", "code",
    "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption", "img",
    "svg", "g", "path", "text", "defs", "use", "rect", "clippath",
}  # fmt: skip


class Page(HTMLParser):
    """Every tag with its attributes, and the text outside of styles and drawings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self.open):
            self.text += data


def report(run: dict[str, Any], folder: Path) -> tuple[str, str, dict[str, Any]]:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    render(record.of(run), folder)
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.md", "report.json"}
    html, markdown, text = (
        (folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md", "json")
    )
    return html, markdown, json.loads(text, parse_constant=refuse)


def ratios(latency: dict[str, Any] | None) -> dict[str, Any]:
    return {**realistic()["ratios"], "latency": latency}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DRAWINGS:
        monkeypatch.setattr(plots, name, lambda *_: "<svg></svg>")


@pytest.fixture(scope="module", params=[realistic, hostile, bare], ids=["realistic", "hostile", "bare"])
def rendered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Page, str, str]:
    html, markdown, _ = report(request.param(), tmp_path_factory.mktemp("report"))
    return Page(html), html, markdown


def test_the_page_needs_nothing_and_runs_nothing(rendered: tuple[Page, str, str]) -> None:
    page, html, _ = rendered
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("srcset", "action")]
        assert ("src" in attributes) == (tag == "img")
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert (len(attributes.get("alt", "")) > 20) == (tag == "img")
        assert all(attributes.get(link, "#").startswith("#") for link in ("href", "xlink:href"))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_the_page_can_be_read_by_everyone(rendered: tuple[Page, str, str]) -> None:
    page, _, _ = rendered
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)
    assert {a["href"][1:] for tag, a in page.tags if tag == "a"} <= set(ids)
    drawings = [place for place, (tag, _) in enumerate(page.tags) if tag == "svg"]
    assert all(page.tags[place - 1][1]["role"] == "img" for place in drawings)
    assert all(len(page.tags[place - 1][1]["aria-label"]) > 20 for place in drawings)
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))
    regions = [a for _, a in page.tags if a.get("role") == "region"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)


def test_markdown_is_whole_and_holds_no_markup(rendered: tuple[Page, str, str]) -> None:
    _, _, markdown = rendered
    prose = [line for line in markdown.splitlines() if not line.startswith("    ")]
    assert not [line for line in prose if re.search(r"(?<!\\)[<`]", line)]
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert tables


@pytest.mark.usefixtures("undrawn")
def test_every_report_says_that_the_bundle_is_not_signed(tmp_path: Path) -> None:
    for number, run in enumerate((bare(), realistic())):
        html, markdown, _ = report(run, tmp_path / str(number))
        for text in (Page(html).text, markdown):
            assert "The bundle of this run is not signed" in text


@pytest.mark.usefixtures("undrawn")
def test_the_page_names_what_the_task_measures(tmp_path: Path) -> None:
    run = realistic() | {"measured": "mean average precision"}
    _, markdown, found = report(run, tmp_path)
    assert found["measured"] == "mean average precision"
    assert "**Mean average precision on the test split**" in markdown
    for what in ("Mean average precision, test", "Mean average precision of the engine"):
        assert f"| {what} |" in markdown
    assert "Validation mean average precision right after pruning" in markdown
    assert "Validation accuracy" not in markdown


def test_nothing_that_a_user_named_escapes(tmp_path: Path) -> None:
    html, markdown, found = report(hostile(), tmp_path)
    prose = "\n".join(line for line in markdown.splitlines() if not line.startswith("    "))
    for text in (html, prose):
        assert not re.search(r"(?<!\\)<(script|img(?! src=.data:))", text)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", text)
    assert "{{ 7 * 7 }}" in html
    assert found["id"] == EVIL
    assert "nan" not in re.sub(r"\w*nan\w+|\w+nan", "", Page(html).text.lower())


def test_the_same_run_gives_the_same_bytes_under_any_matplotlibrc(tmp_path: Path) -> None:
    run = realistic()
    first = report(run, tmp_path / "a")
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert report(run, tmp_path / "b") == first
    again = report(json.loads((tmp_path / "a" / "report.json").read_text()), tmp_path / "c")
    assert again == first


def test_a_report_is_written_quickly(tmp_path: Path) -> None:
    run, start = record.of(realistic()), time.process_time()
    render(run, tmp_path)
    assert time.process_time() - start < 3
    assert (tmp_path / "report.html").stat().st_size < 300_000


def test_a_failure_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(bare(), tmp_path)

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        render(record.of({**bare(), "name": "another"}), tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "report.html").read_text() == before[0]
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md", "report.json"}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("key", sorted(key for key, value in bare().items() if value is None or value == []))
def test_any_part_may_be_missing(key: str, tmp_path: Path) -> None:
    Page(report({**realistic(), key: bare()[key]}, tmp_path)[0])


@pytest.mark.usefixtures("undrawn")
class TestTheVerdictComesFirst:
    """And says no more than was measured."""

    def said(self, tmp_path: Path, **changes: Any) -> tuple[str, dict[str, Any], str]:
        html, markdown, found = report({**realistic(), **changes}, tmp_path)
        page = Page(html)
        claims = [text for text in (page.text, markdown, json.dumps(found["headline"])) if "as fast" in text]
        assert len(claims) in (0, 3)
        return page.text, found["headline"], "claimed" if claims else "silent"

    def test_met(self, tmp_path: Path) -> None:
        _, headline, speed = self.said(tmp_path)
        assert (
            headline["title"] == "2.9 times as fast, 4.0 times smaller, \N{MINUS SIGN}0.4 points: budget met"
        )
        assert re.search(
            r"2\.9\d times as fast as dense, 95 % interval 2\.9\d to 2\.9\d", headline["lines"][0]
        )
        assert speed == "claimed"

    def test_not_met_says_what(self, tmp_path: Path) -> None:
        check = {"what": "latency", "limit": 1.0, "found": 1.17, "unit": "ms", "met": False, "at_most": True}
        _, headline, _ = self.said(tmp_path, verdict={"met": False, "checks": [check]})
        assert headline["title"].endswith(": budget not met")
        assert headline["lines"][0] == "Latency: 1.17 ms, the limit is 1 ms."

    def test_not_measured_says_what_to_do(self, tmp_path: Path) -> None:
        html, _, found = report(bare(), tmp_path)
        assert found["headline"]["title"].lower().endswith("budget not measured in full")
        assert "Not measured yet: latency." in found["headline"]["lines"]
        assert any(line.startswith("Next: copy ") for line in found["headline"]["lines"])
        assert "as fast" not in html

    @pytest.mark.parametrize(
        "changes",
        [
            {"ratios": ratios(None)},
            {
                "ratios": ratios(
                    {"value": 3.0, "low": 2.9, "high": 3.1, "state": "unknown", "reasons": ["busy"]}
                )
            },
            {"ratios": ratios({"value": 3.0, "low": None, "high": None})},
            {"ratios": ratios({"value": float("nan"), "low": 2.0, "high": 4.0})},
        ],
    )
    def test_no_speed_without_a_valid_measurement(self, changes: dict[str, Any], tmp_path: Path) -> None:
        text, _, speed = self.said(tmp_path, **changes)
        assert speed == "silent"
        assert "No speed is claimed" in text

    def test_latencies_that_may_not_be_quoted_are_shown_and_leave_the_ratio_alone(
        self, tmp_path: Path
    ) -> None:
        median = realistic()["compressed"]["latency"]["p50"]
        interval = {"low": 0.8 * median, "high": 1.2 * median, "verdict": "invalid", "reasons": ["busy"]}
        latency = {**realistic()["compressed"]["latency"], **interval}
        invalid = {"verdict": "invalid", "reasons": ["busy"], "knobs": {}}
        compressed = {**realistic()["compressed"], "latency": latency}
        text, _, speed = self.said(tmp_path, benchmark=invalid, compressed=compressed)
        assert speed == "claimed"
        assert "\N{PLUS-MINUS SIGN} 20 %" in text
        assert "no numbers to quote" in text

    def test_a_limit_within_what_was_measured_is_not_called_unmeasured(self, tmp_path: Path) -> None:
        check = {"what": "latency", "limit": 1.2, "found": 1.17, "unit": "ms", "met": None, "at_most": True}
        _, headline, _ = self.said(tmp_path, verdict={"met": None, "checks": [check]})
        assert not any("Not measured yet" in line for line in headline["lines"])

    def test_why_a_benchmark_is_invalid(self, tmp_path: Path) -> None:
        invalid = {"verdict": "invalid", "reasons": ["clocks fell by 20 %"], "knobs": {}}
        assert "clocks fell by 20 %" in self.said(tmp_path, benchmark=invalid)[0]

    @pytest.mark.parametrize(("changes", "said"), [
        ({}, "is 1.10 × as fast (1.05 to 1.15)."),
        ({"low": 0.9, "verdict": "noise"}, "is 1.10 × as fast (0.90 to 1.15): within noise."),
        ({"state": "unknown"}, "is not known well enough"),
    ])  # fmt: skip
    def test_zero_copy_beside_copies(self, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
        ratio = {"value": 1.1, "low": 1.05, "high": 1.15, **changes}
        measured = {"verdict": "valid", "reasons": [], "knobs": {}, "without_copies": ratio}
        assert said in self.said(tmp_path, benchmark=measured)[0]

    def test_the_application_is_in_the_headline(self, tmp_path: Path) -> None:
        one = {"model": "compressed", "side_by_side": False, "frames_per_s": 50.0, "latency_ms": 12.0, "streams": 4,
               "batch": 1, "dropped": 7, "stages_ms": {"decode": 3.0}}  # fmt: skip
        others = [
            {**one, "side_by_side": True, "frames_per_s": 62.0},
            {**one, "model": "dense", "frames_per_s": 40.0},
        ]
        measured = {"verdict": "valid", "reasons": [], "knobs": {}, "application": [one, *others]}
        _, headline, _ = self.said(tmp_path, benchmark=measured)
        expected = "The application: 62 frames/s (dense 40), 4 streams, from frame to result 12 ms, 7 frames dropped."
        assert expected in [line.replace(".0 ", " ").replace("40.0", "40") for line in headline["lines"]]

    def test_power_modes_are_drawn_and_the_one_to_choose_is_in_the_headline(self, tmp_path: Path) -> None:
        modes = [
            {
                "name": "MAXN",
                "frames_per_s": 200.0,
                "watts": 20.0,
                "millijoules": 100.0,
                "hottest_celsius": 61.5,
            },
            {
                "name": "<b>15W",
                "frames_per_s": 120.0,
                "watts": 11.0,
                "millijoules": 91.7,
                "hottest_celsius": None,
            },
            {"name": "7W", "reason": "it needs a reboot"},
        ]
        choice = {"mode": "<b>15W", "why": "<b>15W is the fastest of those within 12 W", "watts": 12.0}
        measured = {
            "verdict": "valid",
            "reasons": [],
            "knobs": {},
            "power_modes": modes,
            "power_choice": choice,
        }
        text, headline, _ = self.said(tmp_path, benchmark=measured)
        assert "Power modes: <b>15W is the fastest of those within 12 W." in headline["lines"]
        assert "it needs a reboot" in text
        page = (tmp_path / "report.html").read_text()
        drawn = page.partition('id="power"')[2].partition("</section>")[0]
        assert drawn.count("<circle") == 2
        assert all(
            word in drawn for word in ("&lt;b&gt;15W, 91.7 mJ", ">budget<", "61.50", '<td class="n">7W</td>')
        )
        assert "<b>" not in drawn

    @pytest.mark.parametrize(("value", "low", "high"), [(1.2, 0.9, 1.5), (1.005, 1.004, 1.006)])
    def test_noise(self, value: float, low: float, high: float, tmp_path: Path) -> None:
        text, headline, _ = self.said(tmp_path, ratios=ratios({"value": value, "low": low, "high": high}))
        assert "s fast as dense within noise" in headline["title"]
        assert "within noise" in text

    def test_slower(self, tmp_path: Path) -> None:
        run = realistic()
        slow = {
            "ratios": ratios({"value": 0.67, "low": 0.6, "high": 0.7}),
            "verdict": {**run["verdict"], "standing": "slower"},
        }
        _, headline, _ = self.said(tmp_path, **slow)
        assert headline["title"].startswith("0.67 times as fast")
        assert headline["title"].endswith(": slower than dense")

    def test_a_number_that_is_not_to_be_quoted_says_why(self, tmp_path: Path) -> None:
        run = realistic()
        shaky = {"low": 1.0, "high": 1.3, "verdict": "invalid", "reasons": ["this machine is busy"]}
        run["compressed"]["latency"] |= shaky
        text, headline, _ = self.said(tmp_path, compressed=run["compressed"])
        assert re.search(r"Median 1\.17 ms ± 1\d %: not a number to quote \(this machine is busy\)", text)
        assert headline["title"].startswith("2.9 times as fast")

    @pytest.mark.parametrize("name", ["nothing compressed", "nothing to compress", "at chance"])
    def test_nothing_to_compare_is_said_without_figures(self, name: str, tmp_path: Path) -> None:
        verdict = {**realistic()["verdict"], "standing": name, "why": "round 1: 28 points lost"}
        _, headline, _ = self.said(tmp_path, verdict=verdict, ratios=ratios(None), benchmark=None)
        assert headline["title"].endswith(": round 1: 28 points lost")
        assert "as fast" not in headline["title"]

    def test_few_images_are_said(self, tmp_path: Path) -> None:
        run = realistic()
        change = {"value": -0.4, "low": -5.0, "high": 4.1}
        verdict = {**run["verdict"], "change": change, "test_samples": 36}
        text, _, _ = self.said(tmp_path, verdict=verdict)
        assert "on 36 test images, 95 % interval \N{MINUS SIGN}5.0 points to +4.1 points" in text
        assert "Chance alone moves 36 images by more than the budget" in text


def test_every_standing_has_words_a_colour_and_an_exit_code(tmp_path: Path) -> None:
    css = (TEMPLATES / "report.css").read_text()
    assert set(get_args(Standing)) == set(STANDINGS)
    for name, shown in STANDINGS.items():
        run = report({**bare(), "verdict": {**realistic()["verdict"], "standing": name}}, tmp_path)
        assert f'<h1 class="{shown.tone}">' in run[0]
        assert f"h1.{shown.tone}" in css
        assert shown.exit_code in (0, 7, 8, 9)


@pytest.mark.usefixtures("undrawn")
def test_time_that_does_not_fall_as_the_layers_promise_is_said(tmp_path: Path) -> None:
    run = realistic()
    tries = [{"estimate_ms": 2.0, "measured_ms": 2.1}, {"estimate_ms": 1.6, "measured_ms": 2.0}]
    known = {"limit_ms": 1.75, "dense_ms": 3.5, "met": False, "correction": 1.25}
    run["rounds"][1]["time"] = {**tries[1], **known, "tries": tries}
    html, markdown, _ = report(run, tmp_path)
    for text in (Page(html).text, markdown):
        assert "Round 2 missed its time: 2.00 ms were measured, 1.75 ms wanted." in " ".join(text.split())
        assert text.count("slower than the sum") == 1
        assert "25 % slower than the sum" in text
    run["rounds"][1]["time"]["met"] = True
    assert "missed its time" not in report(run, tmp_path)[1]


def test_accuracy_is_drawn_against_the_latency_of_every_round(tmp_path: Path) -> None:
    run = realistic()
    for place, one in enumerate(run["rounds"], 1):
        one["macs"] = run["dense"]["macs"] // (place + 1)
    html, markdown, _ = report(run, tmp_path)
    assert "Accuracy against million multiply-adds, over the rounds" in html
    numbers = [one["round"] for one in run["rounds"] if one["validation"] is not None]
    times = [{"round": n, "ms": 2.0 / n, "low": 1.9 / n, "high": 2.2 / n} for n in numbers]
    run["round_times"] = {"dense_ms": 3.5, "rounds": times, "turns": 16}
    html, markdown, _ = report(run, tmp_path)
    text = " ".join(Page(html).text.split())
    assert "Accuracy against latency, over the rounds" in text
    assert "All in turns, 16 each, in one short session" in text
    assert "Bars across: the interval of the share" in text
    assert "| 1.00 ms |" in markdown
    assert re.search(r"dense: [\d.]+ % at 3.50 ms; 1: [\d.]+ % at 2.00 ms", html)
    for one in times:
        one["low"] = one["high"] = None
    assert "Bars across" not in report(run, tmp_path)[0]
    run["round_times"] = {"untimed": "benchmark.rounds = false"}
    html = report(run, tmp_path)[0]
    assert "Their latency was not measured: benchmark.rounds = false." in Page(html).text
    assert "Accuracy against million multiply-adds, over the rounds" in html


@pytest.mark.usefixtures("undrawn")
def test_what_disturbed_both_is_said_once(tmp_path: Path) -> None:
    busy = [f"{name}: 2 processors, 100 % busy" for name in ("dense", "compressed")]
    found = {"verdict": "noisy", "reasons": [*busy, "dense: two modes", "clocks fell"], "knobs": {}}
    text = Page(report({**realistic(), "benchmark": found}, tmp_path)[0]).text
    assert text.count("100 % busy") == 1
    for said in ("dense and compressed: 2 processors, 100 % busy", "dense: two modes", "clocks fell"):
        assert said in text


def test_no_run_is_left_out_without_a_word(tmp_path: Path) -> None:
    run = realistic()
    run["dense"]["samples_ms"][5:25] = [45.5] * 20
    text = " ".join(Page(report(run, tmp_path)[0]).text.split())
    assert "22 of 700 dense runs (3.1 %, up to 45.5 ms)" in text
    assert "compressed runs (" not in text
