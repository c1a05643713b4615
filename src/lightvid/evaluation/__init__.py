"""Measuring restored videos whose true frames are known."""
