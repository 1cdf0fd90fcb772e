"""JAX behind a slice; preallocation by XLA_PYTHON_CLIENT_PREALLOCATE."""

import jax
import jax.numpy as jnp
import numpy as np
from common import report_health, report_seen, take_until_refused


def product_is_right() -> bool:
    """A matrix product on the GPU agrees with the CPU."""
    x = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    return bool(np.allclose(np.asarray(jnp.asarray(x) @ jnp.asarray(x)), x @ x, atol=0.5))


def take(size: int) -> jax.Array:
    """An array that is really there."""
    return jnp.ones((size // 4,), jnp.float32).block_until_ready()


before = product_is_right()
stats = jax.devices()[0].memory_stats() or {}
limit = stats.get("bytes_limit", 0)
report_seen(total=limit, free=limit - stats.get("bytes_in_use", 0))
kept = take_until_refused(take, (jax.errors.JaxRuntimeError,))
del kept
report_health(healthy=before and product_is_right())
