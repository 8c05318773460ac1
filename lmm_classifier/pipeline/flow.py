"""The flow from vectors to verdicts, in one method: search, vote, decide, look again, decide again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Candidate, Classification, Question, Reranked
from lmm_classifier.core.errors import ImageError
from lmm_classifier.core.numerics import shares
from lmm_classifier.core.protocols import Comparison, Encoder, FloatArray, IntArray, Reranker
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.pipeline.label_scorer import LabelScores
from lmm_classifier.pipeline.policy import ThresholdPolicy
from lmm_classifier.pipeline.reference_images import References
from lmm_classifier.pipeline.retriever import Retriever, Votes
from lmm_classifier.rerank.benefit import SecondLook
from lmm_classifier.rerank.fusion import Fusion
from lmm_classifier.rerank.registry import open_reranker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture that was encoded: `image` gives its upright RGB pixels again, for the few that are asked about.

    So no picture is held while others are encoded. It raises ImageError where the file has changed or gone meanwhile.
    """

    image: Callable[[], Image.Image]
    content_hash: str = ""


class Flow:
    """One version of an index with everything that decides by it.

    `former` is the flow of another version of the same index: what costs much to open, and does not depend on the
    examples, is taken over.
    """

    def __init__(self, config: PipelineConfig, encoder: Encoder, index: ExactIndex, former: Flow | None = None) -> None:
        self.config, self.encoder, self.version = config, encoder, index.contents.version
        self.retriever: Retriever = Retriever(
            config.retrieval, index, config.labels, former.retriever if former else None
        )
        self.index = self.retriever.index
        self.reranker = self._open_reranker(former)
        limits = config.images.limits
        self._references = References(self.index, self.reranker.references if self.reranker else 0, limits)
        self.second_look = self._measured()
        self.policy = ThresholdPolicy(
            self.retriever.confidence_threshold,
            self.retriever.open_set_threshold,
            allow_unknown=config.allow_unknown,
            can_rerank=self.reranker is not None,
            worth_asking=self._worth_asking if self.second_look and config.rerank.gate == "measured" else None,
        )

    def _open_reranker(self, former: Flow | None) -> Reranker | None:
        """Open the reranker, or take over one that knows nothing of the examples."""
        if former is not None and self.config.rerank.backend != "views":
            return former.reranker
        look_again = LabelScores(self.encoder, self.retriever, self.config.encoder.batch_size)
        index_path = self.config.retrieval.index_path
        return open_reranker(self.config.rerank, look_again, self.retriever.temperature, index_path)

    def _measured(self) -> SecondLook | None:
        """What `calibrate --rerank` found about this very reranker, if it was run."""
        found = self.retriever.second_look
        if found is None or self.reranker is None:
            return None
        if found.identity != self.reranker.identity:
            logger.warning(
                "the second look in the index was measured with another reranker, model or wording, and is not used: "
                "run `lmm-classifier calibrate --rerank` again"
            )
            return None
        if not found.outcomes.pays and self.config.rerank.gate == "measured":
            logger.info("no second look: on this corpus its net gain was %+.2f %% +- %.2f", *found.outcomes.net_percent)
        return found

    def _worth_asking(self, candidates: Sequence[Candidate]) -> bool:
        found = self.second_look
        if found is None:
            return False
        asked = candidates[: found.candidates]
        return found.worth([one.label for one in asked], np.array([one.score for one in asked]))

    def classify(
        self, vectors: FloatArray, pictures: Sequence[Encoded], leave_out: bool = False
    ) -> list[Classification]:
        """Everything after the encoder: search, vote, decide, and for those in doubt rerank and decide again.

        `vectors` (n, dim) are those of `pictures`, in their order.
        """
        if not pictures:
            return []
        left_out = [picture.content_hash if leave_out else None for picture in pictures]
        step = self.retriever.queries_at_once
        parts = [slice(start, start + step) for start in range(0, len(pictures), step)]
        return [one for part in parts for one in self._verdicts(vectors[part], pictures[part], left_out[part])]

    def _verdicts(
        self, vectors: FloatArray, pictures: Sequence[Encoded], left_out: Sequence[str | None]
    ) -> list[Classification]:
        votes = self.retriever.votes(vectors, left_out)
        share = shares(votes.scores, self.retriever.temperature)  # (n, C)
        order = np.argsort(-share, axis=1, kind="stable")
        verdicts = [
            self._decide(votes, query, candidates, self._label_set(share[query], order[query]), picture.content_hash)
            for query, (candidates, picture) in enumerate(zip(self._ranked(votes, share, order), pictures))
        ]
        questions: dict[int, Question] = {}
        for number in [number for number, verdict in enumerate(verdicts) if verdict.decision.action == "rerank"]:
            try:
                image = pictures[number].image()
            except ImageError as error:
                failed = Reranked((), 0.0, f"the picture cannot be read again ({error})")
                verdicts[number] = self._decide_again(verdicts[number], failed)
                continue
            questions[number] = self._question(image, verdicts[number], votes.comparison, number, left_out[number])
        for number, answer in zip(questions, self._ask_again(list(questions.values()))):
            verdicts[number] = self._decide_again(verdicts[number], answer)
        return verdicts

    def _ranked(self, votes: Votes, share: NDArray[np.float64], order: IntArray) -> list[tuple[Candidate, ...]]:
        """Per query the labels with most of the vote, best first, each with its nearest examples."""
        wanted = self.config.retrieval
        chosen = [
            (query, label)
            for query, labels in enumerate(order[:, : wanted.candidates].tolist())
            for label in labels
            if share[query, label] > 0
        ]
        among = [(query, self.index.rows_of(label)) for query, label in chosen]
        rows, cosines = votes.comparison.nearest_among(among, wanted.evidence)
        found: list[list[Candidate]] = [[] for _ in share]
        for (query, label), near, similarities in zip(chosen, rows, cosines):
            there = near >= 0
            neighbors = tuple(self.index.neighbors(near[there], similarities[there]))
            found[query].append(Candidate(self.index.label_names[label], float(share[query, label]), neighbors))
        return [tuple(candidates) for candidates in found]

    def _decide(
        self,
        votes: Votes,
        query: int,
        candidates: tuple[Candidate, ...],
        label_set: tuple[str, ...] | None,
        content_hash: str,
    ) -> Classification:
        decision = self.policy.decide(candidates, float(votes.nearness[query]))
        nearest = float(votes.nearest[query])
        return Classification(
            label=self.config.unknown_label if decision.action == "reject" else candidates[0].label,
            score=candidates[0].score if candidates else 0.0,
            used_reranker=False,
            decision=decision,
            candidates=candidates,
            similarity=nearest if np.isfinite(nearest) else None,  # all examples may be left out
            familiarity=float(votes.familiarity[query]) if candidates else None,
            content_hash=content_hash or None,
            label_set=label_set,
        )

    def _label_set(self, share: NDArray[np.float64], order: IntArray) -> tuple[str, ...] | None:
        """The labels that together hold the true one with the probability asked for, likeliest first."""
        if self.retriever.least_share is None:
            return None
        return tuple(
            self.index.label_names[label]
            for place, label in enumerate(order)
            if share[label] >= self.retriever.least_share or place == 0  # never empty: the best one is in it
        )

    def _question(
        self, image: Image.Image, verdict: Classification, comparison: Comparison, query: int, left_out: str | None
    ) -> Question:
        most = self.second_look.candidates if self.second_look else len(verdict.candidates)
        candidates = verdict.candidates[:most]
        references = self._references.of(comparison, query, [one.label for one in candidates])
        return Question(image, candidates, verdict.content_hash, left_out, references)

    def _ask_again(self, questions: Sequence[Question]) -> list[Reranked]:
        """Ask the reranker; whatever goes wrong there becomes a failed answer, never a lost picture."""
        if not questions or self.reranker is None:
            return []
        try:
            return self.reranker.rerank(questions)
        except Exception as error:
            logger.exception("the reranker failed on %d pictures: the vote stands", len(questions))
            return [Reranked((), 0.0, f"{type(error).__name__}: {error}")] * len(questions)

    def _decide_again(self, verdict: Classification, answer: Reranked) -> Classification:
        """Fuse what both know and order the candidates by it, or keep retrieval's answer where there is no other."""
        decision = self.policy.decide_again(answer)
        if answer.failure or self.reranker is None:
            logger.warning("the reranker gave no answer: %s", answer.failure)
            return replace(verdict, decision=decision, error=answer.failure)
        count = len(answer.scores)
        asked = [
            replace(one, rerank_score=share)
            for one, share in zip(verdict.candidates[:count], answer.scores, strict=True)
        ]
        fusion = self.second_look.fusion if self.second_look else Fusion(*self.reranker.trust)
        fused = fusion(np.array([one.score for one in asked]), answer)  # (k,)
        order = np.argsort(-fused, kind="stable")
        return replace(
            verdict,
            label=asked[order[0]].label,
            score=float(fused[order[0]]),
            used_reranker=True,
            decision=decision,
            candidates=(*(asked[place] for place in order), *verdict.candidates[count:]),
            disagreement=answer.disagreement,
        )
