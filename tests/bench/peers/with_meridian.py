"""Meridian at its defaults on the files of `tests.bench.peer_worlds`; needs Python 3.12 and an environment with

google-meridian==2.1.*. A national model whose KPI is no revenue, so that its prior is the one on what all media bring;
knots and priors are its own, and spend is proportional to exposure. Argument: the directory of the files.
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
        frame[f"{name}_spend"] = exposure
    builder = DataFrameInputDataBuilder(kpi_type="non_revenue").with_kpi(frame).with_controls(frame, ["z"])
    builder = builder.with_media(frame, names, [f"{name}_spend" for name in names], names)
    begin = time.perf_counter()
    meridian = model.Meridian(builder.build())
    meridian.sample_posterior(n_chains=2, n_adapt=300, n_burnin=200, n_keep=500, seed=1)
    seconds = time.perf_counter() - begin
    brought = np.asarray(analyzer.Analyzer(meridian).incremental_outcome(use_kpi=True))
    shares = np.moveaxis(brought, -1, 0).reshape(len(names), -1) / float(world["kpi"].sum())
    posterior = meridian.inference_data.posterior
    r_hat = arviz.rhat(posterior[["roi_m", "alpha_m", "ec_m", "sigma"]])
    return {
        "peer": "Meridian 2.1",
        "file": path.stem,
        "kind": str(world["kind"]),
        "curve": str(world["curve"]),
        "seconds": seconds,
        "r_hat": max(float(np.nanmax(values.to_numpy())) for values in r_hat.data_vars.values()),
        "total": interval(shares.sum(axis=0), float(world["shares"].sum())),
        "shares": [interval(draws, float(truth)) for draws, truth in zip(shares, world["shares"], strict=True)],
    }


def interval(draws: np.ndarray, truth: float) -> dict:
    """Truth, mean and central 95 % interval."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"truth": truth, "mean": float(draws.mean()), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    with (directory / "meridian.jsonl").open("w") as file:
        for world_file in sorted(directory.glob("*.npz")):
            file.write(json.dumps(fitted(world_file)) + "\n")
            file.flush()
