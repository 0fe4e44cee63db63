"""Random numbers are a function of their purpose and of nothing else."""

import torch

from attnorm.training.runtime import generator_for, seed_for
from tests.runs import run_python

CPU = torch.device("cpu")


def test_a_seed_fits_63_bits_and_differs_by_seed_and_purpose():
    purposes = [(s, *p) for s in range(20) for p in ((), (1,), (1, 2), ("a",), ("a", 1), (1, "a"), ("1",), (12,))]
    seeds = {seed_for(*purpose) for purpose in purposes}
    assert len(seeds) == len(purposes)
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert max(seeds) > 1 << 62  # and uses them


def test_seeds_are_the_same_in_another_process():
    """Not Python's hash(), which every process salts anew."""
    made = run_python("-c", "from attnorm.training.runtime import seed_for; print(seed_for(3, 'noise', 7))")
    assert int(made.stdout) == seed_for(3, "noise", 7)


def test_draws_depend_neither_on_the_global_generator_nor_on_earlier_draws():
    torch.manual_seed(1)
    first = torch.randn(5, generator=generator_for(CPU, 0, "noise", 3))
    torch.manual_seed(2)
    torch.randn(5, generator=generator_for(CPU, 0, "noise", 2))
    assert torch.equal(first, torch.randn(5, generator=generator_for(CPU, 0, "noise", 3)))
    assert not torch.equal(first, torch.randn(5, generator=generator_for(CPU, 1, "noise", 3)))
