"""Optical flow between frames in memory."""

from lightvid.flow.dis import dis_flow
from lightvid.flow.motion import Motion, motion_between

__all__ = ["Motion", "dis_flow", "motion_between"]
