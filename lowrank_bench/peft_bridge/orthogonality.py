"""The penalty of PEFT's AdaLoRA, for losses that are not a PEFT model's own."""

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.peft_bridge.tuner import tuner_of


class Orthogonality:
    """gamma * mean over all A and B of |A A^T - I|_F and |B^T B - I|_F.

    A (r, i), B (o, r); gamma is the config's `orth_reg_weight`. PEFT adds this inside the forward
    of its own model, and only to an output that has a `loss`; a plain model's has none.

    Source: Zhang 2023, eq. 4, arXiv 2303.10512. As PEFT, and unlike the paper: a mean in place
    of a sum, and norms that are not squared.
    Raises: ConfigError when the adapter is not PEFT's AdaLoRA.
    """

    def __call__(self, model: nn.Module) -> Tensor:
        config = getattr(getattr(tuner_of(model), "rankallocator", None), "peft_config", None)
        if config is None:
            raise ConfigError("method.penalty=peft_orthogonality: is for peft.AdaLoraConfig alone")
        terms = []
        for name, factor in model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                gram = factor @ factor.T if ".lora_A." in name else factor.T @ factor  # (r, r)
                terms.append(torch.linalg.norm(gram - torch.eye(len(gram)).to(gram)))
        return config.orth_reg_weight * torch.stack(terms).mean()
