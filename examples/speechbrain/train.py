"""Speech recognition with SpeechBrain, CTC and attention trained jointly, with a loss of your choice.

    python examples/speechbrain/train.py examples/speechbrain/hparams/train.yaml --data_folder DIR \
        --test_tsv test.tsv --sample_rate 8000 --loss square --output_folder outputs/square

DIR holds train.tsv (columns audio and text) and the waveforms or stored features (.npy) that it names. `--loss` is the
loss of the attention decoder and `--ctc_loss` that of the CTC branch: a name that `hf_squareloss.make_loss` knows;
`--loss_parameters k=2 M=3` are the parameters of `--loss`. The same command again resumes after a kill. Error rates of
every epoch and of the test set are in results.json.
"""

# pyright: reportMissingImports=false
import itertools
import json
import math
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hyperpyyaml import load_hyperpyyaml
from manifests import write_manifests
from speechbrain.core import Brain, Stage, create_experiment_directory
from speechbrain.dataio.dataio import read_audio
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CTCTextEncoder
from speechbrain.dataio.sampler import DynamicBatchSampler
from speechbrain.nnet.schedulers import update_learning_rate
from speechbrain.utils.data_pipeline import provides, takes
from speechbrain.utils.run_opts import RunOptions
from torch import Tensor

from hf_squareloss import Loss
from hf_squareloss.training import parse_loss_parameters


class Recogniser(Brain):
    """A joint CTC and attention model; its costs take raw scores."""

    def compute_forward(self, batch: Any, stage: Stage) -> tuple[Tensor, Tensor, list[list[int]]]:
        batch = batch.to(self.device)
        signals, lengths = batch.signal
        features = self.hparams.compute_features(signals) if signals.dim() == 2 else signals
        states = self.modules.encoder(self.modules.normalize(features, lengths))
        tokens, _ = batch.tokens_bos
        decoded, _ = self.modules.decoder(self.modules.embedding(tokens), states, lengths)
        hypotheses = self.hparams.search(states, lengths)[0] if stage != Stage.TRAIN else []
        return self.modules.ctc_lin(states), self.modules.seq_lin(decoded), hypotheses

    def compute_objectives(
        self, predictions: tuple[Tensor, Tensor, list[list[int]]], batch: Any, stage: Stage
    ) -> Tensor:
        ctc_scores, seq_scores, hypotheses = predictions
        ctc = self.hparams.ctc_cost(ctc_scores, batch.tokens.data, batch.signal.lengths, batch.tokens.lengths)
        seq = self.hparams.seq_cost(seq_scores, batch.tokens_eos.data, batch.tokens_eos.lengths)
        if stage != Stage.TRAIN:
            texts = [self.hparams.text_encoder.decode_ndim(tokens) for tokens in hypotheses]
            for metric in (self.cer, self.wer):
                metric.append(batch.id, texts, [list(text) for text in batch.text])
        return self.hparams.ctc_weight * ctc + (1.0 - self.hparams.ctc_weight) * self.hparams.seq_scale * seq

    def on_stage_start(self, stage: Stage, epoch: int | None = None) -> None:
        if stage == Stage.TRAIN:
            self.started = time.perf_counter()
        else:
            self.cer, self.wer = self.hparams.cer_computer(), self.hparams.wer_computer()

    def on_stage_end(self, stage: Stage, stage_loss: float, epoch: int | None = None) -> None:
        if stage == Stage.TRAIN:
            self.train_loss, self.train_seconds = stage_loss, time.perf_counter() - self.started
            return
        stats = {"loss": stage_loss, "CER": self.cer.summarize("error_rate"), "WER": self.wer.summarize("error_rate")}
        if stage == Stage.TEST:
            self.hparams.train_logger.log_stats({"Epoch loaded": self.hparams.epoch_counter.current}, test_stats=stats)
            self.record(test={"epoch": self.hparams.epoch_counter.current, **stats})
            with open(Path(self.hparams.output_folder) / "wer.txt", "w", encoding="utf-8") as file:
                self.wer.write_stats(file)
            return
        rate, next_rate = self.hparams.lr_annealing(epoch)
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": rate}, train_stats={"loss": self.train_loss}, valid_stats=stats
        )
        entry = {"epoch": epoch, "lr": rate, "train_loss": self.train_loss, "valid": stats}
        update_learning_rate(self.optimizer, next_rate)
        self.checkpointer.save_and_keep_only(meta={"epoch": epoch, "CER": stats["CER"]}, min_keys=["CER"])
        self.record(epoch=entry | {"train_seconds": self.train_seconds})

    def record(self, **changes: Any) -> None:
        """Brings results.json up to date; an epoch done again after a kill replaces what it had left."""
        path = Path(self.hparams.results_file)
        results = json.loads(path.read_text())
        if "epoch" in changes:
            entry = changes.pop("epoch")
            results["epochs"] = [e for e in results["epochs"] if e["epoch"] < entry["epoch"]] + [entry]
        write_json(path, results | changes)


