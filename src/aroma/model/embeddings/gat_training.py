"""Training of the graph encoder by link prediction: seeded, resumable after a kill, the best epoch kept.

Every random choice of an epoch comes from the seed and the epoch's number, so a training that was killed and resumed
gives the same curve and the same weights as one that was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.stats import rankdata
from torch import Tensor, nn

from aroma.errors import ModelError
from aroma.model.embeddings.gat_model import GatLinkModel, GatOptions, load_state, state_arrays
from aroma.model.embeddings.links import Links, Pairs
from aroma.model.embeddings.pair_scores import PairList

_CHECKPOINT: Final = "checkpoint.safetensors"
_DRAWS: Final = {"train": 0, "dropout": 1, "validation": 2, "test": 3}
Watch = Callable[["Epoch"], None]
"""Told of each finished epoch; may raise to stop the training, whose checkpoint then stands."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of training.

    Attributes:
        number: From 0.
        loss: Mean binary cross-entropy over edges and non-edges.
        auroc: On validation edges against uniform non-edges.
        auroc_degree: On validation edges against degree-matched non-edges.
    """

    number: int
    loss: float
    auroc: float
    auroc_degree: float


@dataclass
class Trained:
    """A training and how it went.

    Attributes:
        model: With the weights of the best epoch.
        history: Every epoch.
        best: Number of the best epoch, by validation AUROC under the negatives that were trained on.
        test: AUROC on test edges, by kind of negatives.
    """

    model: GatLinkModel
    history: list[Epoch] = field(default_factory=list)
    best: int = -1
    test: Mapping[str, float] = field(default_factory=dict)


def train(
    links: Links,
    inputs: npt.NDArray[np.float32],
    options: GatOptions,
    directory: Path,
    *,
    device: str = "cpu",
    watch: Watch | None = None,
) -> Trained:
    """Train until ``options.epochs``, or until validation gets no better for ``options.patience`` epochs.

    Args:
        links: The view's edges in their parts.
        inputs: float32 (nodes, input_dim).
        options: What was chosen.
        directory: Where the checkpoint stands; one that is there is gone on with.
        device: ``cpu`` or ``cuda``.
        watch: Told of each epoch.

    Raises:
        ModelError: The loss is not finite (the last good checkpoint stays), or the checkpoint is damaged.
    """
    options.check()
    torch.manual_seed(options.seed)
    model = GatLinkModel(options, inputs.shape[1]).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=options.weight_decay)
    trained, best = _resume(directory / _CHECKPOINT, model, optimiser, options)
    nodes = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
    asked = _questions(links, links.validation, options.seed, "validation")
    while not _is_over(trained, options):
        number = len(trained.history)
        loss = _step(model, optimiser, nodes, links, options, number)
        scores = _aurocs(model, nodes, links.validation_graph(), asked)
        trained.history.append(Epoch(number, loss, scores["uniform"], scores["degree"]))
        if trained.best < 0 or _chosen(trained.history[-1], options) > _chosen(trained.history[trained.best], options):
            trained.best, best = number, state_arrays(model)
        _keep(directory / _CHECKPOINT, model, optimiser, best, trained, options)
        if watch is not None:
            watch(trained.history[-1])
    load_state(model, best)
    trained.test = _aurocs(model, nodes, links.test_graph(), _questions(links, links.test, options.seed, "test"))
    return trained


def encode(model: GatLinkModel, inputs: npt.NDArray[np.float32], links: Links, device: str = "cpu") -> Any:
    """Return float32 (nodes, dim): every node encoded on the whole view, all its edges as messages."""
    from aroma.model.embeddings.links import both_ways

    model.eval()
    with torch.no_grad():
        nodes = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
        return model.encoder(nodes, both_ways(links.nodes, links.every)).float().cpu().numpy()


def auroc(edges: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> float:
    """Return the chance that an edge scores above a non-edge, ties counted half."""
    ranks = rankdata(np.concatenate([edges, others]))
    found = (ranks[: len(edges)].sum() - len(edges) * (len(edges) + 1) / 2) / (len(edges) * len(others))
    return float(found)


def _step(
    model: GatLinkModel, optimiser: torch.optim.Optimizer, nodes: Tensor, links: Links, options: GatOptions, number: int
) -> float:
    """Train one epoch, all its edges at once; return the loss."""
    torch.manual_seed(_seed(options.seed, "dropout", number))
    fold = number % len(links.folds)
    edges = links.folds[fold]
    generator = np.random.default_rng(_seed(options.seed, "train", number))
    others = links.non_edges(edges.shape[1], generator, by_degree=options.negatives == "degree")
    labels = torch.cat([torch.ones(edges.shape[1]), torch.zeros(others.shape[1])]).to(nodes.device)
    model.train()
    optimiser.zero_grad()
    scores = model(nodes, links.training_graphs[fold], _pairs(links, edges, others))
    loss = nn.functional.binary_cross_entropy_with_logits(scores, labels)
    if not torch.isfinite(loss):
        raise ModelError(
            f"epoch {number}: the loss is {loss.item()}; the checkpoint of the epoch before stands. "
            "Take a smaller --rate, or other inputs"
        )
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.item())


def _pairs(links: Links, edges: Pairs, others: Pairs) -> PairList:
    """Return edges and non-edges, each with its ends in an order by its parity: concatenation must not tell them."""
    both = np.concatenate([edges, others], axis=1)
    turned = (both.sum(axis=0) % 2).astype(bool)
    return PairList.of(links.nodes, np.where(turned, both[1], both[0]), np.where(turned, both[0], both[1]))


def _questions(links: Links, edges: Pairs, seed: int, what: str) -> dict[str, tuple[PairList, int]]:
    generator = np.random.default_rng(_seed(seed, what, 0))
    kinds = {"uniform": False, "degree": True}
    drawn = {kind: links.non_edges(edges.shape[1], generator, by_degree=by) for kind, by in kinds.items()}
    return {kind: (_pairs(links, edges, others), edges.shape[1]) for kind, others in drawn.items()}


def _aurocs(
    model: GatLinkModel, nodes: Tensor, graph: Any, asked: Mapping[str, tuple[PairList, int]]
) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        encoded = model.encoder(nodes, graph)
        scores = {kind: model.scorer(encoded, pairs).float().cpu().numpy() for kind, (pairs, _) in asked.items()}
    return {kind: auroc(found[: asked[kind][1]], found[asked[kind][1] :]) for kind, found in scores.items()}


def _seed(seed: int, what: str, number: int) -> int:
    return int(np.random.SeedSequence([seed, _DRAWS[what], number]).generate_state(1)[0])


def _chosen(epoch: Epoch, options: GatOptions) -> float:
    return epoch.auroc_degree if options.negatives == "degree" else epoch.auroc


def _is_over(trained: Trained, options: GatOptions) -> bool:
    done = len(trained.history)
    return done >= options.epochs or (trained.best >= 0 and done - 1 - trained.best >= options.patience)


def _keep(
    place: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
    trained: Trained,
    options: GatOptions,
) -> None:
    """Write the checkpoint whole: weights now and at best, the optimiser's state, the history."""
    arrays = {f"model.{name}": tensor for name, tensor in state_arrays(model).items()}
    arrays |= {f"best.{name}": tensor for name, tensor in best.items()}
    for number, state in optimiser.state_dict()["state"].items():
        arrays |= {f"optimiser.{number}.{name}": value.detach().cpu().contiguous() for name, value in state.items()}
    history = json.dumps([asdict(epoch) for epoch in trained.history])
    said = {"options": json.dumps(options.as_facts()), "history": history, "best": str(trained.best)}
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, partial, said)
        partial.replace(place)
    except OSError as error:
        raise ModelError(f"{place}: cannot be written ({error.strerror or error}); free some space") from error
    finally:
        partial.unlink(missing_ok=True)


def _resume(
    place: Path, model: nn.Module, optimiser: torch.optim.Optimizer, options: GatOptions
) -> tuple[Trained, dict[str, Tensor]]:
    assert isinstance(model, GatLinkModel)
    if not place.exists():
        return Trained(model), {}
    try:
        with safe_open(place, framework="pt") as opened:
            said = opened.metadata()
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        before = json.loads(said["options"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{place}: is no checkpoint ({error}); remove it to begin anew") from error
    changed = [name for name, value in options.as_facts().items() if before.get(name) != value and name != "epochs"]
    if changed:
        raise ModelError(f"{place}: was made with another {changed[0]} ({before.get(changed[0])}); remove it first")
    load_state(model, _under(arrays, "model."))
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(arrays, "optimiser.").items():
        number, _, part = name.partition(".")
        states.setdefault(int(number), {})[part] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
    history = [Epoch(**epoch) for epoch in json.loads(said["history"])]
    return Trained(model, history, int(said["best"])), _under(arrays, "best.")


def _under(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in arrays.items() if name.startswith(prefix)}
