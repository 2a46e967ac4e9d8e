#!/bin/sh
# PyMC-Marketing 1.3.0: at the default priors ten channels bring 7 times the sales before any data are seen.
#
# Documented, `LogisticSaturation`: "beta: asymptote that the saturated response approaches. Default prior: HalfNormal,
# sigma=2"; `MMM`: "the target variable and media channels are scaled (by default using max-absolute scaling)". So one
# channel's asymptote is expected at 1.6 times the largest sales that were ever seen, and every further channel gets the
# same again. Seen with 104 weeks: one channel brings .36 of the sales in the median of the prior and more than all of
# them in 15 % of 2000 draws; ten channels bring 7.4 times the sales, and more than all of them in every draw. What is
# not media must then be negative. Documentation and defaults name no number of channels.
#
# Ends with 0 while that is so, with 1 when it has changed. Takes some minutes; PYTHON is a Python 3.12 or later.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/prior.py" <<'PRIOR'
import numpy as np
import pandas as pd
from pymc_marketing.mmm import MMM, GeometricAdstock, LogisticSaturation

rng = np.random.default_rng(1)
weeks = pd.date_range("2024-01-01", periods=104, freq="7D")
sales = pd.Series(100.0 * np.exp(0.1 * rng.standard_normal(104)), name="y")
above = {}
for channels in (1, 10):
    names = [f"x{number}" for number in range(channels)]
    table = pd.DataFrame(rng.gamma(2.0, 1.0, (104, channels)), columns=names).assign(date=weeks)
    mmm = MMM(
        date_column="date", channel_columns=names, adstock=GeometricAdstock(l_max=8), saturation=LogisticSaturation()
    )
    mmm.sample_prior_predictive(table, sales, samples=2000, random_seed=1)
    media = mmm.idata["prior"]["channel_contribution"].sum(("date", "channel")).to_numpy().ravel() * sales.max()
    share = media / sales.sum()
    above[channels] = float((share > 1.0).mean())
    print(f"{channels} channels: media over sales, prior median {np.median(share):.2f}, "
          f"5 to 95 % {np.quantile(share, 0.05):.2f} to {np.quantile(share, 0.95):.2f}, "
          f"more than all sales in {100 * above[channels]:.1f} % of the draws")
raise SystemExit(not (0.05 < above[1] < 0.25 and above[10] > 0.99))
PRIOR
"${PYTHON:-python3.12}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pymc-marketing==1.3.0 pymc==6.3.2
"$folder/venv/bin/python" "$folder/prior.py"
