"""Where the starting weights come from: the config node `base`."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

FOLDER = ".bases"  # under the runs folder; hidden, so that no report ranks a base
CLOSED = ("lr", "seed", "epochs", "precision")  # a base's own, never the run's


def base_config(cfg: DictConfig) -> DictConfig | None:
    """The run that trains the base of `cfg`; None where nothing is to be trained.

    It is a run like any other, of the same model on the source's data, with what `base` says in
    the place of method, knobs and budget. Its own base is whatever the model begins with.
    """
    if cfg.base.get("method") is None:
        return None
    base = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    assert isinstance(base, DictConfig)
    own = base.base
    with open_dict(base):
        for key in CLOSED:
            base[key] = own[key]
        base.rank = 1  # no part of full training, but a knob that must be there
        base.method, base.data, base.budget = own.method, own.source, own.budget
        base.run.dir = str(Path(cfg.run.dir) / FOLDER)
        base.logger = None
        base.base = {
            "name": "from_model" if own.load_weights else "scratch",
            "load_weights": own.load_weights,
            "head": "kept",
            "source": None,
        }
    return base
