"""Does a language model with a large vocabulary gain from the square loss? Next-word accuracy and perplexity.

    python benchmarks/language_modeling.py --train_file train.jsonl --validation_file test.jsonl \
        --methods cross_entropy square:k=200,M=10 --learning_rates 1e-3 2e-3 4e-3 --steps 600
    python benchmarks/language_modeling.py ... --steps 600 --equal_time

A small decoder over words (--vocabulary subwords: over parts of them) is trained from the same initial weights on the
same blocks in the same order, with a linear warm-up and a cosine decay over the budget: equal steps, or with
--equal_time the time of so many steps with cross-entropy. Seconds of single runs on a shared machine are noise, so
that time is counted and not measured: the steps of the losses are timed once, in turns in one process, and their
ratios are kept in --output; then a step with the square loss costs, say, .25 of the budget's unit, and every run has
a fixed number of steps. Even blocks of the validation file choose the learning rate of each method, odd blocks are
reported. A METHOD is a loss with its parameters, or several one after the other with the share of the budget at which
each begins:

    square:k=200,M=10                            the square loss without scores
    square:k=10..1000,M=10                       k grows geometrically over the budget
    cross_entropy@0,square:k=200,M=10@0.1        a start in cross-entropy
    square:k=200,M=10@0,cross_entropy@0.9        an end in cross-entropy
    prior+square:k=200,M=10                      the head's bias begins at the scores that mean the words' frequencies

Perplexity is measured through the loss's link, and as that of softmax(T f) with T fitted on validation blocks. Each run
is written into --output as it ends, and what is there is not run again. A scale s on the scores is no method
of its own: with f = s g the square loss is s^2 times that of g with M / s, and Adam does not see the factor s^2.
"""

import argparse
import json
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import torch
from measuring import read, seconds, write
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from hf_squareloss import Loss, make_loss
from hf_squareloss.comparison import environment
from hf_squareloss.recipes.language_blocks import encode_texts
from hf_squareloss.recipes.language_metrics import language_metrics
from hf_squareloss.recipes.language_texts import load_texts
from hf_squareloss.recipes.vocabulary import VOCABULARIES, build_tokenizer
from hf_squareloss.training import parse_loss_parameters

