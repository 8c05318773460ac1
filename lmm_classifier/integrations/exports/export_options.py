"""What an export holds in addition, and whether it may replace an earlier one."""

from __future__ import annotations

from dataclasses import dataclass

from lmm_classifier.core.errors import OutputError

_OWNERS = {"with_images": "parquet", "url_prefix": "label-studio", "link": "folder"}


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export holds in addition, and whether it may replace an earlier one.

    Example:
        >>> from lmm_classifier import ExportOptions, PipelineConfig, export_index
        >>> options = ExportOptions(url_prefix="https://example.org/photos/")
        >>> report = export_index("index", "examples.json", "label-studio", PipelineConfig.offline(), options)
        >>> report.skipped
        ()
    """

    with_images: bool = False
    """Add the bytes of the image files; only in Parquet."""
    url_prefix: str | None = None
    """What makes a URL of the id or the path of an image; only for Label Studio. None: files of its own machine."""
    link: bool = False
    """Make links instead of copies; only in folders."""
    overwrite: bool = False
    """Replace an earlier export. Images in folders are never replaced."""

    def require_for(self, to: str) -> None:
        """Raise OutputError where an option does not belong to a format."""
        given = {"with_images": self.with_images, "url_prefix": self.url_prefix is not None, "link": self.link}
        for option, owner in _OWNERS.items():
            if given[option] and to != owner:
                raise OutputError(f"{option} belongs to the format {owner}, not to {to}.")


NO_OPTIONS = ExportOptions()
