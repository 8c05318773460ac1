"""How proposals of new labels are written, and how groups become folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from lmm_classifier.cli.console import escape_for_terminal
from lmm_classifier.core.index_location import IndexLocation, absolute_location
from lmm_classifier.core.text import quote_for_shell
from lmm_classifier.data.label_folders import LabelFolders
from lmm_classifier.discovery.proposals.discovery import Discovery, ProposedGroup

_TESTED = 10  # groups of the test that the table shows
_LISTED = 10  # images in no group that the table shows


def text_of(found: Discovery, output_format: str) -> str:
    """Return what was found as a table, as one JSON object, or as lines of JSON."""
    if output_format == "json":
        return json.dumps(found.to_dict(), indent=1) + "\n"
    if output_format == "jsonl":
        return "".join(f"{line}\n" for line in _records(found))
    return "".join(f"{escape_for_terminal(line)}\n" for line in _lines(found))


def _records(found: Discovery) -> Iterator[str]:
    """Yield a summary, each group, and the rest."""
    values = found.to_dict()
    groups, tested, remainder = values.pop("groups"), values.pop("tested_groups"), values.pop("remainder")
    yield json.dumps({"kind": "summary", **values})
    for group in groups:
        yield json.dumps({"kind": "group", **group})
    for group in tested:
        yield json.dumps({"kind": "tested_group", **group})
    yield json.dumps({"kind": "remainder", "images": remainder})


def _lines(found: Discovery) -> Iterator[str]:
    yield summary(found)
    yield from _of_groups(found.groups)
    if found.tested_groups:
        yield "Groups that pass the group test: less familiar than any known label would be:"
        yield from _of_groups(found.tested_groups[:_TESTED])
        more = len(found.tested_groups) - _TESTED
        if more > 0:
            yield f"  and {more} more"
    yield f"The known labels explain {_images(sum(found.known.values()))}."
    if found.remainder:
        yield f"In no group, and no known label explains them: {_images(len(found.remainder))}"
        yield from (f"  {name}" for name in found.remainder[:_LISTED])
        if len(found.remainder) > _LISTED:
            yield f"  and {len(found.remainder) - _LISTED} more"


def summary(found: Discovery) -> str:
    """Return in one line what was found."""
    if not found.groups:
        return f"No new label is proposed among {_images(found.images)}."
    count = sum(len(group.members) for group in found.groups)
    labels = "label" if found.about == 1 else "labels"
    groups = "group" if len(found.groups) == 1 else "groups"
    return f"{found.images} images: about {found.about} new {labels}, {count} images in {len(found.groups)} {groups}"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _of_groups(groups: Sequence[ProposedGroup]) -> Iterator[str]:
    for group in groups:
        look = f", a look of {group.nearest_label}? ({group.nearest_similarity:.2f})" if group.nearest_label else ""
        yield f"group {group.number}: {len(group.members)} images{look}"
        yield f"  represented by {group.representative}"
        yield from (f"  {name}" for name in group.shown if name != group.representative)


def copy_groups(found: Discovery, folders: LabelFolders, index: IndexLocation) -> Iterator[str]:
    """Copy the images of each group into a folder, and yield what was done and how a group gets a name."""
    for group in found.groups:
        for name in group.members:
            folders.place(found.places[name], f"group-{group.number}", found.hashes[name])
    done = ", ".join(f"{number} {what}" for what, number in folders.counts.items()) or "nothing"
    yield f"{folders.root}: {done}"
    if found.groups:
        place = quote_for_shell(f"--index={absolute_location(index)}")
        first = quote_for_shell(str(folders.root / "group-1"))
        yield "Remove from a folder what does not belong to it. Then give the group its name:"
        yield f"  lmm-classifier add --label NAME {place} {first}"
