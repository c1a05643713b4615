"""Optical flow between frames in memory."""

from lightvid.flow.dis import dis_flow

__all__ = ["dis_flow"]
