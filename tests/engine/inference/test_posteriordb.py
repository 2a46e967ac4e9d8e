"""The samplers against reference posteriors of posteriordb (stan-dev/posteriordb, three models, read as published).

Means and their Monte Carlo errors: `reference_posteriors/summary_statistics/mean/mean`, of 10 000 nearly independent
draws by Stan (10 chains of 10 000 draws, thinned by 10); commits 7e52000 (arK, gp_regr) and e354533 (eight schools).
Standard deviations: from those means and `summary_statistics/mean_squared_value` of the same runs, commit 28f8d3d;
eight schools stands there as eight_schools_centered, with draws of the non-centred program.
Data: stan-dev/stat_comp_benchmarks, commit 86586be, where posteriordb took arK and gp_pois_regr from; Rubin (1981).
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import ndtr

from engine.distributions.distribution import Gamma, HalfNormal
from engine.inference.backend import Backend
from engine.inference.batch import FitSettings
from engine.inference.diagnostics import ess_bulk
from engine.inference.fit import Seed
from engine.inference.nuts import Nuts
from engine.inference.precision import enable_float64
from engine.inference.prior_map import PriorMap, tabulate
from engine.inference.target import Target, observed_curvature

enable_float64()


def half_cauchy(z: Array, scale: float) -> Array:
    """The half-Cauchy quantile of a standard normal coordinate, from whichever tail is accurate."""
    upper = jnp.tan(0.5 * jnp.pi * ndtr(-jnp.maximum(z, 0.0)))
    lower = jnp.tan(0.5 * jnp.pi * ndtr(jnp.minimum(z, 0.0)))
    return scale * jnp.where(z < 0.0, lower, 1.0 / upper)


class Posterior:
    """What the three targets have in common: every quantity is a parameter, and the curvature is the observed one."""

    noise_dimension = 1

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.quantity_names

    def curvature(self, z: Array, y: Array) -> Array:
        return observed_curvature(self.log_likelihood, z, y)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EightSchools(Posterior):
    """y_j ~ N(theta_j, sigma_j), theta_j ~ N(mu, tau), mu ~ N(0, 5), tau ~ half-Cauchy(5); non-centred."""

    sigma: Array

    dimension = 10
    quantity_names = (*(f"theta[{j}]" for j in range(1, 9)), "mu", "tau")

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        mu, tau = 5.0 * z[8:9], half_cauchy(z[9:10], 5.0)
        return jnp.concatenate([mu + tau * z[:8], mu, tau])

    def log_likelihood(self, z: Array, y: Array) -> Array:
        theta = self.quantities(z, y, z)[:8]
        return -0.5 * jnp.sum(((y - theta) / self.sigma[:, None]) ** 2, axis=0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Autoregression(Posterior):
    """AR(5) given the first five values; alpha, beta ~ N(0, 10), sigma ~ half-Cauchy(2.5)."""

    dimension = 7
    quantity_names = ("alpha", *(f"beta[{k}]" for k in range(1, 6)), "sigma")

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        return jnp.concatenate([10.0 * z[:6], half_cauchy(z[6:], 2.5)])

    def log_likelihood(self, z: Array, y: Array) -> Array:
        alpha, *beta, sigma = self.quantities(z, y, z)
        mean = alpha + sum(coefficient * y[5 - k : y.shape[0] - k] for k, coefficient in enumerate(beta, start=1))
        return jnp.sum(-0.5 * ((y[5:] - mean) / sigma) ** 2 - jnp.log(sigma), axis=0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaussianProcess(Posterior):
    """Kernel alpha² exp(-d² / 2 rho²), noise variance sigma; rho ~ Gamma(25, 4), alpha ~ N⁺(0, 2), sigma ~ N⁺(0, 1)."""

    x: Array
    priors: PriorMap

    dimension = 3
    quantity_names = ("rho", "alpha", "sigma")

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        return self.priors.parameters(z)

    def log_likelihood(self, z: Array, y: Array) -> Array:
        rho, alpha, sigma = self.priors.parameters(z)[:, :, None, None]
        squared = (self.x[:, None] - self.x[None]) ** 2
        factor = jnp.linalg.cholesky(alpha**2 * jnp.exp(-0.5 * squared / rho**2) + sigma * jnp.eye(self.x.size))
        white = solve_triangular(factor, y.T[:, :, None], lower=True)[:, :, 0]
        determinant = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), axis=1)
        return -0.5 * jnp.sum(white**2, axis=1) - determinant


@dataclass(frozen=True)
class Reference:
    """A posterior of posteriordb: target, data [T], means, their Monte Carlo errors, mean squares by quantity."""

    name: str
    target: Target
    y: list[float]
    mean: list[float]
    error: list[float]
    mean_square: list[float]


# fmt: off
ARK = [
    0.729385275296256, 0.829763592326138, 0.783952709087295, 1.02595891054919, 0.969682441192509,
    1.08288592175834, 0.706389146531181, 0.776924397131738, 0.461802947592494, 0.638599756526175,
    0.374234442900993, 0.0854966416340545, -0.126014923296092, -0.29341513264683, -0.261730880175093,
    -0.335922137216444, -0.501989576638152, -0.64173995319694, -0.622462952277644, -0.850899723800135,
    -0.867835180697812, -1.01638531442171, -1.05589014538759, -0.969481231939393, -1.06725191691958,
    -0.84309890551111, -0.682700614885586, -0.444657348873377, -0.592038709023798, -0.51056898146948,
    -0.4178858435044, -0.173616875144782, -0.107250094020246, -0.0355025515905346, 0.34321684590779,
    0.384190341371906, 0.496087695010727, 0.708451160491867, 0.596280661478939, 0.641442415152959,
    0.651322273548654, 0.594215348383588, 0.777941417571685, 0.730776232521844, 0.482247269436388,
    0.532037223409171, 0.485102217466375, 0.368552121947764, 0.353326811282966, 0.163369000196018,
    0.253038940955425, 0.000662142955587017, -0.0157674957606101, -0.0144909053918993, -0.0252628993474995,
    -0.00562561275818779, -0.318917733201166, -0.0227791611780233, -0.0716865706590353, -0.185018251415619,
    -0.235007568241763, -0.124311187950503, -0.130492356525083, -0.199477772558471, 0.0775739320050886,
    -0.162852211064376, 0.0234645663166571, -0.0646807914459764, 0.0845324980831258, 0.0550150772764736,
    0.141742407422407, 0.087663822191961, -0.0528467198143955, 0.0695217091527049, -0.101449997046079,
    -0.0688806547212088, -0.251207322706364, -0.390287282754959, -0.167628361140929, -0.279163551699556,
    -0.312125350629681, -0.286550254685909, -0.411770162210457, -0.49820984576771, -0.502852278682366,
    -0.739400448047319, -0.249228092418385, -0.471015885895547, -0.464572707570607, -0.445705811708705,
    -0.284423712071644, -0.0227786997826842, -0.0605507195812691, 0.0662256249403969, 0.140523292748878,
    0.276339488205285, 0.377223367072916, 0.610304459776194, 0.880869469675832, 0.788517426999928,
    0.801363239461586, 0.660967819493831, 0.809766919626932, 0.820507727387276, 0.980756296603693,
    0.724038884732822, 0.931858716590109, 0.850488155137187, 0.480591863826206, 0.508581134199685,
    0.416112609193462, 0.314668551777029, -0.0281539189230603, -0.0717016520912123, -0.143920659210904,
    -0.522366105075654, -0.403362110854399, -0.688632934893217, -0.694717057205284, -0.649655707682936,
    -0.992699298061944, -0.935409881682795, -0.896986454560753, -0.978152357233651, -1.06684060798515,
    -0.953562142365608, -0.757077368188084, -0.842575543068801, -0.697769743062594, -0.316558185831992,
    -0.387821730048785, -0.0671162463283059, -0.0385154998998829, 0.0895646812575233, 0.145457893512147,
    0.185213165355683, 0.395612761657211, 0.685264428400386, 0.55631078123181, 0.710844528819833,
    0.746280468988738, 0.668451928474656, 0.693653533291797, 0.737999274072457, 0.662770812831593,
    0.690093980208194, 0.680730469397247, 0.373319198885232, 0.453674060090906, 0.313768226011401,
    0.450033431955293, -0.0337947734009151, 0.00473407366632503, -0.0856874439244822, 0.108254326965879,
    -0.139826971992822, -0.042973544871492, -0.454163735617593, -0.332642814925886, -0.233353410333937,
    -0.201461260684301, -0.182679242556492, -0.227884813666778, -0.0415383584301712, -0.121007767690214,
    -0.0724354047820547, -0.0482025570865206, 0.158014909751014, 0.0583926960184516, -0.111755943150815,
    -0.0381725259003516, 0.178981952872492, -0.0148415779327341, 0.0500966207338629, -0.198059211684969,
    -0.140011401320248, -0.174673463929191, -0.176785085296007, -0.215414386368314, -0.414474585019753,
    -0.340543408755025, -0.448279041603314, -0.657115953575154, -0.354643305309776, -0.525708117368173,
    -0.656437230992476, -0.524526301701093, -0.475865585094874, -0.363131678586159, -0.336691538939934,
    -0.3254437415468, 0.000669469210704293, 0.208042241378832, 0.00231649513347475, 0.112475210747327,
    0.349403714630085, 0.471702394545, 0.590660043192963, 0.604863406407812, 0.933197909938745,
]

REFERENCES = [
    Reference(
        "eight_schools-eight_schools_noncentered",
        EightSchools(jnp.asarray([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])),
        [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0],
        [6.15050229334425, 4.9395811407422, 3.90590609001582, 4.79601675138494, 3.6144363246799,
         4.0511475789675, 6.31716975886893, 4.88399694353288, 4.41051833695493, 3.60205952364059],
        [0.0557375282295219, 0.0462293788624847, 0.0542313705632124, 0.0474935816762281, 0.0461450610244603,
         0.0485195392528031, 0.0498766794075794, 0.0542511606560972, 0.0330374705950917, 0.0318615135640706],
        [69.36345, 45.9787, 43.13923, 45.76135, 34.35767, 39.4135, 64.93269, 52.12845, 30.40302, 23.20407],
    ),
    Reference(
        "arK-arK",
        Autoregression(),
        ARK,
        [-0.000718650251261263, 0.692163279812727, 0.439043080115602, 0.105816025140126, -0.0354350382459401,
         -0.301512065609031, 0.150566659032913],
        [0.000106240747686088, 0.000722052266688382, 0.000907972815290037, 0.000922855852323399,
         0.000854130749737874, 0.000699559554459409, 7.96546722860024e-05],
        [0.0001151709, 0.4840669409, 0.2003810587, 0.0198605275, 0.0086580952, 0.0957926901, 0.022730759],
    ),
    Reference(
        "gp_pois_regr-gp_regr",
        GaussianProcess(
            jnp.arange(-10.0, 11.0, 2.0), tabulate([Gamma(25.0, 4.0), HalfNormal(2.0), HalfNormal(1.0)])
        ),
        [4.75906, 1.59423, 2.99548, 5.27501, 1.66472, 2.24347, 2.8914, 4.08681, 4.60588, 0.802364, 3.92136],
        [6.87434817782581, 2.4423998398757, 1.82873106572797],
        [0.0127649184133038, 0.00775729060630055, 0.00502769102294288],
        [48.85864, 6.576518, 3.599273],
    ),
]
# fmt: on

# The half-Cauchy tail of tau needs small steps: with the default acceptance both samplers meet a few divergences there.
BACKENDS: list[Backend] = [
    replace(
        FitSettings.single(),
        draws=1500,
        schedules=tuple(replace(schedule, target_accept=0.98) for schedule in FitSettings.single().schedules),
    ),
    Nuts(draws=2000, target_accept=0.98),
]


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_means_and_sds_are_those_of_the_reference_posterior(reference: Reference, backend: Backend) -> None:
    fit = backend.fit(reference.target, np.asarray(reference.y)[:, None], Seed.of(1), np.array([0]))
    assert np.all(fit.diagnostics.ok)
    draws = np.concatenate([fit.draws[name] for name in reference.target.quantity_names])
    mean, error = np.asarray(reference.mean), np.asarray(reference.error)
    sd = np.sqrt(np.asarray(reference.mean_square) - mean**2)
    # That of normal scores, near enough to the ESS of the mean for a bound of four standard errors.
    ours = draws.std(axis=(1, 2)) / np.sqrt(ess_bulk(draws))
    np.testing.assert_array_less(np.abs(draws.mean(axis=(1, 2)) - mean), 4.0 * np.hypot(ours, error))
    np.testing.assert_allclose(draws.std(axis=(1, 2)), sd, rtol=0.1)