RESULTS = Path(__file__).with_name("language_modeling.json")
WARM_UP = 0.05  # share of the budget
ROUNDS = 15  # of the times of a step
REFERENCE = "cross_entropy"
FOR_TEMPERATURE = 64  # blocks


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    blocks, size = read_blocks(args)
    settings = {
        **{"data": args.data or Path(args.train_file).parent.name, "vocabulary": size, "block_size": args.block_size},
        **{"batch_size": args.batch_size, "hidden_size": args.hidden_size, "layers": args.layers},
        "training_tokens": blocks["train"].numel(),
        **({} if args.vocabulary == "words" else {"units": args.vocabulary}),
    }
    found = read(args.output)
    if found and found["settings"] != settings:
        raise SystemExit(f"{args.output} holds runs of {found['settings']}, not {settings}: give another --output")
    results = found or {"settings": settings, "environment": environment(), "threads": args.threads, "runs": []}
    done = {json.dumps(run["key"]) for run in results["runs"]}
    if args.equal_time and measure_missing(results.setdefault("step_ratios", {}), blocks["train"], size, args):
        write(args.output, results)
    budget = {"equal_time" if args.equal_time else "steps": args.steps}
    keys = [
        {"method": method, "learning_rate": rate, "seed": seed, **budget}
        for seed in args.seeds
        for method in args.methods
        for rate in args.learning_rates
    ]
    for key in keys:
        if json.dumps(key) not in done:
            results["runs"].append({"key": key, **train(key, blocks, size, args, results.get("step_ratios"))})
            write(args.output, results)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_file", required=True, help="texts: .txt, or a table with a column text")
    parser.add_argument("--validation_file", required=True)
    parser.add_argument("--data", help="name of the data in tables; default: the file's folder")
    parser.add_argument("--methods", nargs="+", default=["cross_entropy", "square"])
    parser.add_argument("--learning_rates", nargs="+", type=float, default=[1e-3, 2e-3, 4e-3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps of a run")
    parser.add_argument(
        "--equal_time", action="store_true", help="or as many as take the time of these with cross-entropy"
    )
    parser.add_argument("--vocabulary", choices=VOCABULARIES, default="words")
    parser.add_argument("--vocabulary_size", type=int, default=20_000)
    parser.add_argument("--block_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--hidden_size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--evaluation_blocks", type=int, default=800, help="half of them choose the learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    for method in args.methods:
        phases(method, args.vocabulary_size)  # a wrong one is refused before anything is trained
    return args


def read_blocks(args: argparse.Namespace) -> tuple[dict[str, Tensor], int]:
    """The training blocks (N, T), those that choose and those that are reported; and the number of words."""
    splits = load_texts({"train": args.train_file, "validation": args.validation_file})
    tokenizer = build_tokenizer(splits["train"]["text"], args.vocabulary, args.vocabulary_size)
    encoded = encode_texts(splits, tokenizer, block_size=args.block_size, labels=False)
    blocks = {name: torch.tensor(rows["input_ids"][:]) for name, rows in encoded.items()}
    few = blocks.pop("validation")[: args.evaluation_blocks]
    return {**blocks, "validation": few[::2], "test": few[1::2]}, len(tokenizer)


def phases(method: str, num_classes: int) -> tuple[bool, list[tuple[float, str]]]:
    """Whether the bias begins at the prior; and of each phase where it begins, from 0 to 1, and its loss."""
    plain = method.removeprefix("prior+")
    parts = re.findall(r"([a-z_]+(?::[^@]*?)?)(?:@([0-9.]+))?(?:,(?=[a-z_]+(?:[:@]|$))|$)", plain)
    found = [(float(start or 0), loss) for loss, start in parts]
    starts = [start for start, _ in found]
    if not found or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= 1:
        raise ValueError(
            f"{method!r}: the phases must begin at 0 and follow one another, as in cross_entropy@0,square@0.1"
        )
    for _, loss in found:
        loss_at(loss, 0.5, num_classes)
    return plain != method, found


def loss_at(text: str, progress: float, num_classes: int) -> Loss:
    """A phase's loss: a parameter written a..b goes from a to b, geometrically, as progress goes from 0 to 1."""
    name, _, parameters = text.partition(":")

    def between(match: re.Match[str]) -> str:
        first, last = float(match[1]), float(match[2])
        return str(first * (last / first) ** progress)

    words = re.sub(r"([0-9.]+?)\.\.([0-9.]+)", between, parameters).split(",") if parameters else []
    return make_loss(name, **parse_loss_parameters(words)).resolve(num_classes)


class Learner:
    """A fresh decoder with its optimizer, and a bias on its head where it begins at the prior."""

    def __init__(self, tokens: Tensor, size: int, args: argparse.Namespace, prior: Loss | None) -> None:
        self.model = small_decoder(size, args)
        self.bias = None if prior is None else nn.Parameter(prior_scores(prior, tokens, size))
        self.parameters = [*self.model.parameters(), *([] if self.bias is None else [self.bias])]
        self.optimizer = torch.optim.AdamW(self.parameters, betas=(0.9, 0.95), weight_decay=0.01)

    def step(self, batch: Tensor, loss: Loss, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        hidden = self.model.model(input_ids=batch[:, :-1]).last_hidden_state
        loss.of_linear(hidden, self.model.lm_head.weight, self.bias, batch[:, 1:]).mean().backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.inference_mode()
    def scores(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N, C) of the words after the first of each block, and which they are (N,)."""
        hidden = self.model.model(input_ids=blocks[:, :-1]).last_hidden_state
        scores = nn.functional.linear(hidden, self.model.lm_head.weight, self.bias)
        return scores.flatten(0, 1), blocks[:, 1:].flatten()

    def temperature(self, blocks: Tensor) -> float:
        """T with the least perplexity of softmax(T f)."""
        scores, words = self.scores(blocks)
        found: Any = minimize_scalar(
            lambda log_T: float(nn.functional.cross_entropy(scores * math.exp(log_T), words)),
            bounds=(-7.0, 7.0),
            method="bounded",
            options={"xatol": 1e-2},
        )
        return round(math.exp(found.x), 4)


def train(
    key: dict[str, Any],
    blocks: dict[str, Tensor],
    size: int,
    args: argparse.Namespace,
    ratios: dict[str, float] | None,
) -> dict[str, Any]:
    """One run: its steps, seconds of process time, last loss, and what it reached."""
    set_seed(key["seed"])
    with_prior, parts = phases(key["method"], size)
    learner = Learner(blocks["train"], size, args, loss_at(parts[0][1], 0.0, size) if with_prior else None)
    batches = batches_of(blocks["train"], args.batch_size, key["seed"])
    start, step, used = process_time(), 0, 0.0
    budget = key["equal_time"] if "equal_time" in key else key["steps"]
    with tqdm(total=budget, desc=f"{key['method']} {key['learning_rate']:g}", disable=None) as bar:
        while used < budget - 1e-6:
            progress = used / budget
            text = next(text for begin, text in reversed(parts) if begin <= progress)
            learner.step(next(batches), loss_at(text, progress, size), key["learning_rate"] * shape(progress))
            cost = ratios[costs_as(text, with_prior)] if ratios and "equal_time" in key else 1.0
            step, used = step + 1, used + cost
            bar.update(cost)
    taken = process_time() - start
    last = loss_at(parts[-1][1], 1.0, size)
    T = learner.temperature(blocks["validation"][:FOR_TEMPERATURE])
    found = {part: evaluate(learner, last, T, blocks[part]) for part in ("validation", "test")}
    return {"steps": step, "seconds": round(taken, 1), "last_loss": last.to_dict(), "temperature": T, **found}


def costs_as(text: str, with_prior: bool) -> str:
    """What the time of a step depends on: the loss, whatever its parameters, and a bias."""
    return ("prior+" if with_prior else "") + text.partition(":")[0]


def measure_missing(ratios: dict[str, float], tokens: Tensor, size: int, args: argparse.Namespace) -> bool:
    """Adds the ratios of step times to REFERENCE's that are not there yet; whether there were any.

    Medians of process time, in turns, so that other work on the machine meets all alike.
    """
    wanted = {
        costs_as(text, prior)
        for prior, parts in map(partial(phases, num_classes=size), args.methods)
        for _, text in parts
    }
    missing = sorted(wanted - ratios.keys())
    if not missing:
        return False
    batch = tokens[: args.batch_size]
    contenders = {}
    for name in [REFERENCE, *missing]:
        loss = loss_at(name.removeprefix("prior+"), 0.0, size)
        learner = Learner(tokens, size, args, loss if name.startswith("prior+") else None)
        contenders[name] = partial(learner.step, batch, loss, 1e-4)
    medians = seconds(contenders, ROUNDS, "steps in turns", clock=process_time)
    ratios |= {name: round(medians[name] / medians[REFERENCE], 4) for name in missing}
    return True


def small_decoder(size: int, args: argparse.Namespace) -> Any:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 3 * args.hidden_size}
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        max_position_embeddings=args.block_size,
        use_cache=False,
        **heads,  # type: ignore[arg-type]
    )
    return LlamaForCausalLM(config)


def prior_scores(loss: Loss, tokens: Tensor, size: int) -> Tensor:
    """Scores (C,) whose probabilities by the loss's link are the frequencies of the words, each counted once more."""
    p = (torch.bincount(tokens.flatten(), minlength=size) + 1.0) / (tokens.numel() + size)
    if loss.scores_are_logits:
        return p.log()
    k, M = (float(loss.to_dict().get(name, 1.0)) for name in ("k", "M"))
    return k * M * p / (1.0 + (k - 1.0) * p)


def batches_of(blocks: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Batches of blocks in an order that the seed decides, epoch after epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(blocks), generator=generator)
        yield from (blocks[chosen] for chosen in order[: len(order) // size * size].split(size))


def shape(progress: float) -> float:
    """The learning rate's course over the budget: linear warm-up, then a cosine down to a tenth."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.02)
    return 0.55 + 0.45 * math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP))


@torch.inference_mode()
def evaluate(learner: Learner, loss: Loss, temperature: float, blocks: Tensor) -> dict[str, float]:
    """Accuracy and perplexity through the loss's link, and perplexity of softmax(T f)."""
    through_link, through_softmax = [], []
    for few in blocks.split(4):
        scores, words = learner.scores(few)
        right = (scores.argmax(-1) == words).float()
        surprise = -loss.probabilities(scores).gather(-1, words.unsqueeze(-1)).squeeze(-1).log()
        through_link.append(torch.stack([surprise.clamp_min(0.0), right], -1))
        surprise = nn.functional.cross_entropy(scores * temperature, words, reduction="none")
        through_softmax.append(torch.stack([surprise, right], -1))
    calibrated = language_metrics(torch.cat(through_softmax)[None].numpy())
    return language_metrics(torch.cat(through_link)[None].numpy()) | {"calibrated": calibrated["perplexity"]}


if __name__ == "__main__":
    main()
