"""A text larger than the memory that is allowed; `make test-slow`."""

import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from pathlib import Path
folder = Path(sys.argv[1])
from lstmcli.kinds.text.settings import TextSource
from lstmcli.kinds.text.batches import StreamBatches
from lstmcli.kinds.text.source import prepare_text
data = prepare_text(TextSource(path=str(folder / "large.txt"), cache=str(folder / "cache")))
batches = StreamBatches(data.train, 64, 128, 1)
for step in (0, 1, batches.steps_per_epoch - 1):
    assert batches[step].inputs.shape == (128, 64)
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(data.summary["mb_per_second"], own)
"""


@pytest.mark.slow
def test_a_gigabyte_is_prepared_in_bounded_memory(tmp_path):
    line = b"To be, or not to be, that is the question: whether 'tis nobler in the mind\n"
    with (tmp_path / "large.txt").open("wb") as file:
        for _ in range(1024):
            file.write(line * (1024 * 1024 // len(line)))
    # The ids are memory-mapped: address space is allowed for them, resident memory is measured.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )
    assert done.returncode == 0, done.stderr
    speed, peak = map(float, done.stdout.split())
    print(f"{speed:.0f} MB/s, {peak:.0f} MiB")
    assert peak < 2000.0, f"{peak:.0f} MiB"
