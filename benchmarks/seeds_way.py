"""One configuration of the founding experiment as a plain script trains it, a process for it.

    python -m benchmarks.seeds_way METHOD RANK EPOCHS ROOT [IMAGES]

As LoRALinear (github.com/mathmerizing/LoRALinear) does: torchvision's data set and transform,
image by image in every epoch, torch's own number of threads, nothing kept for a second time.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor


class Factorised(nn.Module):
    """y = x Aᵀ Bᵀ + b, (n, in) to (n, out)."""

    def __init__(self, inputs: int, outputs: int, rank: int, method: str) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.empty(rank, inputs))
        self.B = nn.Parameter(torch.empty(outputs, rank))
        self.bias = nn.Parameter(torch.zeros(outputs))
        for factor in (self.A, self.B):
            bound = rank**-0.5 if method == "lowrank" else factor.shape[1] ** -0.5
            nn.init.uniform_(factor, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.A), self.B, self.bias)


def network(method: str, rank: int) -> nn.Module:
    def layer(inputs: int, outputs: int) -> nn.Module:
        if method == "full":
            return nn.Linear(inputs, outputs)
        return Factorised(inputs, outputs, rank, method)

    return nn.Sequential(
        nn.Flatten(), layer(784, 512), nn.ReLU(), layer(512, 512), nn.ReLU(), layer(512, 10)
    )


def main(method: str, rank: int, epochs: int, root: str, images: int | None) -> None:
    parts = [FashionMNIST(root, train=part, transform=ToTensor()) for part in (True, False)]
    if images is not None:
        parts = [Subset(part, range(images)) for part in parts]
    training, testing = (DataLoader(part, batch_size=64) for part in parts)
    model = network(method, rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    for _ in range(epochs):
        losses = []
        for x, y in training:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        right = 0.0
        with torch.no_grad():
            for x, y in testing:
                right += (model(x).argmax(1) == y).sum().item()
        print(f"{sum(losses) / len(losses):.4f} {right / len(parts[1]):.4f}")


if __name__ == "__main__":
    chosen, size, length, place, *rest = sys.argv[1:]
    main(chosen, int(size), int(length), place, int(rest[0]) if rest else None)
