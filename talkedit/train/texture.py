"""``talkedit train texture``: the whole texture editor, stage after stage, each of which continues where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from talkedit.train import classifier, directions, encoder, tgan
from talkedit.train.tgan import add_data_options, add_start_option


def main(argv: list[str] | None = None) -> int:
    """Runs the stages; recipe open trains its encoder together with the generator."""
    p = argparse.ArgumentParser(prog="talkedit train texture", description=__doc__.split("\n")[0])
    add_data_options(p)
    add_start_option(p)
    p.add_argument("--encoder-config", type=Path, help="recipe paper: JSON file of settings of the encoder")
    p.add_argument("--everybody", action="store_true", help="recipe open: ship directions of the held-out people too")
    p.add_argument("-o", "--output", type=Path, default=Path("checkpoints/texture_gan.safetensors"))
    args = p.parse_args(argv)
    names = ("recipe", "data", "cache", "textures", "ffhq", "mead", "run", "device")
    shared = [
        word for name in names if (value := getattr(args, name)) is not None for word in (f"--{name}", str(value))
    ]

    if args.tensorboard:
        shared.append("--tensorboard")

    def config(path: Path | None) -> list[str]:
        return ["--config", str(path)] if path else []

    start = ["--start-from", str(args.start_from)] if args.start_from else []
    tgan.main([*shared, *config(args.config), *start])
    if args.recipe == "paper":
        encoder.main([*shared, *config(args.encoder_config)])
    classifier.main(shared)
    everybody = ["--everybody"] if args.everybody else []
    if everybody:
        classifier.main([*shared, *everybody])
    return directions.main([*shared, *everybody, "-o", str(args.output)])


if __name__ == "__main__":
    raise SystemExit(main())
