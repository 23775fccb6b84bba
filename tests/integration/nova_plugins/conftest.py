"""Nova's own code with our wheels installed beside it, as an operator would with pip."""

from pathlib import Path

import pytest

from lab.nova_compute import ComputeCloud, NovaEnvironment, Program

HERE = Path(__file__).parent


@pytest.fixture(scope="package")
def environment(tmp_path_factory):
    return NovaEnvironment(tmp_path_factory.mktemp("nova_plugins"))


@pytest.fixture(scope="package")
def nova_imported(environment):
    """`ask(code)`: what the code prints, where Nova is imported and nothing of ours."""
    program = Program(environment, HERE / "nova_imported.py")
    yield program
    program.close()


@pytest.fixture(scope="package")
def cloud(environment):
    """Three compute hosts, whose libvirt is Nova's fake."""
    program = Program(environment, HERE / "compute_cloud.py")
    yield ComputeCloud(program)
    program.close()
