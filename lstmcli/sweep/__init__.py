"""Many runs: experiments (grids of variants and seeds) and tuning."""

SAFELY = ("-P",)
"""How Python is started for a worker: no module is imported from the current folder, where a `yaml.py` or a
`numpy.py` may lie that is not what its name says."""
