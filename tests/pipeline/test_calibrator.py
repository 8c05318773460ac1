"""An index is calibrated as asked, or a typed error says why not and the index is unchanged."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lmm_classifier.calibration import fit
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.guarantees.risk_control import fixed_sequence_threshold, sgr_threshold
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError, Cancelled
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.thresholds import Thresholds
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.vector_indexes import write_clusters, write_objects


@pytest.fixture
def path(tmp_path):
    """An index of vectors, without images."""
    return write_clusters(tmp_path / "index.npz")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A dataset of drawn images with its index, and new images of the same labels."""
    root = tmp_path_factory.mktemp("calibrator")
    draw_dataset(root / "dataset", count=6, size=48)
    draw_dataset(root / "new", count=2, seed=1, size=48)
    build_index_from_directory(root / "dataset", root / "index.npz", config=PipelineConfig.offline())
    return root


@pytest.fixture
def images(drawn, tmp_path):
    """A copy of its index, and its configuration."""
    path = tmp_path / "index.npz"
    path.write_bytes((drawn / "index.npz").read_bytes())
    return offline_config(path)


@pytest.mark.parametrize(("precision", "level"), [(0.9, 0.9), (0.93, 0.6)])
def test_a_guarantee_is_that_of_the_held_out_predictions(path, precision, level):
    """With risk 1 - precision and delta 1 - level, neither more nor less; and so is that of SGR."""
    _, predictions = fit_by_leave_one_out(RetrievalConfig(), [Index.open(path)])
    report = calibrate_index(path, request=CalibrationRequest(precision, level))
    for made, procedure in ((report.guarantee, fixed_sequence_threshold), (report.sgr_guarantee, sgr_threshold)):
        expected = procedure(predictions.confidence, predictions.correct, 1 - precision, 1 - level)
        assert (made.risk, made.delta) == (pytest.approx(1 - precision), pytest.approx(1 - level))
        assert made == expected


def test_a_guarantee_sets_the_threshold(path):
    """It is stored, with the fraction of known images to accept; without a target there is none."""
    report = calibrate_index(path, request=CalibrationRequest(0.9, keep_known=0.8))
    assert report.guarantee.risk == pytest.approx(0.1)
    assert report.calibration.confidence_threshold == report.guarantee.threshold
    assert report.sgr_guarantee is not None
    assert 0 <= report.accuracy <= 1
    assert {0.95, 0.9, 0.8} < set(report.tradeoff.accepted)
    stored = read_index(path).calibration
    assert list(stored["confidence_threshold"]) == [report.guarantee.threshold]
    without_target = calibrate_index(path, reset=True)
    assert without_target.guarantee is without_target.sgr_guarantee is None
    assert without_target.calibration.confidence_threshold is None


def test_a_higher_confidence_level_gives_a_higher_threshold(path):
    """The guarantee costs coverage."""
    low, high = (calibrate_index(path, request=CalibrationRequest(0.9, level)).guarantee for level in (0.5, 0.99))
    assert high.threshold >= low.threshold
    assert high.coverage <= low.coverage


