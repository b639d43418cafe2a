"""Every built-in cell in NumPy, float64, written from its paper: slow, readable, and independent of the
classes that it is held against.

A reference is `cell(x, state, p)`: x (T, B, I), state a tuple of arrays (B, H), p the parameters by name.
W_k, U_k and b_k are those of gate k; what else a cell has goes by the name in its paper's equations. It
returns the states after every step, one array (T, B, H) per state, and the gates by name likewise.
"""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def over_time(step):
    """The step (x_t, state, p) -> (state, gates), for a whole sequence."""

    def run(x, state, p):
        states, gates = [], []
        for x_t in x:
            state, activations = step(x_t, state, p)
            states.append(state)
            gates.append(activations)
        by_state = tuple(np.stack(values) for values in zip(*states, strict=True))
        return by_state, {name: np.stack([g[name] for g in gates]) for name in gates[0]}

    return run


def affine(p, gate, x, h):
    """W x + U h + b of one gate, row by row of the batch."""
    return np.stack([p[f"W_{gate}"] @ x[k] + p[f"U_{gate}"] @ h[k] + p[f"b_{gate}"] for k in range(len(x))])


def from_input(p, gate, x):
    return np.stack([p[f"W_{gate}"] @ row + p[f"b_{gate}"] for row in x])


def product(matrix, rows):
    return np.stack([matrix @ row for row in rows])


def lstm(x_t, state, p):
    h, c = state
    i = sigmoid(affine(p, "input", x_t, h))
    f = sigmoid(affine(p, "forget", x_t, h))
    g = np.tanh(affine(p, "cell", x_t, h))
    o = sigmoid(affine(p, "output", x_t, h))
    c = c * f + g * i
    return (np.tanh(c) * o, c), {"input": i, "forget": f, "cell": g, "output": o}


def lstm_peephole(x_t, state, p):
    h, c = state
    i = sigmoid(affine(p, "input", x_t, h) + p["input_peephole"] * c)
    f = sigmoid(affine(p, "forget", x_t, h) + p["forget_peephole"] * c)
    g = np.tanh(affine(p, "cell", x_t, h))
    c = g * i + c * f
    o = sigmoid(affine(p, "output", x_t, h) + p["output_peephole"] * c)
    return (np.tanh(c) * o, c), {"input": i, "forget": f, "cell": g, "output": o}


def lstm_no_input_gate(x_t, state, p):
    h, c = state
    f = sigmoid(affine(p, "forget", x_t, h))
    g = np.tanh(affine(p, "cell", x_t, h))
    o = sigmoid(affine(p, "output", x_t, h))
    c = g * 1.0 + c * f
    return (np.tanh(c) * o, c), {"forget": f, "cell": g, "output": o}


def lstm_no_forget_gate(x_t, state, p):
    h, c = state
    i = sigmoid(affine(p, "input", x_t, h))
    g = np.tanh(affine(p, "cell", x_t, h))
    o = sigmoid(affine(p, "output", x_t, h))
    c = g * i + c * 1.0
    return (np.tanh(c) * o, c), {"input": i, "cell": g, "output": o}


def lstm_no_output_gate(x_t, state, p):
    h, c = state
    i = sigmoid(affine(p, "input", x_t, h))
    f = sigmoid(affine(p, "forget", x_t, h))
    g = np.tanh(affine(p, "cell", x_t, h))
    c = g * i + c * f
    return (np.tanh(c) * 1.0, c), {"input": i, "forget": f, "cell": g}


def lstm_no_input_activation(x_t, state, p):
    h, c = state
    i = sigmoid(affine(p, "input", x_t, h))
    f = sigmoid(affine(p, "forget", x_t, h))
    g = affine(p, "cell", x_t, h)
    o = sigmoid(affine(p, "output", x_t, h))
    c = g * i + c * f
    return (np.tanh(c) * o, c), {"input": i, "forget": f, "cell": g, "output": o}


