"""TensorBoard reads event files by name: the one that was begun last must come last."""

from __future__ import annotations

from lstmcli.run.telemetry.tensorboard import make_room


def name(second, process):
    return f"events.out.tfevents.{second}.host.{process}.0"


def fill(folder, *names):
    for each in names:
        (folder / each).write_text(each)


def in_order(folder):
    """The original names, in the order of the names they have now."""
    return [path.read_text() for path in sorted(folder.glob("events*"))]


def test_a_file_of_this_second_gives_way(tmp_path):
    fill(tmp_path, name(1700000000, 999))
    make_room(tmp_path, now=1700000000.9)
    fill(tmp_path, name(1700000000, 100))  # its process id is the lower one
    assert in_order(tmp_path) == [name(1700000000, 999), name(1700000000, 100)]


def test_files_of_a_clock_that_was_ahead_give_way_in_their_order(tmp_path):
    old = [name(1699999998, 5), name(1700000500, 7), name(1700000600, 3), name(1700000700, 1)]
    fill(tmp_path, *old)
    make_room(tmp_path, now=1700000000)
    fill(tmp_path, name(1700000000, 0))
    assert in_order(tmp_path) == [*old, name(1700000000, 0)]


def test_older_files_and_other_files_are_left_alone(tmp_path):
    fill(tmp_path, name(1600000000, 1), "metrics.jsonl", "events.out.tfevents.x")
    before = sorted(p.name for p in tmp_path.iterdir())
    make_room(tmp_path, now=1700000000)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