def test_a_guarantee_that_cannot_be_given_leaves_the_index_unchanged(path):
    """Too few examples: the error says how many it takes."""
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match="too few.*It takes 299 examples without an error"):
        calibrate_index(path, request=CalibrationRequest(0.99))
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", ["target_precision", "confidence_level", "keep_known"])
@pytest.mark.parametrize("value", [95, 1.0, 0.0, -0.1, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(path, key, value):
    """The error names it; a percentage is the usual mistake."""
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match=f"{key}: expected a number between 0 and 1"):
        calibrate_index(path, request=CalibrationRequest(**{key: value}))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_by": "folder"}, "holdout replaces leave-one-out, so group_by"),
        ({"target_images": "new"}, "group_by and target_images cannot be used with it"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(drawn, images, settings, message):
    """The names are those of the request, and the index is unchanged."""
    before = images.retrieval.index_path.read_bytes()
    if "target_images" in settings:
        settings = {"target_images": drawn / "new"}
    with pytest.raises(CalibrationError, match=message):
        calibrate_index(images.retrieval.index_path, images, CalibrationRequest(holdout=drawn / "new", **settings))
    assert images.retrieval.index_path.read_bytes() == before


def test_a_labeled_folder_replaces_leave_one_out(drawn, images):
    """The predictions are of its images; those of other labels are counted and ignored."""
    report = calibrate_index(images.retrieval.index_path, images, CalibrationRequest(holdout=drawn / "new"))
    assert report.method == f"of {drawn / 'new'}"
    assert len(report.predictions.rows) == 8
    assert not report.notes


def test_images_of_other_labels_are_ignored(images, tmp_path):
    """A folder with no known label is refused."""
    draw_dataset(tmp_path / "other", ["stripes", "argyle"], count=2, size=48)
    path = images.retrieval.index_path
    report = calibrate_index(path, images, CalibrationRequest(holdout=tmp_path / "other"))
    assert f"{tmp_path / 'other'}: 2 images of other labels ignored" in report.notes
    draw_dataset(tmp_path / "unknown", ["argyle"], count=2, size=48)
    with pytest.raises(CalibrationError, match="no readable image of a label of the index"):
        calibrate_index(path, images, CalibrationRequest(holdout=tmp_path / "unknown"))


def test_groups_are_held_out_together(images):
    """By a pattern on the path; groups that hold a whole label are refused."""
    path = images.retrieval.index_path
    report = calibrate_index(path, images, CalibrationRequest(group_by=r"(\d)\.png"))
    assert report.method == "held out with their group, of 24 groups"
    with pytest.raises(CalibrationError, match="'folder' put each label into one group"):
        calibrate_index(path, images, CalibrationRequest(group_by="folder"))
    report = calibrate_index(path, images, CalibrationRequest(group_by=r"stripes/|0\d"))
    assert "stripes: one group only, so its examples count as errors" in report.notes


def test_production_images_are_compared_with_the_examples(drawn, images, tmp_path):
    """The notes say whether there is a shift, and that eight images are few; a folder without images is refused."""
    path = images.retrieval.index_path
    report = calibrate_index(path, images, CalibrationRequest(target_images=drawn / "new"))
    few, result = report.notes[-2:]
    assert "only 8 images; with fewer than 50 a shift is easily missed" in few
    assert "(z = " in result
    (tmp_path / "empty").mkdir()
    with pytest.raises(CalibrationError, match="no readable image"):
        calibrate_index(path, images, CalibrationRequest(target_images=tmp_path / "empty"))


def test_a_shift_is_answered_by_clusters(drawn, images, monkeypatch):
    """Where new images are less similar to the examples than these to each other, clusters are held out."""
    monkeypatch.setattr("lmm_classifier.pipeline.calibrating.held_out.shift_z_score", lambda *_: 9.0)
    report = calibrate_index(images.retrieval.index_path, images, CalibrationRequest(target_images=drawn / "new"))
    assert "shift found" in report.notes[-1]
    assert "held out with their group" in report.method
    assert "they are of another kind" in report.warning  # the alarm does not cease


@pytest.mark.long
def test_a_shift_that_clusters_explain_leaves_no_warning(images, tmp_path):
    """Many views of few drawn objects, and new objects: clusters of views are held out, and their errors counted so."""
    rng = np.random.default_rng(0)
    for part, objects, views in (("dataset", 14, 4), ("new", 14, 1)):
        for label in ("stripes", "polka_dots"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(objects):
                image = draw(label, np.random.default_rng((part == "new", number)), 48)
                for view in range(views):
                    image.rotate(rng.uniform(-2, 2)).save(tmp_path / part / label / f"{number}_{view}.png")
    path = tmp_path / "views.npz"
    build_index_from_directory(tmp_path / "dataset", path, config=images)
    assert "several images of the same objects" in calibrate_index(path, images).warning
    report = calibrate_index(path, images, CalibrationRequest(target_images=tmp_path / "new"))
    assert "shift found" in " ".join(report.notes)
    assert not report.warning
    groups = report.calibration.held_out.groups
    assert 14 <= len(np.unique(groups)) < 0.7 * len(groups)


@pytest.mark.long
def test_a_second_target_costs_no_second_fit(drawn, images, monkeypatch):
    """Nothing is held out or encoded again, and the thresholds are those of the first fit."""
    path = images.retrieval.index_path
    calibrate_index(path, images, CalibrationRequest(0.7, target_images=drawn / "new", group_by=r"(\d)\.png"))
    before = Index.open(path).contents.calibration
    fits = []
    for name in ("choose_metric", "score_folds"):
        real = getattr(fit, name)
        monkeypatch.setattr(fit, name, lambda *given, real=real: fits.append(1) or real(*given))
    report = calibrate_index(path, images, CalibrationRequest(0.8, keep_known=0.9))
    assert not fits
    assert report.predictions is None
    assert report.guarantee.risk == pytest.approx(0.2)
    assert report.calibration.keep_known == 0.9
    assert report.calibration.request.group_by == r"(\d)\.png"
    after = Index.open(path).contents.calibration
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed <= {"confidence_threshold", "request", "date"}
    calibrate_index(path, images)  # a plain one repeats all of it
    assert fits


def test_other_examples_or_another_rule_are_fitted_again(images):
    """Thresholds alone are set only from held-out results of the same examples and the same rule."""
    path = images.retrieval.index_path
    calibrate_index(path, images)
    images.retrieval.rule = "knn"
    assert calibrate_index(path, images, CalibrationRequest(0.7)).predictions is not None
    assert calibrate_index(path, images, CalibrationRequest(0.8)).predictions is None
    assert calibrate_index(path, images, CalibrationRequest(0.8), reset=True).predictions is not None


def test_thresholds_need_no_images_again(drawn, images, tmp_path):
    """The held-out results are there, so the folder of the former calibration may be gone; a new fit needs it."""
    path, new = images.retrieval.index_path, tmp_path / "new"
    shutil.copytree(drawn / "new", new)
    calibrate_index(path, images, CalibrationRequest(target_images=new))
    shutil.rmtree(new)
    report = calibrate_index(path, images, CalibrationRequest(keep_known=0.8))
    assert report.predictions is None
    assert report.calibration.request.target_images == DatasetSpec.of(new)
    with pytest.raises(CalibrationError, match="Put it back"):
        calibrate_index(path, images)


def test_the_expected_coverage_counts_what_is_called_unknown(path):
    """An answer is accepted where it is confident and familiar."""
    report = calibrate_index(path, request=CalibrationRequest(0.8, keep_known=0.6))
    results, calibration = report.calibration.held_out, report.calibration
    familiar = results.familiarity >= calibration.familiarity_threshold(0.6)
    accepted = familiar & (results.confidence >= report.guarantee.threshold)
    assert report.outlook.accepted == pytest.approx(accepted.mean())
    assert report.outlook.unknown == pytest.approx(1 - familiar.mean())
    assert report.outlook.accepted < report.guarantee.coverage
    assert report.sgr_coverage is not None
    assert report.sgr_coverage < report.sgr_guarantee.coverage
    assert f"{100 * report.outlook.accepted:.1f}%" in report._repr_html_()
    assert calibrate_index(path, reset=True).outlook is None


def test_cancelling_leaves_the_index_unchanged(images):
    """`Cancelled` in the progress callback reaches the caller."""
    path = images.retrieval.index_path
    before = path.read_bytes()
    steps = []

    def cancel(progress):
        if progress.stage != "reranking":
            return
        steps.append(progress)
        if progress.done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        calibrate_index(path, images, CalibrationRequest(max_calls=20), cancel)
    assert [step.done for step in steps] == [1, 2, 3]
    assert path.read_bytes() == before


@pytest.mark.parametrize("group_by", [None, r"\d+"])
def test_cancelling_while_examples_are_scored_stores_nothing(images, group_by):
    """Leave-one-out and groups report how many examples they scored."""
    path = images.retrieval.index_path
    before = path.read_bytes()

    def cancel(progress):
        assert 0 < progress.done <= progress.total
        if progress.stage == "scoring held-out examples":
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        calibrate_index(path, images, CalibrationRequest(group_by=group_by), cancel)
    assert path.read_bytes() == before


def test_cancelling_while_images_are_encoded_stores_nothing(drawn, images):
    """Progress is reported for a labeled folder too."""
    path = images.retrieval.index_path
    before = path.read_bytes()

    def cancel(progress):
        assert (progress.stage, progress.done) == ("encoding", progress.total)
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        calibrate_index(path, images, CalibrationRequest(holdout=drawn / "dataset"), cancel)
    assert path.read_bytes() == before


def test_what_a_calibration_does_not_mention_stays(path):
    """Target precision, confidence level and keep_known are remembered; `reset` forgets them."""
    first = calibrate_index(path, request=CalibrationRequest(0.9, 0.8, keep_known=0.7))
    second = calibrate_index(path, request=CalibrationRequest(keep_known=0.6))
    assert second.guarantee == first.guarantee
    assert second.calibration.keep_known == 0.6
    assert "as asked for before: target_precision 0.9, confidence_level 0.8" in second.notes
    third = calibrate_index(path)
    assert third.calibration.request == second.calibration.request
    forgotten = calibrate_index(path, reset=True)
    assert forgotten.guarantee is None
    assert forgotten.calibration.request == CalibrationRequest().completed()


@pytest.mark.long
def test_groups_and_holdouts_are_remembered_and_replace_each_other(drawn, images):
    """The one that is mentioned wins, and a note says which one it replaced."""
    path = images.retrieval.index_path
    calibrate_index(path, images, CalibrationRequest(group_by=r"(\d)\.png"))
    report = calibrate_index(path, images)
    assert "held out with their group" in report.method
    report = calibrate_index(path, images, CalibrationRequest(holdout=drawn / "new"))
    assert report.calibration.request.group_by is None
    assert "group_by and target_images of the former calibration are replaced by the holdout" in report.notes
    report = calibrate_index(path, images)
    assert report.method == f"of {drawn / 'new'}"
    report = calibrate_index(path, images, CalibrationRequest(group_by=r"(\d)\.png"))
    assert f"the holdout {drawn / 'new'} of the former calibration is replaced" in report.notes


def test_a_remembered_folder_that_is_gone_is_named(drawn, images, tmp_path):
    """The index is unchanged, and the message says what to do."""
    path, other = images.retrieval.index_path, tmp_path / "other"
    shutil.copytree(drawn / "new", other)
    calibrate_index(path, images, CalibrationRequest(holdout=other))
    shutil.rmtree(other)
    before = path.read_bytes()
    with pytest.raises(
        CalibrationError,
        match=r"The former calibration used holdout .*, but the dataset folder .* is missing",
    ):
        calibrate_index(path, images)
    assert path.read_bytes() == before
    calibrate_index(path, images, reset=True)


@pytest.mark.long
def test_the_reranker_is_measured_with_a_holdout(drawn, images, monkeypatch):
    """On examples held out one by one; a later calibration keeps the measurement with its date."""
    monkeypatch.setattr("lmm_classifier.calibration.cross_fitting._FOLDS", 3)
    path = images.retrieval.index_path
    report = calibrate_index(path, images, CalibrationRequest(holdout=drawn / "new", max_calls=20))
    benefit, day = report.calibration.reranker_benefit, report.calibration.reranker_date
    assert report.method == f"of {drawn / 'new'}"
    assert len(benefit.outcomes.gain) == 20
    kept = calibrate_index(path, images).calibration
    assert kept.reranker_benefit.gain_threshold == benefit.gain_threshold
    assert (kept.reranker_date, kept.request.max_calls) == (day, 20)
    assert calibrate_index(path, images, reset=True).calibration.reranker_benefit is None


@pytest.mark.long
def test_another_order_of_encoders_is_said(tmp_path):
    """The calibration is of the index, so a classifier with that order would not use it."""
    draw_dataset(tmp_path / "dataset", count=3, size=48)
    both = [{"backend": "descriptor"}, {"backend": "descriptor", "view": "center 0.5"}]
    config, other = PipelineConfig(encoder=both), PipelineConfig(encoder=both[::-1])
    build_index_from_directory(tmp_path / "dataset", tmp_path / "index.npz", config=config)
    said = "another order, so `classify` will not use it. Run `lmm-classifier build`"
    assert said in " ".join(calibrate_index(tmp_path / "index.npz", other).notes)
    for same in (config, PipelineConfig()):
        assert said not in " ".join(calibrate_index(tmp_path / "index.npz", same).notes)


def test_a_guarantee_on_repeated_objects_is_not_certified(tmp_path):
    """Many images of few objects are found without being asked for; groups make the guarantee certified."""
    path = write_objects(tmp_path / "index.npz")
    report = calibrate_index(path, request=CalibrationRequest(0.9))
    assert "several images of the same objects" in report.warning
    assert report.calibration.not_certified == report.warning
    confidence = Thresholds.resolve(RetrievalConfig(), report.calibration, report.calibration).confidence
    assert confidence.source.endswith(", not certified")
    grouped = calibrate_index(path, request=CalibrationRequest(group_by=r"(\d+)_"), reset=True)
    assert grouped.warning == grouped.calibration.not_certified == ""
    assert grouped.accuracy < report.accuracy


@pytest.mark.long
@pytest.mark.parametrize("kind", ["zip", "csv"])
def test_a_holdout_and_target_images_may_be_any_dataset(drawn, images, tmp_path, kind):
    """An archive and a table give the calibration of the folder, are remembered, and are missed when they are gone."""
    path, expected = images.retrieval.index_path, {}
    for name in ("holdout", "target_images"):
        request = CalibrationRequest(keep_known=0.9, **{name: drawn / "new"})
        expected[name] = calibrate_index(path, images, request, reset=True)
    if kind == "zip":
        dataset = Path(shutil.make_archive(str(tmp_path / "new"), "zip", drawn / "new"))
        spec = DatasetSpec(str(dataset))
    else:
        dataset = tmp_path / "new.csv"
        shutil.copytree(drawn / "new", tmp_path / "files")
        rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in (tmp_path / "files").glob("*/*.*")]
        dataset.write_text("\n".join(["path,kind", *rows]), encoding="utf-8")
        spec = DatasetSpec(str(dataset), label_from="kind")
    for name, former in expected.items():
        request = CalibrationRequest(keep_known=0.9, **{name: spec})
        report = calibrate_index(path, images, request, reset=True)
        assert report.accuracy == former.accuracy
        assert report.calibration.familiarity_threshold(0.9) == former.calibration.familiarity_threshold(0.9)
        assert getattr(report.calibration.request, name) == spec.fixed()
        assert calibrate_index(path, images).accuracy == former.accuracy, "it is read again by what is remembered"
    dataset.unlink()
    with pytest.raises(CalibrationError, match=rf"used target_images .*new\.{kind}.*, but .* is missing"):
        calibrate_index(path, images)
