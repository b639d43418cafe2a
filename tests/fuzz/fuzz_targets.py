"""Everything that is fuzzed: for each reader a function of bytes, and seeds that it reads well.

A target may raise LstmError and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fuzz_files import (
    override_seeds,
    overrides,
    prompt,
    prompt_seeds,
    proposal,
    proposal_seeds,
    table,
    table_seeds,
    text,
    text_seeds,
    yaml_file,
    yaml_seeds,
)
from fuzz_keys import keys_of_run, plans, seeds
from fuzz_runs import (
    checkpoint,
    checkpoint_seeds,
    record_seeds,
    records,
    run_seeds,
    run_target,
    use_series,
    use_text,
)


class Target(NamedTuple):
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    share: int  # of 100 inputs


TARGETS = {
    "yaml": Target(yaml_file, yaml_seeds, 16),
    "overrides": Target(overrides, override_seeds, 13),
    "table": Target(table, table_seeds, 12),
    "text": Target(text, text_seeds, 12),
    "proposal": Target(proposal, proposal_seeds, 3),
    "prompt": Target(prompt, prompt_seeds, 14),
    "checkpoint": Target(checkpoint, checkpoint_seeds, 14),
    "records": Target(records, record_seeds, 6),
    "text-run": Target(run_target("text", use_text), run_seeds("text"), 4),
    "series-run": Target(run_target("series", use_series), run_seeds("series"), 2),
    "text-keys": Target(keys_of_run("text"), seeds, 2),
    "series-keys": Target(keys_of_run("series"), seeds, 1),
    "plans": Target(plans, seeds, 1),
}
"""By name; how often each is tried follows how quick it is."""
