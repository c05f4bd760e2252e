"""python -m tests.programs COUNT: the coverage of the first COUNT seeds."""

import sys

from .coverage import coverage_of

if __name__ == "__main__":
    print(coverage_of(range(int(sys.argv[1]))).table())
