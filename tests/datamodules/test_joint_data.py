"""The data of two tasks at once: what each step gets, and that a stopped run misses and repeats nothing."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lightvid.datamodules import JointDataModule, SampleData, SampleInstances
from lightvid.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning: no validation step, folders that exist
VIDEOS = [f"train-{number:02d}" for number in range(10)]


def joint(root, *, workers=0, **options):
    """24 clips with holes in batches of 6, and 10 with instances in batches of 4: 4 batches, and 2."""
    inpainting = SampleData(str(root), height=16, width=32, frames=2, batch_size=6, workers=workers, **options)
    segmentation = SampleInstances(
        str(root),
        frames=2,
        shortest=16,
        longest=None,
        batch_size=4,
        workers=workers,
        videos=VIDEOS,
        validate_on_training=True,
    )
    return JointDataModule(inpainting, segmentation)


class Recorder(pl.LightningModule):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.validated = [], []

    def training_step(self, batch, index):
        holes, instances = batch["inpaint"], batch["vis"]
        assert holes.frames.dtype == holes.masks.dtype == instances.frames.dtype == torch.float32
        self.seen.append((index, holes.files, holes.masks.sum().item(), instances.files, instances.frames.sum().item()))
        return self.weight.sum()

    def validation_step(self, batch, index, dataloader_idx=0):
        self.validated.append((dataloader_idx, batch.frames.dtype, tuple(batch.names)))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(data, folder, steps, *, resume=None):
    module = Recorder()
    checkpoint = ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        max_epochs=-1,
        max_steps=steps,
        callbacks=[checkpoint],
    )
    trainer.fit(module, data, ckpt_path=resume)
    return module.seen


def test_an_epoch_ends_with_the_shorter_loader_and_nothing_is_given_twice(sample_root, tmp_path):
    seen = run(joint(sample_root), tmp_path, 6)
    assert [index for index, *_ in seen] == [0, 1] * 3
    for holes, instances in ((1, 3), (2, 4)):
        assert len({repr((step[holes], step[instances])) for step in seen}) == 6
    videos = [{file.split(" [")[0] for step in seen[first : first + 2] for file in step[1]} for first in (0, 2, 4)]
    assert all(len(names) == 12 for names in videos)
    assert len(set.union(*videos)) > 16, "each epoch takes others of the longer loader"


@pytest.mark.parametrize(("workers", "stop"), [(0, 1), (0, 2), (0, 3), (2, 3)])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(sample_root, tmp_path, workers, stop):
    whole = run(joint(sample_root), tmp_path / "whole", 6)
    first = run(joint(sample_root, workers=workers), tmp_path / "parts", stop)
    resume = tmp_path / f"parts/step={stop}.ckpt"
    second = run(joint(sample_root, workers=workers), tmp_path / "parts", 6, resume=resume)
    assert first + second == whole


def test_validation_gives_the_clips_with_holes_and_then_the_whole_videos(sample_root):
    data = joint(sample_root)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    module = Recorder()
    trainer.validate(module, data, verbose=False)
    assert module.validated[0] == (0, torch.float32, tuple(f"valid-{number:02d}" for number in range(6)))
    assert module.validated[1:] == [(1, torch.uint8, (name,)) for name in VIDEOS]


def test_clips_that_are_left_out_are_counted_together(sample_root):
    data = joint(sample_root, on_error="skip")
    assert data.skipped is data.inpainting.skipped is data.segmentation.skipped == []


def test_a_folder_that_is_missing_is_named(tmp_path, sample_root):
    data = joint(sample_root)
    data.segmentation.root = tmp_path / "nowhere"
    with pytest.raises(DataError, match="nowhere"):
        data.setup("fit")
