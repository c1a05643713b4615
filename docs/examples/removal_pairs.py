"""A dataset of one's own: ROOT/{train,val}/CLIP/frames and ROOT/{train,val}/CLIP/masks."""

from lightvid.datamodules import InpaintingDataModule, VideoPaths
from lightvid.datamodules.layout import Split
from lightvid.errors import DataError


class RemovalPairs(InpaintingDataModule):
    """Clips whose masks were drawn for the object to remove; frames and masks are folders, zips or videos."""

    def find_videos(self, split: Split) -> list[VideoPaths]:
        """List the clips of a split."""
        folder = self.root / ("train" if split == "train" else "val")
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder (expected ROOT/train/CLIP/frames)")
        return [VideoPaths(clip / "frames", clip / "masks") for clip in sorted(folder.iterdir())]
