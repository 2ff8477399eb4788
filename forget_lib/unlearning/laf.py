"""LAF. Read in the authors' code at bda3694 (VUnlearning.py, Train.py, LAF.ipynb, hyperparameter.md): MNIST 20 epochs,
Adam 5e-5 and 1e-4, τ 5 (samples) or 20 (classes), 8 latent numbers, VAEs of 10 epochs. Their VAE of "what stays" is
trained on all of the training set, as here. Their features have no activation and the VAE ends in a sigmoid; here they
are what the head sees, and it ends linearly. LAF+R, which repairs the head with labels, is left out."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.models.nets import Classifier
from forget_lib.unlearning import Count, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import adam, epochs_of, features_of, frozen_copy, pairs, step, with_features

LATENT, VAE_EPOCHS, VAE_RATE, KL_WEIGHT = 8, 10, 1e-3, 0.025


class Autoencoder(nn.Module):
    """A variational autoencoder of features of a width: 128, 32 and the latent numbers, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(32, LATENT), nn.Linear(32, LATENT)
        layers = [nn.Linear(LATENT, 32), nn.ReLU(), nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, width)]
        self.decoder = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction [B, D] from a latent drawn at random, and the latents' mean and deviation."""
        code = self.encoder(features)
        mean, deviation = self.mean(code), torch.exp(0.5 * self.log_variance(code))
        return self.decoder(mean + deviation * torch.randn_like(deviation)), mean, deviation


def fitted(model: Classifier, task: UnlearningTask, samples: Samples) -> Autoencoder:
    """A VAE of the samples' features: squared error + 0.025 KL to N(0, 1), summed over numbers, mean over samples."""
    features = features_of(model.eval(), samples, task.meter)
    vae = Autoencoder(features.shape[1]).to(features)
    optimizer = adam(vae, VAE_RATE)
    for _ in range(VAE_EPOCHS):
        order = torch.randperm(len(features), generator=task.generator).to(features.device)
        for part in order.split(samples.batch_size):
            made, mean, deviation = vae(features[part])
            kl = -0.5 * (torch.log(deviation.square() + 1e-8) + 1 - mean.square() - deviation.square())
            step(optimizer, ((made - features[part]).square().sum() + KL_WEIGHT * kl.sum()) / len(part))
    return vae.requires_grad_(False)


def misfit(vae: Autoencoder, features: Tensor) -> Tensor:
    """Σ exp(e / (e + 1)), e the squared error of each sample's reconstruction."""
    error = (vae(features)[0] - features).square().sum(1)
    return torch.exp(error / (error + 1)).sum()


def alignment(kept: Tensor, kept_before: Tensor, gone: Tensor, gone_before: Tensor, temperature: float) -> Tensor:
    """Σ_i log(exp d_i / Σ_j exp(d_j / τ)), d = 1 - cosine with the original's features, i retain and j forget."""
    stay = 1 - functional.cosine_similarity(kept, kept_before)
    leave = 1 - functional.cosine_similarity(gone, gone_before)
    return (stay - torch.logsumexp(leave / temperature, 0)).sum()


@method("laf", title="LAF", uses="forget, retain (no labels)", family="outputs", needs=("linear head",))
@source("Shen et al., ICLR 2024", arxiv="2404.00506", status="V")
def laf(
    model: Classifier,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 5e-5,
    align_rate: Rate = 1e-4,
    epochs: Count = 20,
    temperature: Positive = 20.0,
) -> nn.Module:
    r"""Move forget samples' features off their own distribution and keep the others' where the original has them.

    One VAE is fitted to all training features, one to the forget set's. For each forget batch and a retain batch, one
    Adam step on :math:`\sum_r e^{m_r / (m_r + 1)} - \sum_f e^{m_f / (m_f + 1)}`, m the squared error of the first VAE
    on retain and of the second on forget features; then one of another Adam on :math:`\sum_r \log(e^{d_r} / \sum_f
    e^{d_f / \tau})`, d = 1 - cosine with the original's features. No label is used. Batch-norm statistics stay.
    Settings: learning_rate and align_rate of the two steps, temperature τ.
    """
    teacher = cast(Classifier, frozen_copy(model))
    all_vae = fitted(model, task, concatenate(task.retain, task.forget))
    forget_vae = fitted(model, task, task.forget)
    leave, align = adam(model, learning_rate), adam(model, align_rate)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for (gone, _), (kept, _) in pairs(task.forget, task.retain):
            gone_features, kept_features = (with_features(model, task, images)[0] for images in (gone, kept))
            step(leave, misfit(all_vae, kept_features) - misfit(forget_vae, gone_features))
            with torch.no_grad():
                kept_before, gone_before = teacher.features(kept), teacher.features(gone)
            kept_now, gone_now = (with_features(model, task, images)[0] for images in (kept, gone))
            task.meter.add(len(gone) + len(kept))
            step(align, alignment(kept_now, kept_before, gone_now, gone_before, temperature))
    return model