def lstm_no_output_activation(x_t, state, p):
    h, c = state
    i = sigmoid(affine(p, "input", x_t, h))
    f = sigmoid(affine(p, "forget", x_t, h))
    g = np.tanh(affine(p, "cell", x_t, h))
    o = sigmoid(affine(p, "output", x_t, h))
    c = g * i + c * f
    return (c * o, c), {"input": i, "forget": f, "cell": g, "output": o}


def lstm_coupled(x_t, state, p):
    h, c = state
    i = 1.0 - sigmoid(affine(p, "forget", x_t, h))
    f = 1.0 - i
    g = np.tanh(affine(p, "cell", x_t, h))
    o = sigmoid(affine(p, "output", x_t, h))
    c = g * i + c * f
    return (np.tanh(c) * o, c), {"forget": f, "cell": g, "output": o}


def lstm_full_gate_recurrence(x_t, state, p):
    """R_ab leads from gate b of the step before to gate a."""
    h, c, *before = state

    def gate(name):
        total = affine(p, name, x_t, h)
        for other, value in zip(("input", "forget", "output"), before, strict=True):
            total = total + product(p[f"R_{name}_{other}"], value)
        return sigmoid(total)

    i, f, o = gate("input"), gate("forget"), gate("output")
    g = np.tanh(affine(p, "cell", x_t, h))
    c = g * i + c * f
    return (np.tanh(c) * o, c, i, f, o), {"input": i, "forget": f, "cell": g, "output": o}


def layer_norm(v, gain, bias):
    """Over the last axis, with the biased variance."""
    rows = []
    for row in v:
        mean = sum(row) / len(row)
        variance = sum((value - mean) ** 2 for value in row) / len(row)
        rows.append((row - mean) / np.sqrt(variance + 1e-5) * gain + bias)
    return np.stack(rows)


def lstm_layer_norm(x_t, state, p):
    h, c = state
    z = {
        gate: layer_norm(from_input(p, gate, x_t), p[f"{gate}_input_gain"], 0.0)
        + layer_norm(product(p[f"U_{gate}"], h), p[f"{gate}_recurrent_gain"], p[f"{gate}_bias"])
        for gate in ("input", "forget", "cell", "output")
    }
    i, f, g, o = sigmoid(z["input"]), sigmoid(z["forget"]), np.tanh(z["cell"]), sigmoid(z["output"])
    c = g * i + c * f
    h = np.tanh(layer_norm(c, p["state_gain"], p["state_bias"])) * o
    return (h, c), {"input": i, "forget": f, "cell": g, "output": o}


def gru(x_t, state, p):
    (h,) = state
    r = sigmoid(affine(p, "reset", x_t, h))
    z = sigmoid(affine(p, "update", x_t, h))
    n = np.tanh(from_input(p, "candidate", x_t) + r * (product(p["U_candidate"], h) + p["candidate_bias"]))
    return ((1.0 - z) * n + z * h,), {"reset": r, "update": z, "candidate": n}


def gru_reset_before(x_t, state, p):
    (h,) = state
    r = sigmoid(affine(p, "reset", x_t, h))
    z = sigmoid(affine(p, "update", x_t, h))
    n = np.tanh(affine(p, "candidate", x_t, r * h))
    return ((1.0 - z) * n + z * h,), {"reset": r, "update": z, "candidate": n}


def rnn(x_t, state, p):
    h = np.tanh(affine(p, "candidate", x_t, state[0]))
    return (h,), {"candidate": h}


def rnn_relu(x_t, state, p):
    h = np.maximum(0.0, affine(p, "candidate", x_t, state[0]))
    return (h,), {"candidate": h}


def janet(x_t, state, p):
    (c,) = state
    s = affine(p, "forget", x_t, c)
    g = np.tanh(affine(p, "cell", x_t, c))
    c = sigmoid(s) * c + (1.0 - sigmoid(s - 1.0)) * g
    return (c,), {"forget": sigmoid(s), "cell": g}


