"""lightvid: video inpainting and video instance segmentation on one spatio-temporal transformer."""

import os

# albumentations asks the package index for its newest version at import, in every process.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__version__ = "0.1.0"
