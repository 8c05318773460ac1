"""The same labeled images behind a web server, and in a bucket of moto's S3, both on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from tests.helpers import dataset_sources
from tests.helpers.dataset_sources import Images

_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class _WithRanges(SimpleHTTPRequestHandler):
    """Serves parts of files too, as web servers do."""

    def do_GET(self) -> None:
        """Answer a request for a range, and any other as the library does."""
        wanted, path = self.headers.get("Range", ""), Path(self.translate_path(self.path))
        if not wanted.startswith("bytes=") or not path.is_file():
            return super().do_GET()
        data = path.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.wfile.write(data[start : end + 1])
        return None

    def end_headers(self) -> None:
        """Add the header that announces ranges."""
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@contextmanager
def web_server(folder: Path, _: Any) -> Iterator[str]:
    """Serve `folder/www`, and yield the URL."""
    (folder / "www").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_WithRanges, directory=str(folder / "www")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def http_zip(url: str, folder: Path, images: Images) -> DatasetSpec:
    """A zip on a web server."""
    return _at(url, folder / "www", dataset_sources.zipped(folder / "www", images))


def http_folder(url: str, folder: Path, images: Images) -> DatasetSpec:
    """A folder whose pages of links are followed."""
    return _at(url, folder / "www", dataset_sources.folder(folder / "www", images))


def http_manifest(url: str, folder: Path, images: Images) -> DatasetSpec:
    """A table next to its files."""
    return _at(url, folder / "www", dataset_sources.csv_manifest(folder / "www", images))


@contextmanager
def s3_server(folder: Path, monkeypatch: Any) -> Iterator[str]:
    """Run moto's server with an empty bucket, and yield the URL of the bucket."""
    import boto3
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {**_KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    (folder / "bucket").mkdir()
    boto3.client("s3").create_bucket(Bucket="dataset")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        yield "s3://dataset"
    finally:
        server.stop()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def s3_folder(url: str, folder: Path, images: Images) -> DatasetSpec:
    """Objects by folders."""
    return _uploaded(url, folder, dataset_sources.folder(folder / "bucket", images))


def s3_zip(url: str, folder: Path, images: Images) -> DatasetSpec:
    """A zip in a bucket."""
    return _uploaded(url, folder, dataset_sources.zipped(folder / "bucket", images))


def s3_shards(url: str, folder: Path, images: Images) -> DatasetSpec:
    """Shards in a bucket."""
    return _uploaded(url, folder, dataset_sources.shards(folder / "bucket", images))


def s3_manifest(url: str, folder: Path, images: Images) -> DatasetSpec:
    """A table and its files in a bucket."""
    return _uploaded(url, folder, dataset_sources.jsonl_manifest(folder / "bucket", images))


def _uploaded(url: str, folder: Path, spec: DatasetSpec) -> DatasetSpec:
    import boto3

    client = boto3.client("s3")
    for path in sorted((folder / "bucket").rglob("*")):
        if path.is_file():
            client.upload_file(str(path), "dataset", path.relative_to(folder / "bucket").as_posix())
    return _at(url, folder / "bucket", spec)


def _at(url: str, folder: Path, spec: DatasetSpec) -> DatasetSpec:
    return DatasetSpec(spec.source.replace(str(folder), url), **spec.choices())
