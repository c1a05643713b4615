"""Losses: pure functions of tensors, and the matched losses of video instance segmentation."""

from lightvid.losses.adversarial import hinge_discriminator_loss, hinge_generator_loss
from lightvid.losses.centres import CentreLoss
from lightvid.losses.flow import flow_l1
from lightvid.losses.flow_teachers import DISTeacher, FlowTeacher, SPyNetTeacher
from lightvid.losses.instances import InstanceLoss
from lightvid.losses.matching import Assignment, cheapest_assignments
from lightvid.losses.reconstruction import region_l1
from lightvid.losses.regions import RegionLoss
from lightvid.losses.tracks import TrackLoss, TrackMatcher
from lightvid.losses.vistr import VisTRLoss

__all__ = [
    "Assignment",
    "CentreLoss",
    "DISTeacher",
    "FlowTeacher",
    "InstanceLoss",
    "RegionLoss",
    "SPyNetTeacher",
    "TrackLoss",
    "TrackMatcher",
    "VisTRLoss",
    "cheapest_assignments",
    "flow_l1",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "region_l1",
]
