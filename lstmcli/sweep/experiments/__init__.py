"""Grids of runs that put a claim to the test: variants of one config, several seeds each, and what came
out of them as a table and a picture.

    schema.py    an experiment file, strict
    grid.py      the file becomes trials, each a config of its own
    trial.py     one trial: an ordinary run, then what is measured of it
    measure.py   the numbers of a run; measure_gradients.py those of its gradients
    conduct.py   trials side by side in processes, which are worker.py
    results.py   many trials become rows with mean and spread
    picture.py   and a figure
"""
