"""What pyproject.toml cannot say: `configs/` and the small series of `data/`, which lie at the top level of a
clone, are copied into the package when a wheel is built. An editable install uses the clone's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("configs/*.yaml", "configs/*.json", "configs/experiments/*", "data/*.csv", "data/README.md")


class BuildWithRecipes(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for file in (file for pattern in SHIPPED for file in sorted(Path().glob(pattern)) if file.is_file()):
            target = Path(self.build_lib, "lstmcli", "shipped", file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithRecipes})
