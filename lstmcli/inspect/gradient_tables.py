"""What a person reads of gradients by lag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lstmcli.core.tables import Table
from lstmcli.engine.measures import gradients as measures

if TYPE_CHECKING:
    from lstmcli.inspect.gradients import GradientsFinding


def tables(finding: GradientsFinding) -> list[Table]:
    by_layer = [_by_lag(finding, number) for number in range(len(finding.first.layers))]
    by_layer[-1] = by_layer[-1]._replace(note=_note(finding))
    return [*by_layer, _reach(finding), _system(finding)]


def shown_lags(lags: int, window: int) -> list[int]:
    """The lags of a table's rows."""
    return sorted({lag for lag in (*measures.LAGS, window) if lag <= lags} | {lags})


def _by_lag(finding: GradientsFinding, number: int) -> Table:
    layers = {name: view.gradients.layers[number] for name, view in finding.views.items()}
    own = layers["trained"]
    columns = {name: norms.mean(1) for name, norms in own.states.items()}
    columns[f"{own.memory} median"] = own.states[own.memory].median(1).values
    if own.chain is not None:
        columns["chain"] = own.chain.mean(1)
    if own.forget_gates is not None:
        columns["forget gates"] = own.forget_gates.mean(1)
    if "initial" in layers:
        initial = {f"initial {name}": norms.mean(1) for name, norms in layers["initial"].states.items()}
        columns |= initial
    rows = [
        [str(lag), *(f"{float(norms[lag]):.1e}" for norms in columns.values())]
        for lag in shown_lags(finding.lags, finding.window)
    ]
    what = finding.about
    loss = "symbol's loss" if what["unit"] == "symbols" else "forecast's loss"
    title = (
        f"layer {number}: norm of the gradient of a {loss} with respect to the states k {what['unit']} before"
    )
    if number == 0:
        title = (
            f"{what['run']} at step {what['step']} on {what['data']}, mean over {what['positions']:,} "
            f"positions\n\n{title}"
        )
    return Table(title, ["k", *columns], rows, left=0)


def _note(finding: GradientsFinding) -> str:
    layer = finding.first.layers[-1]
    lines = [f"{', '.join(layer.states)}: exact, along every path, as backpropagation sends it back"]
    memory = layer.memory
    lines.append(
        f"chain: along the {memory} state alone, one-step derivatives d{memory}(t)/d{memory}(t-1) multiplied"
    )
    if layer.forget_gates is not None:
        lines.append("forget gates: their product alone, the constant error carousel")
    if "initial" in finding.views:
        lines.append("initial: the same model before its first update")
    return "\n".join(lines)


def _reach(finding: GradientsFinding) -> Table:
    unit, before = finding.about["unit"], finding.views.get("initial")
    columns = ["layer", "state", "half-life", "99% within"]
    columns += ["in window", "on average"] if finding.truncated else []
    columns += [] if before is None else ["initial half-life", "99% within"]
    rows = []
    for number, layer in enumerate(finding.first.layers):
        for name, norms in layer.states.items():
            mean = norms.mean(1).tolist()
            row = [str(number), name, *_lengths(mean)]
            if finding.truncated:
                row += [f"{share:.1%}" for share in measures.share_within(mean, finding.window)]
            if before is not None:
                row += _lengths(before.gradients.layers[number].states[name].mean(1).tolist())
            rows.append(row)
    note = (
        f"half-life: {unit} until the norm is half of what it is at k = 0; 99% within: so many {unit} hold "
        f"99% of the sum\nof the norms up to k = {finding.lags}"
    )
    if finding.truncated:
        note += (
            "; in window: the share of that sum that training reaches from the last step of\n"
            f"its window of {finding.window}, and on average over its steps"
        )
    return Table("how far back gradients reach", columns, rows, note, left=2)


def _lengths(mean: list[float]) -> list[str]:
    return [_half(mean), str(measures.lag_holding(mean))]


def _half(mean: list[float]) -> str:
    lag = measures.half_life(mean)
    return f"> {len(mean) - 1}" if lag is None else f"{lag:.1f}"


def _system(finding: GradientsFinding) -> Table:
    document = finding.document()
    views = {name: document[name] for name in finding.views}
    rows = [["numbers in a state", *(f"{view['state_size']:,}" for view in views.values())]]
    count = max((len(v["lyapunov"]["exponents"]) for v in views.values() if v["lyapunov"]), default=0)
    rows += [
        [f"Lyapunov exponent {k + 1}", *(_exponent(view["lyapunov"], k) for view in views.values())]
        for k in range(count)
    ]
    rows.append(["a change of the state fades by 1/e in", *(_memory(v["lyapunov"]) for v in views.values())])
    for k in (0, 1, 9):
        cells = [_singular(view["singular_values"], k) for view in views.values()]
        if any(cells):
            place = {0: "largest", 1: "second"}.get(k, f"{k + 1}th")
            rows.append([f"{place} singular value of a step", *cells])
    above = [view["singular_values"] for view in views.values()]
    if any(above):
        rows.append(["singular values above 1", *(f"{v['above_1']:.1%}" if v else "" for v in above)])
    note = (
        "exponents in nats per step, ± their standard error; singular values of the Jacobian of one step: "
        "median (p10 to p90)"
    )
    if any("more than" in cell for cell in rows[count + 1]):
        note += (
            "\nmore than: the leading exponents have not settled within the steps of this measurement, and "
            "were rising"
        )
    if not any(above):
        note += "\n(singular values are for smaller states: the whole Jacobian is needed)"
    return Table("the recurrence as a dynamical system", ["", *views], rows, note)


def _exponent(found: dict[str, Any] | None, k: int) -> str:
    if found is None or k >= len(found["exponents"]):
        return ""
    value, errors = found["exponents"][k], found["standard_errors"]
    return f"{value:+.4f}" + (f" ±{errors[k]:.4f}" if errors else "")


def _memory(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    largest, errors = found["exponents"][0], found["standard_errors"]
    if largest >= 0:
        return "never: it grows"
    settled = found["drift"][0] < max(0.1 * -largest, 2.0 * errors[0] if errors else 0.0)
    return f"{'' if settled else 'more than '}{-1.0 / largest:,.1f} steps"


def _singular(found: dict[str, Any] | None, k: int) -> str:
    if found is None or k >= len(found["median"]):
        return ""
    return f"{found['median'][k]:.2f} ({found['p10'][k]:.2f} to {found['p90'][k]:.2f})"
