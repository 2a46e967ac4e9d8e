"""PyMC-Marketing at its defaults on the files of `tests.bench.peer_worlds`, in the environment that is stated there.

Geometric adstock over 8 rows, logistic saturation, two yearly harmonics, as its example has them; every prior is its
own. Arguments: the directory of the files, and names of some of them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import arviz
import numpy as np
import pandas as pd
from pymc_marketing.mmm import MMM, GeometricAdstock, LogisticSaturation


def fitted(path: Path) -> dict:
    """One row: what it says of every channel's share of the outcome and of all together, beside the truth."""
    world = np.load(path)
    names = [f"x{index + 1}" for index in range(len(world["shares"]))]
    frame = pd.DataFrame({"date": pd.to_datetime(world["dates"]), "z": world["control"]})
    for name, exposure in zip(names, world["exposure"], strict=True):
        frame[name] = exposure
    mmm = MMM(
        date_column="date",
        channel_columns=names,
        control_columns=["z"],
        adstock=GeometricAdstock(l_max=8),
        saturation=LogisticSaturation(),
        yearly_seasonality=2,
    )
    begin = time.perf_counter()
    mmm.fit(
        frame,
        pd.Series(world["kpi"], name="y"),
        chains=2,
        draws=500,
        tune=500,
        nuts_sampler="numpyro",
        random_seed=1,
        progressbar=False,
    )
    seconds = time.perf_counter() - begin
    posterior = mmm.idata["posterior"].to_dataset()
    scale = float(np.max(np.abs(world["kpi"])))
    contribution = posterior["channel_contribution"].sum("date") * scale / float(world["kpi"].sum())
    shares = contribution.transpose("channel", "chain", "draw").to_numpy().reshape(len(names), -1)
    scalars = posterior[[n for n in posterior.data_vars if "date" not in posterior[n].dims]]
    r_hat = max(float(np.nanmax(values.to_numpy())) for values in arviz.rhat(scalars).data_vars.values())
    return {
        "peer": "PyMC-Marketing 1.3",
        "file": path.stem,
        "kind": str(world["kind"]),
        "curve": str(world["curve"]),
        "seconds": seconds,
        "r_hat": r_hat,
        "divergences": int(mmm.idata["sample_stats"]["diverging"].sum()),
        "total": interval(shares.sum(axis=0), float(world["shares"].sum())),
        "shares": [interval(draws, float(truth)) for draws, truth in zip(shares, world["shares"], strict=True)],
    }


def interval(draws: np.ndarray, truth: float) -> dict:
    """Truth, mean and central 95 % interval."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"truth": truth, "mean": float(draws.mean()), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    directory, named = Path(sys.argv[1]), sys.argv[2:]
    result = directory / "pymc_marketing.jsonl"
    done = {json.loads(line)["file"] for line in result.read_text().splitlines()} if result.exists() else set()
    for name in named or sorted(path.stem for path in directory.glob("*.npz")):
        if name not in done:
            row = fitted(directory / f"{name}.npz")
            with result.open("a") as file:
                file.write(json.dumps(row) + "\n")
