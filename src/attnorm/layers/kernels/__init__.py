"""Backends of the regional normalisation operator, one file each.

Every backend computes the same function of (v, s, weight, bias) on flattened maps: v is (b, c, p) with p pixels,
s is (b, n, p), weight and bias are (n, c). `attnorm.layers.regional_norm` checks, flattens and chooses.
"""
