"""Labels are divided into buckets that fit into memory, in their order."""

from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.index.backends.lance_table.sorting import plan_buckets


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 40))
def test_buckets_have_all_labels_in_order_and_fit(counts, most):
    """A label is whole in one bucket, or alone in several parts of one."""
    labels = {f"label {number:03}": count for number, count in enumerate(counts)}
    buckets = plan_buckets(labels, row_bytes=10, bucket_bytes=10 * most)
    assert [bucket.number for bucket in buckets] == list(range(len(buckets)))
    listed = [label for bucket in buckets for label in bucket.labels if bucket.part == 0]
    assert listed == list(labels)
    for bucket in buckets:
        assert bucket.labels[0] == list(labels)[bucket.first_id]
        assert sum(labels[label] for label in bucket.labels) / bucket.parts <= most
        assert bucket.parts == 1 or len(bucket.labels) == 1
        parts = [other.part for other in buckets if other.labels == bucket.labels]
        assert parts == list(range(bucket.parts))


def test_less_memory_than_a_row_still_sorts():
    """Each row is a part then."""
    assert [bucket.parts for bucket in plan_buckets({"a": 2}, row_bytes=100, bucket_bytes=1)] == [2, 2]
