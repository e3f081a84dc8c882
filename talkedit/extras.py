"""Optional packages: what each is for, how to get it, and whether it is there. None is needed by default."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata, util

from talkedit.errors import InputError


@dataclass(frozen=True)
class Extra:
    """An optional package.

    Attributes:
        package: its name on the package index.
        module: the name it is imported by.
        needed_for: what talkedit uses it for.
        install: the command that installs it beside talkedit.
    """

    package: str
    module: str
    needed_for: str
    install: str

    def version(self) -> str | None:
        """The installed version, ``"unknown"`` if it does not tell, None if the package is missing. Imports nothing."""
        if util.find_spec(self.module) is None:
            return None
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return "unknown"

    def missing(self) -> InputError:
        """The error to raise where the package cannot be imported."""
        return InputError(
            f"{self.needed_for} needs the package {self.package}, which is not installed; run: {self.install}"
        )


# Its metadata asks for opencv-python, which overwrites the headless OpenCV that talkedit uses: hence --no-deps.
FACE_ALIGNMENT = Extra(
    "face-alignment",
    "face_alignment",
    "--tracker face-alignment",
    "pip install scikit-image tqdm && pip install --no-deps 'face-alignment>=1.5'",
)
GRADIO = Extra("gradio", "gradio", "talkedit ui", "pip install 'gradio>=6'")
PYTORCH3D = Extra(
    "pytorch3d",
    "pytorch3d",
    "the renderer's backend 'pytorch3d'",
    "pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d.git",
)
TENSORBOARD = Extra(
    "tensorboard", "tensorboard", "talkedit train --tensorboard", "pip install tensorboard 'protobuf<5'"
)
EXTRAS = (FACE_ALIGNMENT, GRADIO, PYTORCH3D, TENSORBOARD)
