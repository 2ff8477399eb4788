"""The ported face embedding: its forward pass, a frozen part that nothing reaches, its cache, verification on ORL."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from forget_lib.core.errors import DataError, ForgetError
from forget_lib.datasets import load
from forget_lib.datasets.orl import read_orl
from forget_lib.datasets.samples import normalise
from forget_lib.models import face_net as fe
from forget_lib.models.nets import list_models

WEIGHTS_ARE_MISSING = (
    "THE FACE WEIGHTS ARE NOT HERE: python -c 'from forget_lib.models.face_net import fetch_weights; fetch_weights()'"
)
needs_weights = pytest.mark.skipif(not fe.have_weights(), reason=WEIGHTS_ARE_MISSING)
# First eight numbers of the embeddings of images 9 to 11 of the pool of `synthetic_identity`.
STORED = (
    (-0.10355, 0.08433, 0.05239, -0.00815, -0.02432, -0.06166, -0.00875, -0.13705),
    (-0.08712, 0.08041, 0.05504, -0.02099, -0.02667, -0.10065, -0.01425, -0.13052),
    (-0.04992, 0.06196, 0.02232, -0.02886, -0.07411, -0.06040, -0.02556, -0.04846),
)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """Random weights of the published shapes, so that most tests need no download."""
    generator = np.random.default_rng(0)
    made = {"fc": generator.normal(0, 0.1, (256, 128)).astype(np.float32)}
    layers = {"conv32_down": (7, 3, 32)}
    for name, inputs, outputs in fe.BLOCKS:
        layers |= {f"{name}/conv1": (3, inputs, outputs), f"{name}/conv2": (3, outputs, outputs)}
    for name, (kernel, inputs, outputs) in layers.items():
        spread = (kernel * kernel * inputs) ** -0.5
        made[f"{name}/conv/filters"] = generator.normal(0, spread, (kernel, kernel, inputs, outputs)).astype(np.float32)
        made[f"{name}/conv/bias"] = generator.normal(0, 0.1, outputs).astype(np.float32)
        made[f"{name}/scale/weights"] = generator.uniform(0.5, 1.5, outputs).astype(np.float32)
        made[f"{name}/scale/biases"] = generator.normal(0, 0.1, outputs).astype(np.float32)
    return made


@pytest.fixture
def images() -> torch.Tensor:
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return normalise(pixels)


def whole_pass(net, images: torch.Tensor) -> torch.Tensor:
    """Features without the cache, all images at once."""
    return net.body.upper(net.body.frozen.layers(images)) * fe.FEATURE_SCALE


@pytest.mark.parametrize("trainable", [0, 4, fe.STAGES])
def test_features_and_logits_and_the_cache_equal_a_full_pass(tensors, images, trainable):
    net = fe.face_embedding((3, 16, 16), 5, trainable, tensors)
    with torch.no_grad():
        first, again = net.features(images), net.features(images)
        assert first.shape == (4, 128)
        assert torch.equal(net(images), net.head(first))
        assert torch.equal(first, again)
        assert torch.allclose(first, whole_pass(net, images), atol=1e-4)
    assert len(net.body.frozen.known) == 4


def test_what_is_kept_does_not_depend_on_the_batch_an_image_came_in(tensors, images):
    alone, together = (fe.face_embedding((3, 16, 16), 5, 4, tensors).body.frozen for _ in range(2))
    assert torch.equal(torch.cat([alone(image[None]) for image in images.flip(0)]).flip(0), together(images))


def test_the_frozen_part_stays_as_it_was_and_the_upper_part_learns(tensors, images):
    net = fe.face_embedding((3, 16, 16), 5, 2, tensors)
    lower = copy.deepcopy(net.body.frozen.layers.state_dict())
    upper = copy.deepcopy(net.body.upper.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with torch.inference_mode():
        net.eval()(images)  # fills the cache as an evaluation does; training must still be possible
    for _ in range(2):
        loss = functional.cross_entropy(net.train()(images), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(value, lower[name]) for name, value in net.body.frozen.layers.state_dict().items())
    assert not any(torch.equal(value, upper[name]) for name, value in net.body.upper.state_dict().items())


def test_no_parameter_or_stored_weight_belongs_to_the_frozen_part(tensors):
    frozen = fe.face_embedding((1, 16, 16), 5, 0, tensors)
    assert [name for name, _ in frozen.named_parameters()] == ["head.weight", "head.bias"]
    part = fe.face_embedding((1, 16, 16), 5, 1, tensors)
    assert {name.split(".")[2] for name in part.state_dict() if name.startswith("body")} == {"0", "1"}
    assert all(parameter.requires_grad for parameter in part.parameters())


def test_copies_share_the_frozen_part_and_its_cache(tensors, images):
    net = fe.face_embedding((3, 16, 16), 5, 1, tensors)
    twin = copy.deepcopy(net)
    assert twin.body.frozen is net.body.frozen
    assert twin.head.weight is not net.head.weight
    with torch.no_grad():
        assert torch.equal(net(images), twin(images))


def test_a_gradient_reaches_the_image(tensors, images):
    net = fe.face_embedding((3, 16, 16), 5, 1, tensors)
    images.requires_grad_()
    net(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert not net.body.frozen.known
    assert all(parameter.grad is None for parameter in net.body.frozen.layers.parameters())


def test_a_block_that_goes_down_pads_with_zeros(tensors):
    block = fe.Block("conv64_down", 32, 64)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        out = block(torch.ones(1, 32, 6, 6))
    assert out.shape == (1, 64, 3, 3)  # the shortcut is 3 × 3, the convolution without padding 2 × 2
    assert out[:, :32].eq(1).all()
    assert out[:, 32:].eq(0).all()


def test_grey_images_are_taken_as_grey_colours(tensors, images):
    net = fe.face_embedding((1, 16, 16), 5, 0, tensors)
    with torch.no_grad():
        grey = images[:, :1].contiguous()
        assert torch.allclose(net.features(grey), net.features(grey.expand(-1, 3, -1, -1)), atol=1e-5)


@pytest.mark.parametrize(("shape", "trainable"), [((2, 16, 16), 4), ((3, 16, 16), 15), ((3, 16, 16), -1)])
def test_what_it_does_not_take_is_refused(tensors, shape, trainable):
    with pytest.raises(ForgetError, match="1 or 3 channels and trains 0 to 14 blocks"):
        fe.face_embedding(shape, 5, trainable, tensors)


def test_damaged_weights_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("FORGET_DATA", str(tmp_path))
    assert not fe.have_weights()
    folder = fe.weights_folder() / "package" / "model"
    folder.mkdir(parents=True)
    for name in fe.FILES:
        (folder / name).write_bytes(b"not these")
    with pytest.raises(DataError, match="damaged or another file"):
        fe.fetch_weights()


def test_it_is_a_registered_model():
    assert set(fe.PRETRAINED) == {name for name in list_models() if name.startswith("face_embedding")}


def test_a_kind_says_what_is_trained():
    assert fe.kind_of("small_resnet") == "trained from scratch on these people only"
    assert fe.kind_of("face_embedding_head") == fe.HEAD_ONLY
    assert fe.kind_of("face_embedding_2") == "pre-trained, 2 of 14 blocks and the head trained"


@needs_weights
def test_models_of_the_published_network_share_what_they_have_seen(images):
    one, two = (fe.face_embedding((3, 16, 16), 2, 0) for _ in range(2))
    with torch.no_grad():
        one.features(images)
    assert one.body.frozen is two.body.frozen
    assert fe.face_embedding((3, 16, 16), 2, 1).body.frozen is not one.body.frozen


@needs_weights
def test_the_port_gives_the_stored_embeddings_of_three_rendered_faces():
    assert len(fe.published_tensors()) == 117
    net = fe.face_embedding((3, 64, 64), 2)
    with torch.no_grad():
        found = net.features(normalise(load("synthetic_identity", "sample").images[9:12])) / fe.FEATURE_SCALE
    assert torch.allclose(found[:, :8], torch.tensor(STORED), atol=2e-4)


@needs_weights
@pytest.mark.slow
def test_it_verifies_real_people():
    from sklearn.metrics import roc_auc_score

    try:
        faces = read_orl()[:120]  # twelve people
    except DataError as error:
        pytest.skip(f"ORL IS NOT HERE: {error}")
    with torch.no_grad():
        features = functional.normalize(fe.face_embedding((1, 92, 92), 2).features(normalise(faces)), dim=1)
    people = torch.arange(120) // 10
    first, second = torch.triu_indices(120, 120, 1)
    likeness = (features @ features.T)[first, second]
    assert roc_auc_score((people[first] == people[second]).numpy(), likeness.numpy()) > 0.97
