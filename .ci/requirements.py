"""Print every requirement in pyproject.toml, one a line: to build, to run, and of all extras.

pip can install them together with the project only; apart from it, a change in C does not resolve them all again.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

pyproject = tomllib.loads(Path("pyproject.toml").read_text())
project = pyproject["project"]
requirements = [*pyproject["build-system"]["requires"], *project["dependencies"]]
for extra in project["optional-dependencies"].values():
    requirements += [line for line in extra if not line.startswith(project["name"] + "[")]
print("\n".join(sorted(set(requirements))))
