"""One engine of each kind for the whole session: every test of this folder runs against both."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.engine_contract.contract_models import SIM
from tests.engine_contract.served_engine import ServedEngine


@pytest.fixture(scope="session")
def sim_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """The simulated engine, ready."""
    served = ServedEngine(SIM, tmp_path_factory.mktemp("engine") / "sim.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


VLLM_MARKS = [pytest.mark.vllm, pytest.mark.timeout(600)]


@pytest.fixture(params=["sim", pytest.param("vllm", marks=VLLM_MARKS)], scope="session")
def engine(request: pytest.FixtureRequest) -> ServedEngine:
    """The engine under test, ready."""
    served: ServedEngine = request.getfixturevalue(f"{request.param}_engine")
    return served


@pytest.fixture(scope="session")
def engine_to_end(engine: ServedEngine) -> ServedEngine:
    """The engine under test, for the one test that ends it: `tests/conftest.py` puts that test last of all."""
    return engine


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client for streams."""
    async with httpx.AsyncClient(timeout=120) as found:
        yield found
