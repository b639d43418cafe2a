"""Pictures of forecasts: what is in them, which files they become, and what can go wrong."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lstmcli.core.errors import ResourceError, UsageError
from lstmcli.kinds.series.plot import ForecastPanel, calibration_figure, forecast_figure, plot_forecasts
from lstmcli.kinds.series.terminal_plot import terminal_plot


def panel(title="passengers", n=60, h=12, times=None):
    times = np.datetime64("1949-01", "M") + np.arange(n + h) if times is None else times
    steps = np.arange(n + h)
    values = 100 + 10 * np.sin(steps * 2 * np.pi / 12) + steps
    median = values[n:] + 1
    bands = [(median - 9, median + 9, "90% interval"), (median - 3, median + 3, "50% interval")]
    return ForecastPanel(title, times[:n], values[:n], times[n:], median, bands, values[n:])


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".SVG", b"<?xml")])
def test_the_suffix_says_the_kind_and_the_same_forecast_gives_the_same_bytes(tmp_path, suffix, magic):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        plot_forecasts(path, [panel(), panel()], "AirPassengers")
    assert paths[0].read_bytes().startswith(magic)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_another_suffix_is_a_usage_error_that_names_the_possible_ones(tmp_path):
    for name in ("plot.jpg", "plot"):
        with pytest.raises(UsageError, match=r"\.png, \.pdf or \.svg"):
            plot_forecasts(tmp_path / name, [panel()])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_a_resource_error(tmp_path):
    with pytest.raises(ResourceError, match=r"nowhere.*cannot be written"):
        plot_forecasts(tmp_path / "nowhere" / "plot.png", [panel()])


def test_an_svg_holds_the_titles_and_one_legend_as_text(tmp_path):
    plot_forecasts(tmp_path / "plot.svg", [panel("OT, $5 & $6"), panel("HUFL")], "ETTh1")
    text = (tmp_path / "plot.svg").read_text()
    for word in ("ETTh1", "OT, $5 &amp; $6", "HUFL"):
        assert word in text
    for label in ("history", "forecast (median)", "actual", "90% interval", "50% interval"):
        assert text.count(f">{label}<") == 1


def test_the_lines_are_the_values():
    """The median begins at the last observed value; a band is drawn where it was given."""
    given = panel()
    axes = forecast_figure([given]).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["history"].get_ydata(), given.history)
    np.testing.assert_array_equal(
        lines["forecast (median)"].get_ydata(), np.append(given.history[-1], given.median)
    )
    np.testing.assert_array_equal(lines["actual"].get_ydata(), given.actual)
    assert [band.get_label() for band in axes.collections] == ["90% interval", "50% interval"]
    extents = axes.collections[0].get_paths()[0].get_extents()
    assert (extents.y0, extents.y1) == pytest.approx((min(given.median) - 9, max(given.median) + 9))


def test_the_widest_band_is_the_lightest():
    bands = forecast_figure([panel()]).axes[0].collections
    assert bands[0].get_alpha() < bands[1].get_alpha()


def test_at_most_twelve_panels_and_the_title_says_so():
    figure = forecast_figure([panel(str(i), n=9, h=3) for i in range(13)], "M4")
    assert len(figure.axes) == 12 and figure.get_suptitle() == "M4 (the first 12 of 13)"
    assert len(forecast_figure([panel(str(i), n=9, h=3) for i in range(5)]).axes) == 5


def test_a_forecast_without_history_actual_or_bands_and_with_gaps_can_be_drawn(tmp_path):
    gaps = panel(times=np.arange(72))
    gaps.history[[3, -1]] = np.nan
    bare = replace(panel(), bands=[], actual=None, samples=np.ones((3, 12)))
    empty = replace(bare, history=np.empty(0), history_times=bare.times[:0])
    plot_forecasts(tmp_path / "plot.png", [gaps, bare, empty])
    for each in (gaps, bare, empty):
        assert terminal_plot(each, 60)


def test_whole_numbers_are_labelled_as_whole_numbers():
    figure = forecast_figure([panel(n=4, h=3, times=np.arange(2_000_000, 2_000_007))])
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels and all(label.isdigit() and 1_999_990 < int(label) < 2_000_010 for label in labels)


def test_importing_the_module_does_not_import_matplotlib_and_drawing_leaves_pyplot_alone():
    code = """