def slstm_plain(x, state, p):
    """Without a stabiliser: for moderate values. Only h is comparable with the stabilised form, so the
    states are h, and c / n as the others cancel."""
    h, c, n, m = state
    c, n = c * np.exp(m), n * np.exp(m)
    hidden, ratios = [], []
    for x_t in x:
        i = np.exp(affine(p, "input", x_t, h))
        f = sigmoid(affine(p, "forget", x_t, h))
        z = np.tanh(affine(p, "cell", x_t, h))
        o = sigmoid(affine(p, "output", x_t, h))
        c = f * c + i * z
        n = f * n + i
        h = o * (c / n)
        hidden.append(h)
        ratios.append(c / n)
    return np.stack(hidden), np.stack(ratios)


def slstm(x_t, state, p):
    h, c, n, m = state
    log_i = affine(p, "input", x_t, h)
    f = sigmoid(affine(p, "forget", x_t, h))
    z = np.tanh(affine(p, "cell", x_t, h))
    o = sigmoid(affine(p, "output", x_t, h))
    new_m = np.maximum(np.log(f) + m, log_i)
    i_stable, f_stable = np.exp(log_i - new_m), np.exp(np.log(f) + m - new_m)
    c = f_stable * c + i_stable * z
    n = f_stable * n + i_stable
    return (o * (c / n), c, n, new_m), {"input": i_stable, "forget": f, "cell": z, "output": o}


def mingru(x_t, state, p):
    z = sigmoid(from_input(p, "update", x_t))
    candidate = from_input(p, "candidate", x_t)
    return ((1.0 - z) * state[0] + z * candidate,), {"update": z, "candidate": candidate}


def minlstm(x_t, state, p):
    f, i = sigmoid(from_input(p, "forget", x_t)), sigmoid(from_input(p, "input", x_t))
    f, i = f / (f + i), i / (f + i)
    candidate = from_input(p, "candidate", x_t)
    return (f * state[0] + i * candidate,), {"input": i, "forget": f, "candidate": candidate}


def multiplicative_lstm(x_t, state, p):
    h, c = state
    m = product(p["W_m"], x_t) * product(p["U_m"], h)
    return lstm(x_t, (m, c), p)


def mogrifier_lstm(x_t, state, p):
    """Five rounds, counted as in the paper: odd ones change x, even ones h."""
    h, c = state
    x_t = 2.0 * sigmoid(product(p["Q_1"], h)) * x_t
    h = 2.0 * sigmoid(product(p["Q_2"], x_t)) * h
    x_t = 2.0 * sigmoid(product(p["Q_3"], h)) * x_t
    h = 2.0 * sigmoid(product(p["Q_4"], x_t)) * h
    x_t = 2.0 * sigmoid(product(p["Q_5"], h)) * x_t
    return lstm(x_t, (h, c), p)


def projection_lstm(x_t, state, p):
    (m, c), gates = lstm(x_t, state, p)
    return (product(p["P"], m), c), gates


REFERENCES = {
    "lstm": over_time(lstm),
    "lstm-readable": over_time(lstm),
    "lstm-peephole": over_time(lstm_peephole),
    "lstm-no-input-gate": over_time(lstm_no_input_gate),
    "lstm-no-forget-gate": over_time(lstm_no_forget_gate),
    "lstm-no-output-gate": over_time(lstm_no_output_gate),
    "lstm-no-input-activation": over_time(lstm_no_input_activation),
    "lstm-no-output-activation": over_time(lstm_no_output_activation),
    "lstm-coupled": over_time(lstm_coupled),
    "lstm-full-gate-recurrence": over_time(lstm_full_gate_recurrence),
    "lstm-layer-norm": over_time(lstm_layer_norm),
    "gru": over_time(gru),
    "gru-reset-before": over_time(gru_reset_before),
    "rnn": over_time(rnn),
    "rnn-relu": over_time(rnn_relu),
    "janet": over_time(janet),
    "slstm": over_time(slstm),
    "minlstm": over_time(minlstm),
    "mingru": over_time(mingru),
    "multiplicative-lstm": over_time(multiplicative_lstm),
    "mogrifier-lstm": over_time(mogrifier_lstm),
    "projection-lstm": over_time(projection_lstm),
}
"""By the name of the cell; a cell without an entry fails the tests."""
