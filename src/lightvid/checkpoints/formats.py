"""The published checkpoints by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from lightvid.checkpoint_reading import Tensors
from lightvid.checkpoints import dstt, e2fgvi, fuseformer, i3d, spynet, sttn, t_patchgan, vistr
from lightvid.checkpoints.detr import vistr_names
from lightvid.networks import deformable_vistr
from lightvid.stems.spynet import spynet_layout, spynet_names

Task = Literal["inpaint", "vis", "flow", "features"]
Role = Literal["network", "discriminator"]


@dataclass(frozen=True)
class Format:
    """How a file becomes a network.

    Attributes:
        create: the network for a file's tensors, with options; it is not filled.
        names: name in the file -> name in the network.
        convert: brings the file's tensors to the names, and into the parts, that `create` and `names` know.
        task: that trains such networks. A file for "vis" may be the start for other data, so what it has in another
            shape is left out and reported.
        role: the network's part in that task.
    """

    create: Callable[..., nn.Module]
    names: Callable[[Any], dict[str, str]]
    convert: Callable[[Tensors], Tensors] = dict
    task: Task = "inpaint"
    role: Role = "network"


def _segmenter(**options: Any) -> Format:
    return Format(partial(vistr.create, **options), vistr.names, vistr_names, task="vis")


FORMATS = {
    "deformable_vistr_r50": _segmenter(preset=deformable_vistr),
    "dstt": Format(dstt.create, dstt.names),
    "e2fgvi": Format(e2fgvi.create, e2fgvi.names, e2fgvi.convert),
    "e2fgvi_hq": Format(e2fgvi.create_hq, e2fgvi.names, e2fgvi.convert),
    "fuseformer": Format(fuseformer.create, fuseformer.names),
    "i3d": Format(i3d.create, i3d.names, i3d.convert, task="features"),
    "spynet": Format(spynet.create, spynet_names, spynet_layout, task="flow"),
    "sttn": Format(sttn.create, sttn.names),
    "t_patchgan": Format(t_patchgan.create, t_patchgan.names, role="discriminator"),
    "vistr_r50": _segmenter(),
    "vistr_r101": _segmenter(default_model="resnet101"),
}
