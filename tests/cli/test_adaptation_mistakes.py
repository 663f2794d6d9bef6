"""A mistake about a base, or about how a run is worked off, is one line like any other."""

import pytest
from test_mistakes import complaint

PAIR = "pair=digits_halves"

# What the line must say, beside naming the key.
BEFORE_TORCH = {
    "base=pretraned_here": ("base=pretraned_here", "did you mean 'pretrained_here'"),
    "base=null": ("base=null", "from_model, pretrained_here, scratch"),
    "~base": ("base",),
    "pair=digit_halves": ("pair=digit_halves", "did you mean 'digits_halves'"),
    "pair=digits_halves base.leraning_rate=1": ("base.leraning_rate:", "there is no such key"),
    "pair=digits_halves +base.rank=1": ("base.rank:", "there is no such key"),
    "pair=digits_halves +base.source.clases=[1]": ("base.source.clases:", "'classes'"),
    "pair=digits_halves data@base.source=minst": ("minst", "did you mean 'mnist'"),
    "pair=digits_halves base.head=new": ("base.head=new:", "fresh, kept, frozen"),
    "pair=digits_halves base.lr=0": ("base.lr=0:", "positive number"),
    "pair=digits_halves seed=1000": ("seed=1000:", "base.seed"),
    "pair=digits_halves base.seed=-1": ("base.seed=-1:", "0 or more"),
    "pair=digits_halves base.epochs=0": ("base.epochs=0:", "positive whole number"),
    "pair=digits_halves base.epochs=[1,2]": ("base.epochs=[1, 2]:", "-m base.epochs=1,2"),
    "pair=digits_halves base.precision=8": ("base.precision=8:", "32-true"),
    "pair=digits_halves base.load_weights=maybe": ("base.load_weights=maybe:", "True, False"),
    "pair=digits_halves base.budget.batch_size=0": ("base.budget.batch_size=0:", "positive"),
    "pair=digits_halves base.budget.selection=best": ("base.budget.selection=best:", "last"),
    "pair=digits_halves base.budget.clip_norm=-1": ("base.budget.clip_norm=-1:", "positive"),
    "pair=digits_halves base.source=null": ("base.source:", "is missing"),
    "pair=digits_halves base.method=null": ("base.method:", "is missing"),
    "pair=digits_halves ~base.budget": ("base.budget:", "is missing"),
    "pair=digits_halves method@base.method=lora": ("base.method.adapter:", "plain model"),
    "+data@base.source=digits": ("base.source:", "base=scratch was trained on nothing"),
    "run.accumulate=0": ("run.accumulate=0:", "positive whole number"),
    "run.accumulate=2 run.block=4": ("run.block=4:", "run.accumulate=2"),
    "run.compile=yes": ("run.compile=yes:", "True, False"),
    "run.checkpoint_activations=1.5": ("run.checkpoint_activations=1.5:", "True, False"),
    "budget.clip_norm=-1": ("budget.clip_norm=-1:", "positive number"),
    "budget.updates_per_epoch=0": ("budget.updates_per_epoch=0:", "positive whole number"),
    "budget.updates_per_epoch=2 budget.shuffle=false": ("budget.shuffle=true",),
    "method=galore method.transform.per_layer=true run.accumulate=2": (
        "run.accumulate=2:",
        "per_layer=false",
    ),
}


@pytest.mark.parametrize("command", BEFORE_TORCH)
def test_a_mistake_is_one_line_that_says_what_would_be_right(composing, here, command):
    line = complaint(composing(*command.split()), here)
    assert not [part for part in BEFORE_TORCH[command] if part not in line], line


BEFORE_TRAINING = {
    "base=from_model": ("base.load_weights=true: model=mlp brings no", "base=scratch"),
    f"{PAIR} base.load_weights=true": ("base.load_weights=true: model=mlp brings",),
    f"{PAIR} data.classes=[5,6,7] data.num_classes=3 base.head=kept": (
        "base.source: 'head.weight' is (5, 512) in the base, (3, 512) in the model",
        "say base.head=fresh",
    ),
    f"{PAIR} method=head base.head=frozen": ("nothing would train", "base.head=frozen"),
    f"{PAIR} method=lora method.targets=[head]": ("method.targets: head", "base.head sets apart"),
    f"{PAIR} method=lowrank": ("method.init=rank_uniform:", "'hidden.0'", "init=spectral"),
    f"{PAIR} method=ae": ("method.init=torch_default:", "'hidden.0'", "base=scratch"),
    f"{PAIR} method=cola": ("method.init=cola:", "'hidden.0'", "base=scratch"),
    f"{PAIR} method=sltrain": ("method.init=sltrain:", "'hidden.0'", "base=scratch"),
    f"{PAIR} method=full method/init=product_variance": ("method.init=product_variance:",),
    f"{PAIR} model.head=hat": ("head=hat:", "no such module"),
    f"{PAIR} base.source.num_classes=4": ("base.source.num_classes=4:", "0 to 4"),
    f"{PAIR} base.source.classes=[0,11]": ("base.source.classes=[0, 11]:",),
    f"{PAIR} base.source.val_size=0 base.budget.selection=best_val_loss": (
        "base.budget.selection=best_val_loss:",
    ),
    f"{PAIR} base.budget.updates_per_epoch=500": ("base.budget.updates_per_epoch=500:", "has 10"),
    f"{PAIR} +base.method.optimizer.momentum=1": ("base.method.optimizer.momentum:", "'momentum'"),
    f"{PAIR} base.method.targets=[hide*]": ("base.method.targets:", "'hide*'", "hidden.0"),
    f"{PAIR} data.quarter_turns=5": ("data.quarter_turns=5:", "0, 1, 2 or 3"),
    f"{PAIR} base.source.quarter_turns=5": ("base.source.quarter_turns=5:", "0, 1, 2 or 3"),
    "data.permutation_seed=-1": ("data.permutation_seed=-1:", "0 or more"),
    "data.classes=[3]": ("data.classes=[3]:", "two or more"),
    "budget.updates_per_epoch=500": ("budget.updates_per_epoch=500:", "has 20"),
    "run.checkpoint_activations=true model.blocks=null": ("names no blocks",),
    f"{PAIR} data@base.source=kmnist base.source.test_size=null": (
        "base.source=kmnist:",
        "train-images-idx3-ubyte",
        "say base.source.root=",
    ),
    f"-m {PAIR} method=lora,lowrank": ("method.init=rank_uniform:",),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", BEFORE_TRAINING)
def test_a_mistake_that_only_building_shows_is_one_line_too(bench, here, command):
    line = complaint(bench(*command.split()), here)
    assert not [part for part in BEFORE_TRAINING[command] if part not in line], line