def datasets(manifests: dict[str, Path], encoder: CTCTextEncoder, hparams: dict[str, Any]) -> dict[str, Any]:
    """The splits as SpeechBrain's datasets, valid and test by length."""

    @takes("path")
    @provides("signal")
    def signal(path: str) -> Tensor:
        if path.endswith(".npy"):
            values = torch.from_numpy(np.load(path)).float()
        else:
            values = read_audio(path)
        if not torch.isfinite(values).all():
            raise ValueError(f"{path} holds values that are not finite")
        return values

    @takes("text")
    @provides("tokens", "tokens_bos", "tokens_eos")
    def tokens(text: str) -> Any:
        labels = encoder.encode_sequence(list(text))
        yield torch.LongTensor(labels)
        yield torch.LongTensor([hparams["bos_index"], *labels])
        yield torch.LongTensor([*labels, hparams["eos_index"]])

    splits = {}
    for name, manifest in manifests.items():
        splits[name] = DynamicItemDataset.from_json(
            str(manifest),
            dynamic_items=[signal, tokens],
            output_keys=["id", "text", "signal", "tokens", "tokens_bos", "tokens_eos"],
        )
        if name != "train":
            splits[name] = splits[name].filtered_sorted(sort_key="length")
    return splits


def batches_of_like_lengths(dataset: DynamicItemDataset, hparams: dict[str, Any]) -> DynamicBatchSampler:
    """Batches of `batch_size`, drawn anew every epoch from `num_buckets` equally filled ranges of lengths."""
    lengths = [utterance["length"] for utterance in dataset.data.values()]
    quantiles = np.quantile(lengths, np.arange(1, hparams["num_buckets"] + 1) / hparams["num_buckets"])
    return DynamicBatchSampler(
        dataset,
        max_batch_length=hparams["batch_size"] * max(lengths),
        lengths_list=lengths,
        bucket_boundaries=sorted(set(quantiles.tolist())),
        max_batch_ex=hparams["batch_size"],
        seed=hparams["seed"],
    )


def text_encoder(hparams: dict[str, Any]) -> CTCTextEncoder:
    encoder = CTCTextEncoder()
    encoder.insert_blank(index=hparams["blank_index"])
    encoder.insert_bos_eos(bos_index=hparams["bos_index"], eos_index=hparams["eos_index"])
    encoder.update_from_iterable(hparams["characters"], sequence_input=False)
    encoder.expect_len(hparams["output_neurons"])
    return encoder


def scale_beside_ctc(loss: Loss, classes: int) -> float:
    """What a decoder's loss is multiplied by, so that it begins with the value of cross-entropy beside that of CTC.

    log C / l(0), from scores of zero: 1 for cross-entropy; the square loss begins at k M^2 / C, which is 1/4 with
    `auto` for up to 400 classes, so that CTC's gradient would be nearly all of the encoder's.
    """
    value = loss.resolve(classes)(torch.zeros(1, classes), torch.zeros(1, dtype=torch.long))
    return math.log(classes) / value.item()


