"""From scores to probabilities: how good they are, decoding and generation with them, pipelines that show them."""

from typing import TYPE_CHECKING

from hf_squareloss._lazy import lazy_names

if TYPE_CHECKING:
    from hf_squareloss.inference._calibration import calibrate
    from hf_squareloss.inference._ctc_decoding import Transcript, ctc_beam_search, ctc_greedy
    from hf_squareloss.inference._fold import (
        LastLayer,
        fold_again,
        fold_calibration,
        folded_into,
        shifts,
        unfold_calibration,
        unfoldable,
    )
    from hf_squareloss.inference._generation import log_probabilities, probability_generation, raw_scores
    from hf_squareloss.inference._measures import (
        ReliabilityCurve,
        brier_score,
        calibration_metrics,
        expected_calibration_error,
        multi_label_calibration_metrics,
        negative_log_likelihood,
        reliability_curve,
        reliability_diagram,
    )
    from hf_squareloss.inference._pipelines import probability_pipeline
    from hf_squareloss.inference._transcription import WordDecoder, class_tokens, transcribe

__all__ = [
    "LastLayer",
    "ReliabilityCurve",
    "Transcript",
    "WordDecoder",
    "brier_score",
    "calibrate",
    "calibration_metrics",
    "class_tokens",
    "ctc_beam_search",
    "ctc_greedy",
    "expected_calibration_error",
    "fold_again",
    "fold_calibration",
    "folded_into",
    "log_probabilities",
    "multi_label_calibration_metrics",
    "negative_log_likelihood",
    "probability_generation",
    "probability_pipeline",
    "raw_scores",
    "reliability_curve",
    "reliability_diagram",
    "shifts",
    "transcribe",
    "unfold_calibration",
    "unfoldable",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "_measures": (
            *("ReliabilityCurve", "brier_score", "calibration_metrics", "expected_calibration_error"),
            *("multi_label_calibration_metrics", "negative_log_likelihood", "reliability_curve"),
            *("reliability_diagram",),
        ),
        "_calibration": ("calibrate",),
        "_ctc_decoding": ("Transcript", "ctc_beam_search", "ctc_greedy"),
        "_fold": (
            *("LastLayer", "fold_again", "fold_calibration", "folded_into"),
            *("shifts", "unfold_calibration", "unfoldable"),
        ),
        "_generation": ("log_probabilities", "probability_generation", "raw_scores"),
        "_pipelines": ("probability_pipeline",),
        "_transcription": ("WordDecoder", "class_tokens", "transcribe"),
    },
    __all__,
)
