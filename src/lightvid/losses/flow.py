"""The loss of completed optical flow."""

from torch import Tensor

from lightvid.stems.propagation import Flows


def flow_l1(flows: Flows, targets: Flows) -> Tensor:
    """L1 distance of flows, a mean over all pixels, holes or not, of each direction (E2FGVI, Li et al., CVPR 2022).

    Args:
        flows: forward and backward, each `(B, T-1, 2, h, w)`. What lies below or right of the targets does not count:
            a network that continues its frames to a size of its own estimates flow there, too.
        targets: as `FlowTeacher` gives them, each `(B, T-1, 2, h', w')` with h' <= h and w' <= w.
    """
    height, width = targets[0].shape[-2:]
    forward, backward = (
        (flow[..., :height, :width].float() - target.float()).abs().mean()
        for flow, target in zip(flows, targets, strict=True)
    )
    return forward + backward
