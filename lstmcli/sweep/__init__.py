"""Many runs: experiments (grids of variants and seeds) and searches for better settings.

pool.py         a trial, and the processes that make trials side by side, for both
worker.py       such a process: it trains a trial and measures it
experiment.py   an experiment file becomes trials
results.py      their records become rows with mean and spread, and tables
picture.py      and a figure
space.py        what a search may vary
search.py       proposals of Optuna become trials, and these what is best
rates.py        the range test of learning rates
"""
