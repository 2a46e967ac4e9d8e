"""Meridian at its defaults on the files of `tests.bench.peer_worlds`, in the environment that is stated there.

A national model whose KPI is no revenue, so that its prior is the one on what all media bring; knots and priors are its
own. That prior is a law of KPI per unit of money, the same for every channel, so a channel's prior share of the outcome
is in proportion to its spend. The files have no spend: it is exposure times a constant of the channel with which all
channels cost the same over the file, since the units of exposure say nothing.
Arguments: the directory of the files, and names of some of them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import arviz
import numpy as np
import pandas as pd
from meridian.analysis import analyzer
from meridian.data.data_frame_input_data_builder import DataFrameInputDataBuilder
from meridian.model import model


def fitted(path: Path) -> dict:
    """One row: what it says of every channel's share of the outcome and of all together, beside the truth."""
    world = np.load(path)
    names = [f"x{index + 1}" for index in range(len(world["shares"]))]
    frame = pd.DataFrame({"time": world["dates"], "kpi": world["kpi"], "z": world["control"]})
    for name, exposure in zip(names, world["exposure"], strict=True):
        frame[name] = exposure
        frame[f"{name}_spend"] = exposure / exposure.sum()
    builder = DataFrameInputDataBuilder(kpi_type="non_revenue").with_kpi(frame).with_controls(frame, ["z"])
    builder = builder.with_media(frame, names, [f"{name}_spend" for name in names], names)
    begin = time.perf_counter()
    meridian = model.Meridian(builder.build())
    meridian.sample_posterior(n_chains=2, n_adapt=200, n_burnin=100, n_keep=300, seed=1)
    seconds = time.perf_counter() - begin
    brought = np.asarray(analyzer.Analyzer(meridian).incremental_outcome(use_kpi=True))
    shares = np.moveaxis(brought, -1, 0).reshape(len(names), -1) / float(world["kpi"].sum())
    posterior = meridian.inference_data.posterior
    r_hat = arviz.rhat(posterior[["roi_m", "alpha_m", "ec_m", "sigma"]])
    statistics = meridian.inference_data.sample_stats
    return {
        "peer": "Meridian 2.1",
        "file": path.stem,
        "kind": str(world["kind"]),
        "curve": str(world["curve"]),
        "seconds": seconds,
        "r_hat": max(float(np.nanmax(values.to_numpy())) for values in r_hat.data_vars.values()),
        "divergences": int(statistics["diverging"].sum()),
        "total": interval(shares.sum(axis=0), float(world["shares"].sum())),
        "shares": [interval(draws, float(truth)) for draws, truth in zip(shares, world["shares"], strict=True)],
    }


def interval(draws: np.ndarray, truth: float) -> dict:
    """Truth, mean and central 95 % interval."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"truth": truth, "mean": float(draws.mean()), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    directory, named = Path(sys.argv[1]), sys.argv[2:]
    result = directory / "meridian.jsonl"
    done = {json.loads(line)["file"] for line in result.read_text().splitlines()} if result.exists() else set()
    # What an earlier run left undone is done: one takes minutes a file.
    for name in named or sorted(path.stem for path in directory.glob("*.npz")):
        if name not in done:
            row = fitted(directory / f"{name}.npz")
            with result.open("a") as file:
                file.write(json.dumps(row) + "\n")
