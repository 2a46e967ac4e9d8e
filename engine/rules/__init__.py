"""What needs no JAX: policy, presets, calendar and names of quantities. The one part that the server may import."""
