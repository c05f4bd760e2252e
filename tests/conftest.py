"""One thread a test process: pytest-xdist runs two, and idle OpenMP threads of one slow the other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy load their libraries
