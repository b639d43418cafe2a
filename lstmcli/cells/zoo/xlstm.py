"""The LSTM with exponential gating."""

from __future__ import annotations

from torch import Tensor, maximum
from torch.nn import functional

from lstmcli.cells.base import GatedCell, State

LOG_ZERO = -1e30  # its exponential is 0, and it is finite: no inf - inf in the gradient


class SLSTM(GatedCell):
    """sLSTM: an input gate without upper bound, so that what is stored can be overruled later.

        i_t = exp    (W_i x_t + U_i h_{t-1} + b_i)      input gate
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)      forget gate
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)      cell input (z_t in the paper)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)      output gate
        c_t = f_t * c_{t-1} + i_t * g_t                 cell state
        n_t = f_t * n_{t-1} + i_t                       normaliser
        h_t = o_t * c_t / n_t

    so that c_t / n_t is a mean of all g so far, with weights. The exponential would overflow: c and n
    are kept divided by exp(m_t), which cancels in c_t / n_t.

        m_t  = max(log f_t + m_{t-1}, log i_t)          stabiliser
        i'_t = exp(log i_t - m_t)                       in place of i_t
        f'_t = exp(log f_t + m_{t-1} - m_t)             in place of f_t

    One of i' and f' is always 1, so that n_t >= 1 from the first step on. From the zero state (n = 0)
    nothing is kept and m_1 = log i_1. The activation shown for the input gate is i', which has a bound.

    Source: Beck et al. 2024 (xLSTM), the forget gate in its sigmoid form; one head, dense recurrence.
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell", "normalizer", "stabilizer")
    zoneout_states = ("hidden",)  # the other three are one number, kept as a ratio

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        _, c, n, m = state
        g, o = z[2].tanh(), z[3].sigmoid()
        log_kept = (functional.logsigmoid(z[1]) + m).masked_fill(n == 0, LOG_ZERO)
        m = maximum(log_kept, z[0])
        i, kept = (z[0] - m).exp(), (log_kept - m).exp()
        c = kept * c + i * g
        n = kept * n + i
        return (o * c / n, c, n, m), (i, z[1].sigmoid(), g, o)
