"""Randomness as a pure function of (seed, step, …): a resumed run draws what the undisturbed run would have drawn."""

from __future__ import annotations

import hashlib

import torch


def seed_for(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed for one purpose, such as (seed, step, piece of the batch, "noise")."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(device: torch.device, seed: int, *purpose: int | str) -> torch.Generator:
    """A fresh generator on `device` for one purpose."""
    return torch.Generator(device).manual_seed(seed_for(seed, *purpose))
