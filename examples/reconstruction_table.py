"""Reconstruction by fitting and by the network on people that the network never saw (docs/results.md).

    python examples/reconstruction_table.py --data ../shared/data

The errors are taken on aligned crops, the time on one thread with whole frames of a clip, tracking not included.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from talkedit.data.collection import Collection
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.facemodel.tensors import FaceTensors
from talkedit.reconstruct.coefficients import LAYOUT, reconstruct_frame
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.losses import photometric_loss, skin_mask
from talkedit.reconstruct.network import (
    SMALL_SIZE,
    NetworkReconstructor,
    ReconstructionNetwork,
    camera_at,
    load_small,
    to_tensor,
)
from talkedit.render import render
from talkedit.track.topology import INNER_LIPS, LEFT_EYE, RIGHT_EYE
from talkedit.train.crops import Crops, load_crops
from talkedit.train.faces import split
from talkedit.train.reconstruction import SOURCES, Teacher

LIDS = np.r_[LEFT_EYE, RIGHT_EYE]
TIMED_CLIP = "mead/W011_front_neutral_level1_001.mp4"


def answers(crops: Crops, network: ReconstructionNetwork) -> np.ndarray:
    """(N, 257) coefficients by the network."""
    with torch.inference_mode():
        rows = [network(to_tensor(crops.images[i : i + 64])) for i in range(0, len(crops), 64)]
    return torch.cat(rows).numpy()


def landmark_errors(rows: np.ndarray, crops: Crops, model: FaceModel) -> np.ndarray:
    """(N, 468) distance to the tracked landmarks, per cent of the outer-eye distance in the picture."""
    points = Teacher(model, crops.coefficients).points(torch.from_numpy(rows)).numpy()
    eyes = np.linalg.norm(crops.landmarks[:, 33] - crops.landmarks[:, 263], axis=1)
    return np.linalg.norm(points - crops.landmarks, axis=2) / eyes[:, None] * 100


def photometric_error(rows: np.ndarray, crops: Crops, face: FaceTensors) -> float:
    """Mean RGB distance of the rendered face to the picture over the skin, 0..255 a channel."""
    errors = []
    with torch.inference_mode():
        for start in range(0, len(rows), 32):
            part = {n: torch.from_numpy(rows[start : start + 32, where]) for n, where in LAYOUT.items()}
            pictures = torch.from_numpy(crops.images[start : start + 32]).float() / 255
            vertices = face.vertices(part["identity"], part["expression"])
            seen = render(vertices, face.triangles, face.albedo(part["texture"]), part["angle"], part["translation"],
                          part["gamma"], camera=camera_at(SMALL_SIZE))  # fmt: skip
            mask = skin_mask(pictures, seen.mask)
            errors += [
                float(photometric_loss(*triple)) * 255
                for triple in zip(seen.image[:, None], pictures[:, None], mask[:, None], strict=True)
            ]
    return float(np.mean(errors))


def likeness(rows: np.ndarray, crops: Crops) -> float:
    """Correlation of the expression coefficients with the fit's, the mean over the crops taken off."""
    a, b = (x[:, LAYOUT["expression"]] for x in (rows, crops.coefficients))
    return float(np.corrcoef((a - a.mean(0)).ravel(), (b - b.mean(0)).ravel())[0, 1])


def milliseconds(collection: Collection, model: FaceModel, network: ReconstructionNetwork) -> dict[str, float]:
    """Median time a frame of each way, from frame and landmarks to 257 coefficients, on one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fitter, read = Fitter(model), NetworkReconstructor(network)
    sample = next(s for s in collection.samples if s.key == TIMED_CLIP)
    rows = collection.landmarks()[sample.key]
    spent: dict[str, list[float]] = {"fit": [], "network": []}
    for _, frame, row in zip(range(40), collection.frames(sample), rows, strict=False):
        for name, run in (("fit", lambda f, r: reconstruct_frame(f, r, model, fitter)), ("network", read)):
            start = time.perf_counter()
            run(frame, row)
            spent[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) * 1000 for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the open recipe's collection")
    parser.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks")
    parser.add_argument("--crops", type=Path, default=Path("build/crops"), help="folder for crops and coefficients")
    parser.add_argument("--weights", type=Path, default=Path("checkpoints/reconstruction.safetensors"))
    args = parser.parse_args()
    model, collection = load_face_model("open"), Collection(args.data, args.cache)
    face, network = FaceTensors(model), load_small(args.weights)
    _, left_out = split(load_crops(collection, model, SOURCES, args.crops), collection)
    print("| people left out | crops | way | landmarks | inner lips | lids | photometric | expression as the fit's |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for source in ("mead", "london", "faces_open"):
        crops = left_out.where(left_out.sources == source)
        mean_face = crops.coefficients.copy()  # in the fit's pose and light
        mean_face[:, : LAYOUT["texture"].stop] = 0
        for way, rows in (("fit", crops.coefficients), ("network", answers(crops, network)), ("mean face", mean_face)):
            error = landmark_errors(rows, crops, model)
            numbers = [f"{e:.2f} %" for e in (error.mean(), error[:, INNER_LIPS].mean(), error[:, LIDS].mean())]
            numbers += [f"{photometric_error(rows, crops, face):.1f}"]
            numbers += [f"{likeness(rows, crops):.2f}" if way == "network" else ""]
            print(f"| {source} | {len(crops)} | {way} | " + " | ".join(numbers) + " |")
    print()
    print(
        ", ".join(f"{name} {value:.1f} ms a frame" for name, value in milliseconds(collection, model, network).items())
    )


if __name__ == "__main__":
    main()