def start_results(hparams: dict[str, Any]) -> None:
    """Begins results.json, or refuses to go on with the run of other settings in it."""
    classes, path = hparams["output_neurons"], Path(hparams["results_file"])
    names = ("seed", "lr", "batch_size", "number_of_epochs", "ctc_weight", "seq_scale")
    names += ("data_folder", "train_tsv", "valid_tsv")
    settings = {
        "loss": hparams["seq_loss"].resolve(classes).to_dict(),
        "ctc_loss": hparams["ctc_frame_loss"].resolve(classes).to_dict(),
        **{name: hparams[name] for name in names},
    }
    if path.exists():
        found = json.loads(path.read_text())["settings"]
        if found != settings:
            changed = [name for name in settings if found.get(name) != settings[name]]
            raise ValueError(f"{path} is of a run with other {', '.join(changed)}: give another --output_folder")
        return
    environment = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        **{package: version(package) for package in ("hf_squareloss", "speechbrain", "torch")},
    }
    results = {"settings": settings, "environment": environment, "command": sys.argv, "epochs": [], "test": None}
    write_json(path, results)


def delete_unfinished_checkpoint(hparams: dict[str, Any]) -> None:
    """Deletes what a kill left half written: results.json has only epochs whose checkpoint is complete."""
    finished = {entry["epoch"] for entry in json.loads(Path(hparams["results_file"]).read_text())["epochs"]}
    hparams["checkpointer"].delete_checkpoints(
        num_to_keep=0, ckpt_predicate=lambda checkpoint: checkpoint.meta["epoch"] not in finished
    )


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all, whenever the run is killed."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.replace(path)


def with_loss_parameters(argv: list[str]) -> list[str]:
    """`--loss_parameters NAME=VALUE ...` as `--seq_loss {NAME: VALUE}`, which is how hparams files are overridden."""
    if "--loss_parameters" not in argv:
        return argv
    start = argv.index("--loss_parameters")
    words = list(itertools.takewhile(lambda word: not word.startswith("--"), argv[start + 1 :]))
    parameters = json.dumps(parse_loss_parameters(words))  # JSON is YAML
    return [*argv[:start], "--seq_loss", parameters, *argv[start + 1 + len(words) :]]


def main(argv: list[str] | None = None) -> None:
    argv = with_loss_parameters(sys.argv[1:] if argv is None else argv)
    hparams_file, run_opts, overrides = RunOptions.from_command_line_args(argv)
    with open(hparams_file, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    if hparams["seq_scale"] == "auto":
        hparams["seq_scale"] = scale_beside_ctc(hparams["seq_loss"], hparams["output_neurons"])
    create_experiment_directory(hparams["output_folder"], hparams_file, overrides)
    start_results(hparams)
    delete_unfinished_checkpoint(hparams)
    names = ("train_tsv", "valid_tsv", "test_tsv", "characters", "sample_rate", "feature_dim", "valid_share")
    manifests = write_manifests(
        hparams["data_folder"], hparams["output_folder"], **{name: hparams[name] for name in names}
    )
    hparams["text_encoder"] = text_encoder(hparams)
    splits = datasets(manifests, hparams["text_encoder"], hparams)
    recogniser = Recogniser(
        hparams["modules"], hparams["opt_class"], hparams, run_opts, checkpointer=hparams["checkpointer"]
    )
    recogniser.train_sampler = batches_of_like_lengths(splits["train"], hparams)  # fit tells it the epoch
    recogniser.fit(
        hparams["epoch_counter"],
        splits["train"],
        splits["valid"],
        train_loader_kwargs={"batch_sampler": recogniser.train_sampler},
        valid_loader_kwargs=hparams["eval_dataloader_opts"],
    )
    if "test" in splits:
        recogniser.evaluate(splits["test"], min_key="CER", test_loader_kwargs=hparams["eval_dataloader_opts"])


if __name__ == "__main__":
    main()
