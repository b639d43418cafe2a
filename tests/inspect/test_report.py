"""lstm report: one page that needs no network, says what could not be made, and lets nothing act."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from lstmcli.core.tables import Table
from lstmcli.inspect.page import Section, page, picture, tables, text
from lstmcli.inspect.report import POINTS, curve, curves_figure


class Reader(HTMLParser):
    """Tags that are opened and closed, and what is fetched."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.fetched, self.text = [], [], [], ""
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.fetched += [v for k, v in attributes if k in ("src", "href", "xlink:href") and v and v[0] != "#"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(path):
    found = Reader(path.read_text(encoding="utf-8"))
    assert found.open == [] and "script" not in found.tags
    assert all(address.startswith("data:image/png;base64,") for address in found.fetched)
    return found


def titles(path):
    return re.findall(r"<h2>(.*?)</h2>", path.read_text(encoding="utf-8"))


def test_the_page_of_a_text_run(lab):
    lab.train("r")
    outcome = lab.lstm("report", "r", "--tokens", "600")
    assert outcome.code == 0, outcome.err
    path = lab.path("r") / "report.html"
    assert str(path.relative_to(lab.folder)) in outcome.out
    assert titles(path) == ["Training", "Evaluation", "Samples", "Gates", "Gradients", "Config"]
    found = read(path)
    for word in ("6-gram of the training text", "hidden_size: 16", "complete", "16 + 16 units"):
        assert word in found.text, word
    assert found.tags.count("svg") == 1 and found.tags.count("img") == 2
    assert found.tags.count("pre") == 4  # three samples and the config


def test_parts_can_be_left_out_and_the_place_chosen(lab):
    lab.train("r")
    words = ("report", "r", "--no-eval", "--no-inside", "--output", "page.html", "--json")
    assert lab.lstm(*words).json == {"run": "r", "report": "page.html"}
    assert titles(lab.folder / "page.html") == ["Training", "Samples", "Config"]


def test_what_cannot_be_made_is_said_in_its_place(lab):
    lab.train("r")
    (lab.folder / "text.txt").unlink()
    outcome = lab.lstm("report", "r", "--output", "page.html")
    assert outcome.code == 0, outcome.err
    assert "not made:" in read(lab.folder / "page.html").text
    assert lab.lstm("report", "r", "--output", "no/folder/page.html").code == 7
    assert lab.lstm("report", "absent").code == 5


def test_nothing_on_a_page_acts():
    evil = "<script>alert(1)</script>\x1b[2J"
    made = page(evil, [(evil, evil)], [Section(evil, text(evil) + tables([Table(evil, [evil], [[evil]])]))])
    assert "<script" not in made and "\x1b" not in made


def test_curves_are_thinned_but_keep_their_order():
    records = [{"step": k, "train/loss": 1.0 / (k + 1)} for k in range(10 * POINTS)] + [{"step": 5, "x": 1}]
    steps, values = curve(records, "train/loss")
    assert len(steps) <= POINTS and steps == sorted(steps) and values[0] == 1.0
    (axes,) = curves_figure(records).axes
    assert axes.get_title(loc="left") == "loss"
    assert curves_figure([{"step": 1}]) is None


def test_a_picture_is_inside_the_page():
    figure = curves_figure([{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": 0.5}])
    assert picture(figure, "a <b>").startswith('<figure role="img" aria-label="a &lt;b&gt;"><svg')
    assert 'src="data:image/png;base64,' in picture(figure, "", drawing=False)


def test_the_page_of_a_task(lab):
    (lab.folder / "task.yaml").write_text(
        "data: {kind: synthetic, task: parity, length: 4}\nmodel: {hidden_size: 8, num_layers: 1}\n"
        "train: {max_steps: 4, batch_size: 4, threads: 1, precision: fp32}\nevaluation: {max_windows: 20}\n"
    )
    assert lab.lstm("train", "task.yaml", "--run", "t").code == 0
    outcome = lab.lstm("report", "t", "--output", "page.html")
    assert outcome.code == 0, outcome.err
    assert "parity" in read(lab.folder / "page.html").text
    for words in (["--tokens", "90"], ["--no-inside"]):  # there is no looking into a task
        refused = lab.lstm("report", "t", *words)
        assert refused.code == 2 and "of no use to t, which learned a synthetic task" in refused.err
