"""What the C library does with memory that has been freed."""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # options of glibc's mallopt


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for this process: in a training step, page faults of new results would take up to a
    tenth of the time. Does nothing with another C library.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(MMAP_MAX, 0)  # large results, too, from the memory that is kept


def return_freed_memory() -> None:
    """Has glibc return freed memory to the system. Does nothing with another C library."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
