# SPDX-License-Identifier: Apache-2.0
"""Check an installed wheel in a clean environment: ``python -I -W error installed.py README.md``."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
import warnings
from importlib.metadata import files
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
from first_minutes import first_minutes


def main(readme: Path) -> None:
    """Import every module, ask Airflow for the provider, and follow the README."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        import airflow_provider_ehpc as package

        assert "site-packages" in package.__file__, f"{package.__file__} is not the installed package"
        packed = {path.parts[0] for path in files("airflow-provider-ehpc") or ()}
        others = {name for name in packed - {package.__name__} if not name.endswith(".dist-info")}
        assert not others, f"the wheel also installs {others}"
        assert list((Path(package.__file__).parent / "example_dags").glob("*.py")), "no example DAGs"
        names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        with warnings.catch_warnings():
            # Airflow's own API server imports what is deprecated.
            warnings.simplefilter("ignore")
            importlib.import_module("airflow.api_fastapi.core_api.security")
        for name in names:
            if not name.endswith(("__main__", "pytest_plugin")):  # pytest is not installed here
                importlib.import_module(name)
        print(f"{len(names)} modules are imported without a warning")
        command = [sys.executable, "-m", "airflow", "providers", "get", "airflow-provider-ehpc"]
        shown = subprocess.check_output(command, text=True)
        assert package.__version__ in shown, shown
        print(shown)
    with tempfile.TemporaryDirectory() as home:
        print(first_minutes(readme, Path(home)))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
