"""Backends of the regional normalisation operator, one module each.

A backend is a module with two functions on flattened maps: v is (b, c, p) with p pixels, s is (b, n, p), weight and
bias are (n, c) or None. `regional_norm(v, s, weight, bias, variance, eps, temperature, residual)` returns the result
and the moments, with gradients of every order; `composed` documents it. `refusal(v, s, variance)` says why this backend
cannot run such a call, or None, and looks at devices, dtypes and the machine, never at values.
`attnorm.layers.regional_norm` checks, flattens and chooses.
"""