import sys, numpy as np
from lstmcli.kinds.series.plot import ForecastPanel, forecast_figure
from lstmcli.kinds.series.terminal_plot import terminal_plot
assert "matplotlib" not in sys.modules and "torch" not in sys.modules
forecast_figure([ForecastPanel("a", np.arange(3), np.ones(3), np.arange(3, 5), np.ones(2))])
assert "matplotlib.pyplot" not in sys.modules
sys.modules["matplotlib"] = None
try:
    forecast_figure([ForecastPanel("a", np.arange(3), np.ones(3), np.arange(3, 5), np.ones(2))])
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("UsageError a plot needs matplotlib")


def test_a_users_own_style_does_not_reach_the_picture(tmp_path):
    import matplotlib

    plot_forecasts(tmp_path / "plain.png", [panel()])
    with matplotlib.rc_context({"lines.marker": "X", "figure.facecolor": "black"}):
        plot_forecasts(tmp_path / "styled.png", [panel()])
        assert matplotlib.rcParams["lines.marker"] == "X"
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "styled.png").read_bytes()


def test_calibration_shows_the_levels():
    axes = calibration_figure([0.1, 0.5, 0.9], [0.2, 0.5, 0.8]).axes[0]
    line = next(line for line in axes.get_lines() if line.get_label() == "forecast")
    assert line.get_xydata().tolist() == [[0.1, 0.2], [0.5, 0.5], [0.9, 0.8]]


@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize(("n", "h"), [(60, 12), (5, 24), (3000, 48), (1, 1)])
def test_a_terminal_plot_keeps_to_its_size(width, unicode, n, h):
    times = np.datetime64("2016-07-01T00", "us") + np.arange(n + h) * np.timedelta64(1, "h")
    text = terminal_plot(panel("a title longer than twenty columns", n, h, times), width, 8, unicode)
    lines = text.split("\n")
    assert len(lines) == 1 + 8 + 1
    assert max(len(line) for line in lines) <= width
    assert unicode or text.isascii()
    assert all(line.isprintable() for line in lines)


def test_a_terminal_plot_of_a_rising_line_rises():
    """ASCII, every step a column: history in stars, then the bar, then the forecast with its band."""
    times = np.arange(20)
    flat = np.arange(20.0)
    given = ForecastPanel(
        "", times[:10], flat[:10], times[10:], flat[10:], [(flat[10:] - 2, flat[10:] + 0, "")]
    )
    rows = terminal_plot(given, 25, 10, unicode=False).split("\n")
    assert rows[0].lstrip().startswith("19|") and rows[-2].lstrip().startswith("0|")
    halves = [row.split("|")[1:] for row in rows[:-1]]
    for half, mark in ((0, "*"), (1, "o")):
        columns = {row: parts[half].index(mark) for row, parts in enumerate(halves) if mark in parts[half]}
        assert list(columns.values()) == sorted(columns.values(), reverse=True) and len(columns) >= 4
    stars, circles = (
        [row for row, parts in enumerate(halves) if m in parts[h]] for h, m in ((0, "*"), (1, "o"))
    )
    assert min(stars) >= max(circles) and max(stars) == 9 and min(circles) == 0
    drawn = "\n".join(row.split("|", 1)[1] for row in rows[:-1])
    assert "*" in drawn and "o" in drawn and "." in drawn
    assert all("o" not in row.split("|")[1] and "*" not in row.split("|")[2] for row in rows[:-1])


def test_times_at_the_bottom_of_a_terminal_plot():
    hours = np.datetime64("2016-07-01T00", "us") + np.arange(72) * np.timedelta64(1, "h")
    assert terminal_plot(panel(times=hours), 100).split("\n")[-1].split("  ")[-1] == "2016-07-03 23:00"
    months = (np.datetime64("1949-01", "M") + np.arange(72)).astype("M8[us]")
    foot = terminal_plot(panel(times=months), 80).split("\n")[-1].split()
    assert foot[0] == "1949-01-01" and foot[-1] == "1954-12-01"


@pytest.mark.parametrize("value", [0.0, 5.0, 1e-9, 1e12, np.nan])
def test_a_constant_or_missing_series_can_be_drawn(value):
    given = ForecastPanel("", np.arange(8), np.full(8, value), np.arange(8, 10), np.full(2, value))
    assert len(terminal_plot(given, 40).split("\n")) == 11
