"""Names that published generators share."""

from __future__ import annotations

ATTENTION = {
    "attention.query_embedding": "mixer.query",
    "attention.key_embedding": "mixer.key",
    "attention.value_embedding": "mixer.value",
    "attention.output_linear": "mixer.output",
    "norm1": "mixer_norm",
    "norm2": "feed_forward_norm",
}
DECODER = {
    "decoder.0.conv": "head.decoder.layers.1",
    "decoder.2": "head.decoder.layers.3",
    "decoder.4.conv": "head.decoder.layers.6",
    "decoder.6": "head.decoder.layers.8",
}


def expand(ends: dict[str, str], block: dict[str, str], blocks: int) -> dict[str, str]:
    """Published name -> name in the network, of weights and biases.

    Args:
        ends: layers before and after the blocks.
        block: layers of one block.
        blocks: number of blocks.
    """
    layers = dict(ends)
    for index in range(blocks):
        layers |= {f"transformer.{index}.{name}": f"backbone.blocks.{index}.{mine}" for name, mine in block.items()}
    return {f"{name}.{kind}": f"{mine}.{kind}" for name, mine in layers.items() for kind in ("weight", "bias")}
