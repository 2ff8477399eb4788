import dataclasses

import pytest
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples, augmented, concatenate, normalise


def make(count: int = 10, **options) -> Samples:
    images = torch.arange(count * 16, dtype=torch.float32).remainder(256).to(torch.uint8).reshape(count, 1, 4, 4)
    return Samples(images, torch.arange(count) % 3, **options)


def test_normalised_pixels_span_minus_two_to_two():
    ends = normalise(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)).flatten()
    assert ends.tolist() == pytest.approx([-2.0, 2.0], abs=1e-6)


def test_each_epoch_gives_every_sample_once_in_another_order():
    samples = make(batch_size=4, generator=torch.Generator().manual_seed(0))
    first, second = ([label for _, labels in samples.batches() for label in labels.tolist()] for _ in range(2))
    assert sorted(first) == sorted(second) == sorted(samples.labels.tolist())
    assert first != second


def test_without_shuffling_the_order_is_kept():
    labels = torch.cat([labels for _, labels in make(batch_size=4).batches(shuffle=False)])
    assert torch.equal(labels, make().labels)


def test_a_single_last_sample_joins_the_batch_before_it():
    assert [len(labels) for _, labels in make(9, batch_size=4).batches()] == [4, 5]
    assert [len(labels) for _, labels in make(1, batch_size=4).batches()] == [1]


def test_augmentation_keeps_shape_and_type_and_flips_about_half():
    images = torch.zeros(400, 1, 16, 16, dtype=torch.uint8)
    images[:, :, :, 0] = 255
    moved = augmented(images, "flip_shift", torch.Generator().manual_seed(1))
    assert moved.shape == images.shape
    assert moved.dtype == torch.uint8
    right = (moved[:, 0, 8, 12:].float().sum(1) > moved[:, 0, 8, :4].float().sum(1)).float().mean()
    assert 0.4 < right < 0.6


def test_samples_are_never_changed_by_giving_them_out():
    samples = make(augmentation="flip_shift", batch_size=3, generator=torch.Generator().manual_seed(0))
    before = samples.images.clone()
    for images, _ in samples.batches(3):
        images.zero_()
    assert torch.equal(samples.images, before)


def test_both_sets_together_hold_all_samples():
    both = concatenate(make(3), make(4))
    assert len(both) == 7
    assert len(both.images) == 7


def test_bad_options_are_refused():
    with pytest.raises(ForgetError, match="flip_shift"):
        make(augmentation="flips")
    with pytest.raises(ForgetError, match="at least one"):
        dataclasses.replace(make(), batch_size=0)
