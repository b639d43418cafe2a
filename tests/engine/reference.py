"""The LSTM in NumPy, float64, one scalar loop over time: slow, and what everything is held against."""

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lstm_forward(x, weight_ih, weight_hh, bias, h, c):
    """x (T, B, I) -> outputs (T, B, H), final h and c, and what backward needs."""
    outputs, tape = [], []
    for x_t in x:
        z = x_t @ weight_ih.T + h @ weight_hh.T + bias
        zi, zf, zg, zo = np.split(z, 4, axis=-1)
        i, f, g, o = sigmoid(zi), sigmoid(zf), np.tanh(zg), sigmoid(zo)
        new_c = f * c + i * g
        tape.append((x_t, h, c, i, f, g, o, new_c))
        c = new_c
        h = o * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c, tape


def lstm_backward(tape, weight_ih, weight_hh, d_outputs, d_h, d_c):
    """Back-propagation through time by hand: gradients of x, weights, bias and the initial state."""
    d_x = np.zeros((len(tape), *tape[0][0].shape))
    d_ih, d_hh = np.zeros_like(weight_ih), np.zeros_like(weight_hh)
    d_bias = np.zeros(len(weight_ih))
    for t in reversed(range(len(tape))):
        x_t, h, c, i, f, g, o, new_c = tape[t]
        d_h = d_h + d_outputs[t]
        tanh_c = np.tanh(new_c)
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_z = np.concatenate(
            [
                d_c * g * i * (1 - i),
                d_c * c * f * (1 - f),
                d_c * i * (1 - g**2),
                d_h * tanh_c * o * (1 - o),
            ],
            axis=-1,
        )
        d_ih += d_z.T @ x_t
        d_hh += d_z.T @ h
        d_bias += d_z.sum(0)
        d_x[t] = d_z @ weight_ih
        d_h = d_z @ weight_hh
        d_c = d_c * f
    return d_x, d_ih, d_hh, d_bias, d_h, d_c
