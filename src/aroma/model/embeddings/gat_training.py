"""Training of the graph encoder by link prediction: seeded, resumable after a kill, the best epoch kept.

Every random choice of an epoch comes from the seed and the epoch's number, so a training that was killed and resumed
gives the same curve and the same weights as one that was not.

An epoch asks about one fold of the training edges: in one step, or with ``batch_edges`` in steps of so many with
sampled neighbours. Scores and vectors are always of the whole graph; after sampled training they are computed on the
CPU, whose layers need memory for the nodes only.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping
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

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings.edge_softmax import MessageGraph
from aroma.model.embeddings.gat_model import GatLinkModel, GatOptions, load_state, state_arrays
from aroma.model.embeddings.links import Links, Pairs, both_ways
from aroma.model.embeddings.pair_scores import PairList

_CHECKPOINT: Final = "checkpoint.safetensors"
_DRAWS: Final = {"train": 0, "dropout": 1, "validation": 2, "test": 3, "samples": 4}
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
        ModelError: The loss is not finite (the last good checkpoint stays), the checkpoint is damaged, or there is no
            such device.
        UsageError: A choice that is none, or that needs a GPU.
    """
    options.check()
    check_device(options, device)
    torch.manual_seed(options.seed)
    model = GatLinkModel(options, inputs.shape[1]).to(device)
    if options.compile:
        model.encoder.compile()
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=options.weight_decay)
    trained, best = _resume(directory / _CHECKPOINT, model, optimiser, options)
    nodes = torch.from_numpy(np.ascontiguousarray(inputs)).to("cpu" if options.batch_edges else device)
    asked = _questions(links, links.validation, options.seed, "validation")
    while not _is_over(trained, options):
        number = len(trained.history)
        loss = _epoch(model, optimiser, nodes, links, options, number)
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


def encode(
    model: GatLinkModel, inputs: npt.NDArray[np.float32], links: Links, device: str = "cpu"
) -> npt.NDArray[np.float32]:
    """Return float32 (nodes, dim): every node encoded on the whole view, all its edges as messages."""
    model = model.to(device)
    model.eval()
    with torch.no_grad():
        nodes = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
        found: npt.NDArray[np.float32] = model.encoder(nodes, both_ways(links.nodes, links.every)).float().cpu().numpy()
    return found


def auroc(edges: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> float:
    """Return the chance that an edge scores above a non-edge, ties counted half."""
    ranks = rankdata(np.concatenate([edges, others]))
    found = (ranks[: len(edges)].sum() - len(edges) * (len(edges) + 1) / 2) / (len(edges) * len(others))
    return float(found)


def check_device(options: GatOptions, device: str) -> None:
    """Refuse a device that is not here, and choices that need a GPU where none is asked for.

    Raises:
        ModelError: No GPU here.
        UsageError: ``precision`` or ``compile`` without a GPU.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"--device {device}: torch sees no GPU here; take --device cpu, or look at the driver")
    if device.startswith("cuda"):
        return
    for name, chosen in (("precision bfloat16", options.precision != "float32"), ("compile", options.compile)):
        if chosen:
            raise UsageError(f"{name} is for a GPU, and the device is {device}; leave it out, or take --device cuda")


def read_history(directory: Path) -> list[Epoch]:
    """Return the epochs of the checkpoint in a directory; none where there is no whole checkpoint."""
    try:
        with safe_open(directory / _CHECKPOINT, framework="pt") as opened:
            return [Epoch(**epoch) for epoch in json.loads(opened.metadata()["history"])]
    except (OSError, SafetensorError, KeyError, ValueError):
        return []


def _epoch(
    model: GatLinkModel, optimiser: torch.optim.Optimizer, nodes: Tensor, links: Links, options: GatOptions, number: int
) -> float:
    """Train one epoch; return its mean loss."""
    torch.manual_seed(_seed(options.seed, "dropout", number))
    model.train()
    total = count = 0.0
    for some, graph, pairs, edges in _batches(nodes, links, options, number):
        loss = _step(model, optimiser, some, graph, pairs, edges, options)
        if not np.isfinite(loss):
            raise ModelError(
                f"epoch {number}: the loss is {loss}; the checkpoint of the epoch before stands. "
                "Take a smaller --rate, or other inputs"
            )
        total, count = total + loss * edges, count + edges
    return total / count


def _batches(
    nodes: Tensor, links: Links, options: GatOptions, number: int
) -> Iterator[tuple[Tensor, MessageGraph, PairList, int]]:
    """Yield inputs, the graph among them, pairs of which the first are edges, and how many are."""
    fold = number % len(links.folds)
    edges, graph = links.folds[fold], links.training_graphs[fold]
    generator = np.random.default_rng(_seed(options.seed, "train", number))
    others = links.non_edges(edges.shape[1], generator, by_degree=options.negatives == "degree")
    if not options.batch_edges:
        yield nodes, graph, _pairs(links.nodes, edges, others), edges.shape[1]
        return
    from aroma.model.embeddings.sampling import NeighbourSampler, batches  # imports PyG, which takes seconds

    drawn = np.random.default_rng(_seed(options.seed, "samples", number))
    sampler = NeighbourSampler(graph, options.fan, 3)
    for some, some_others in batches(edges, others, options.batch_edges, drawn):
        found = sampler.sample(_turned(np.concatenate([some, some_others], axis=1)), drawn)
        rows = nodes[torch.from_numpy(found.nodes)]
        yield rows, found.graph, PairList.of(len(rows), *found.pairs), some.shape[1]


def _step(
    model: GatLinkModel,
    optimiser: torch.optim.Optimizer,
    nodes: Tensor,
    graph: MessageGraph,
    pairs: PairList,
    edges: int,
    options: GatOptions,
) -> float:
    """Take one step; the weights stay as they are where the loss is not finite."""
    device = next(model.parameters()).device
    optimiser.zero_grad()
    with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
        scores = model(nodes.to(device), graph, pairs).float()
    labels = torch.zeros(len(scores), device=device)
    labels[:edges] = 1
    loss = nn.functional.binary_cross_entropy_with_logits(scores, labels)
    if torch.isfinite(loss):
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return float(loss.item())


def _turned(both: Pairs) -> Pairs:
    """Return pairs with their ends in an order by their parity: concatenation must not tell edges from non-edges."""
    turned = (both.sum(axis=0) % 2).astype(bool)
    return np.stack([np.where(turned, both[1], both[0]), np.where(turned, both[0], both[1])])


def _pairs(nodes: int, edges: Pairs, others: Pairs) -> PairList:
    return PairList.of(nodes, *_turned(np.concatenate([edges, others], axis=1)))


def _questions(links: Links, edges: Pairs, seed: int, what: str) -> dict[str, tuple[PairList, int]]:
    generator = np.random.default_rng(_seed(seed, what, 0))
    kinds = {"uniform": False, "degree": True}
    drawn = {kind: links.non_edges(edges.shape[1], generator, by_degree=by) for kind, by in kinds.items()}
    return {kind: (_pairs(links.nodes, edges, others), edges.shape[1]) for kind, others in drawn.items()}


def _aurocs(
    model: GatLinkModel, nodes: Tensor, graph: Any, asked: Mapping[str, tuple[PairList, int]]
) -> dict[str, float]:
    model.eval()
    if next(model.parameters()).device != nodes.device:  # sampled training on a GPU: the whole graph stays outside
        model = copy.deepcopy(model).to(nodes.device)
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
