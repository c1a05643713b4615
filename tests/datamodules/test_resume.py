"""A run that was stopped anywhere and resumed sees exactly what an uninterrupted one sees."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lightvid.datamodules import DAVIS
from lightvid.errors import ConfigurationError

OPTIONS = {"height": 16, "width": 32, "frames": 3, "batch_size": 1, "colour_jitter": 0.3}


class Recorder(pl.LightningModule):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple] = []

    def training_step(self, batch, index):
        assert batch.frames.dtype == batch.masks.dtype == torch.float32
        self.seen.append((index, batch.files, batch.frames.sum().item(), batch.masks.sum().item()))
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(root, folder, steps, *, resume=None, workers=0, save_every=1, **trainer_options):
    module = Recorder()
    checkpoint = ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=save_every, save_top_k=-1, save_on_train_epoch_end=False
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
        **trainer_options,
    )
    trainer.fit(module, DAVIS(str(root), **OPTIONS, workers=workers), ckpt_path=resume)
    return module.seen


pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning: no validation step, folders that exist


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 4, 6, 7, 14])  # an epoch has six steps
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(davis_root, tmp_path, workers, stop):
    whole = run(davis_root, tmp_path / "whole", 20)
    assert len(whole) == len({repr(sample) for _, *sample in whole}) == 20, "no two steps see the same"
    first = run(davis_root, tmp_path / "parts", stop, workers=workers)
    second = run(davis_root, tmp_path / "parts", 20, resume=tmp_path / f"parts/step={stop}.ckpt", workers=workers)
    assert first + second == whole


def test_every_epoch_has_an_order_of_its_own(davis_root, tmp_path):
    seen = run(davis_root, tmp_path, 18)
    orders = {tuple(files[0].split(" [")[0] for _, files, *_ in seen[first : first + 6]) for first in (0, 6, 12)}
    assert len(orders) == 3 and all(len(set(order)) == 6 for order in orders)


def test_epochs_that_are_cut_short_resume_too(davis_root, tmp_path):
    options = {"limit_train_batches": 4}
    whole = run(davis_root, tmp_path / "whole", 11, **options)
    for stop in (3, 4, 6):
        first = run(davis_root, tmp_path / "parts", stop, **options)
        second = run(davis_root, tmp_path / "parts", 11, resume=tmp_path / f"parts/step={stop}.ckpt", **options)
        assert first + second == whole


def test_a_run_resumed_twice_goes_on_exactly(davis_root, tmp_path):
    whole = run(davis_root, tmp_path / "whole", 16)
    seen = run(davis_root, tmp_path / "parts", 3)
    for stop, until in ((3, 9), (9, 16)):
        seen += run(davis_root, tmp_path / "parts", until, resume=tmp_path / f"parts/step={stop}.ckpt")
    assert seen == whole


def test_skipped_batches_are_not_read_again(davis_root):
    data = DAVIS(str(davis_root), **OPTIONS, workers=0)
    data.setup("fit")
    whole = [batch.files for batch in data.train_dataloader()]
    loader = data.train_dataloader()
    read = []
    get = loader.dataset.__class__.__getitem__
    loader.dataset.__class__.__getitem__ = lambda self, request: read.append(request) or get(self, request)
    try:
        loader.load_state_dict({"epoch": 0, "delivered": 4})
        rest = [batch.files for batch in loader]
    finally:
        loader.dataset.__class__.__getitem__ = get
    assert rest == whole[4:] and len(read) == 2 and len(loader) == 6
    state = loader.state_dict()
    assert (state["epoch"], state["delivered"]) == (0, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, r"seed=5 \(was 0\)"),
        ({"batch_size": 2}, r"data\.batch_size x processes = 2 \(was 1\)"),
        ({"clips_per_video": 3}, r"clips_per_video=3 \(was 1\)"),
    ],
)
def test_an_epoch_does_not_go_on_with_other_batches_but_the_next_may_have_them(davis_root, change, message):
    def loader(**changes):
        data = DAVIS(str(davis_root), **{**OPTIONS, **changes}, workers=0)
        data.setup("fit")
        return data.train_dataloader()

    stopped = loader()
    batches = iter(stopped)
    next(batches)
    with pytest.raises(ConfigurationError, match=f"{message}: set it back to resume, or .* init_from=") as caught:
        resumed = loader(**change)
        resumed.load_state_dict(stopped.state_dict())
        next(iter(resumed))
    assert "\n" not in str(caught.value)
    for _ in batches:
        pass
    other = loader(**change)
    other.load_state_dict(stopped.state_dict())
    assert other.batch_sampler.sampler.epoch == 1


def test_an_epoch_does_not_go_on_with_as_many_other_videos(davis_root):
    def loader(reverse=False):
        data = DAVIS(str(davis_root), **OPTIONS, workers=0)
        data.setup("fit")
        loader = data.train_dataloader()
        if reverse:
            loader.dataset.videos = loader.dataset.videos[::-1]
        return loader

    stopped = loader()
    next(iter(stopped))
    state = stopped.state_dict()
    other = loader(reverse=True)
    other.load_state_dict(state)
    with pytest.raises(ConfigurationError, match=r"data\.root with other videos"):
        next(iter(other))
    other.load_state_dict({name: state[name] for name in ("epoch", "delivered", "batches", "videos")})
    assert len(list(other)) == 5  # a state that does not know them is taken as it is
