"""Rendering: which triangle each pixel sees, and what it looks like there."""

from talkedit.render.attributes import attribute_map
from talkedit.render.fragments import Fragments
from talkedit.render.interpolation import barycentric, interpolate
from talkedit.render.rasterizer import BACKENDS, available_backends, choose_backend, rasterize
from talkedit.render.renderer import Renderer, Rendering, render, render_points

__all__ = [
    "BACKENDS",
    "Fragments",
    "Renderer",
    "Rendering",
    "attribute_map",
    "available_backends",
    "barycentric",
    "choose_backend",
    "interpolate",
    "rasterize",
    "render",
    "render_points",
]
