"""Suggest which images to label next."""

from __future__ import annotations

from pathlib import Path

from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.discovery.suggestions.label_order import LabelWeights, label_order
from lmm_classifier.discovery.suggestions.options import DEFAULT_OPTIONS, SuggestionOptions
from lmm_classifier.discovery.suggestions.stopping import stopping
from lmm_classifier.discovery.suggestions.suggestion import Suggestion, Suggestions
from lmm_classifier.discovery.unlabeled import UnlabeledImages
from lmm_classifier.pipeline.classifier import HybridClassifier


def suggest(
    images: UnlabeledImages | DatasetSpec | Path | str,
    classifier: HybridClassifier,
    options: SuggestionOptions = DEFAULT_OPTIONS,
    progress: ProgressCallback | None = None,
) -> Suggestions:
    """Suggest the images whose labels would tell most about the others.

    The order is that of a review: the next image stands for the most images of which little is known, and which no
    example and no image before it resembles.

    Args:
        images: a folder or any other dataset, whose labels are ignored; or images that were encoded before.
        classifier: knows the labeled images.
        options: how many, and by what they are weighed.
        progress: called while images are encoded; raise `Cancelled` in it to stop.

    Raises:
        DatasetError: the source cannot be read, or holds no image.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, SuggestionOptions, suggest
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     suggestions = suggest("new", classifier, SuggestionOptions(count=3))
        >>> [each.rank for each in suggestions.suggestions], suggestions.suggestions[0].reason in ("new", "ambiguous")
        ([1, 2, 3], True)
    """
    found = images if isinstance(images, UnlabeledImages) else UnlabeledImages.find(images, classifier, progress)
    flow, votes = found.flow, found.votes
    weights = LabelWeights.of(votes, flow.retriever.calibration.familiarity, options.by)
    labeled = found.landscape.labeled if options.by != "new" else None
    picks = label_order(found.mapped, weights, found.names, options.count, labeled)
    suggestions = [
        Suggestion(
            place + 1,
            options.batch_of(place),
            found.names[row],
            weights.reason(row),
            float(weights.weights[row]),
            float(gain),
            votes.labels[int(votes.label_ids[row])],
            float(votes.scores[row]),
        )
        for place, (row, gain) in enumerate(zip(picks.rows.tolist(), picks.gains))
    ]
    advice = stopping(flow, votes, range(len(found))) if flow.retriever.stored is not None and len(found) else None
    places = {found.names[row]: found.places[row] for row in picks.rows.tolist()} if found.places else {}
    return Suggestions(
        suggestions,
        advice,
        len(found),
        found.found,
        found.sampled_out,
        found.labeled,
        flow.index.contents.version,
        found.skipped,
        places,
    )
