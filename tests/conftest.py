"""One thread a test process: pytest-xdist runs two, and idle OpenMP threads of one slow the other.

No deadline for a generated example: shared machines pause. A failure prints what repeats it.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy load their libraries

settings.register_profile("cosparse", deadline=None, print_blob=True)
settings.load_profile("cosparse")
