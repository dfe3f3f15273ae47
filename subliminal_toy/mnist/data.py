"""Load MNIST and Fashion-MNIST from IDX files or TensorFlow Datasets, or scikit-learn's digits, which are offline.

Order of `load_dataset`: a folder with the four IDX files, gzipped or not (`data_dir`, else $MNIST_DIR) -> the cache and
download manager of TensorFlow Datasets (without TensorFlow) -> for "auto" only, scikit-learn's bundled 8x8 digits.
All files are checked against published checksums, and pixels are mapped linearly to [-1, 1] (OFF).
"""

import gzip
import hashlib
import math
import os
import struct
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

DATASETS = ("auto", "mnist", "fashion_mnist", "digits")
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "8x8 digits (scikit-learn)"}
IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DIGITS_TEST = 360  # of 1,797 images
DIGITS_SPLIT_SEED = 0

# md5 of the uncompressed files as LeCun, Cortes and Burges published them: .gz files differ between mirrors.
_MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049
_HEADER = {_IMAGES_MAGIC: 16, _LABELS_MAGIC: 8}  # bytes
_LARGEST = 60_000 * 28 * 28  # bytes of data in the largest of the published files
_PROBE_SECONDS = 2.0


class DataError(ValueError):
    """The data cannot be used; the message is one line with the reason and the remedy."""


class Dataset(NamedTuple):
    """A classification data set with pixels in [-1, 1]."""

    name: str  # "mnist", "fashion_mnist" or "digits"
    train_images: np.ndarray  # [n, pixels] float32
    train_labels: np.ndarray  # [n] int32
    test_images: np.ndarray
    test_labels: np.ndarray
    image_shape: tuple[int, int]
    source: str  # where it came from, as text
    notice: str = ""  # a warning to show to the user


def load_dataset(name: str = "auto", data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load a data set by name.

    Args:
        name: one of `DATASETS`; "auto" is MNIST, or the digits if MNIST is not available.
        data_dir: folder with the four IDX files; default $MNIST_DIR (MNIST only), else TensorFlow Datasets.

    Raises:
        DataError: files are missing, damaged or not the published ones, or the download fails.
    """
    if name not in DATASETS:
        raise DataError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    if name == "digits":
        if data_dir is not None:
            raise DataError("the digits come with scikit-learn; leave the data folder out, or choose mnist")
        return load_digits()
    kind = "mnist" if name == "auto" else name
    if data_dir is None and kind == "mnist":
        data_dir = os.environ.get("MNIST_DIR") or None
        if data_dir is not None and not Path(data_dir).expanduser().is_dir():
            raise DataError(f"$MNIST_DIR is {data_dir}, which is no folder: name that of the four files, or unset it")
    if data_dir is not None:
        return load_idx_folder(Path(data_dir).expanduser(), kind)
    try:
        return _load_tfds(kind)
    except DataError as error:
        error = DataError(f"{error}; a folder with the four IDX files will do: --data-dir, or MNIST_DIR for MNIST")
        if name != "auto":
            raise error from None
        notice = f"NO MNIST HERE ({error}): running on scikit-learn's bundled 8x8 digits instead."
        return load_digits()._replace(notice=notice)


def load_idx_folder(folder: Path, name: str) -> Dataset:
    """Load the four IDX files of MNIST or Fashion-MNIST from a folder; DataError if one is missing or wrong.

    MNIST's may be uncompressed, and may be called `train-images.idx3-ubyte`.
    """
    try:
        paths = {file: _find_file(folder, file) for file in IDX_FILES}
    except OSError as error:
        raise DataError(f"the data folder {folder} cannot be read: {error.strerror}") from error
    return _load_files(paths, name, f"IDX files in {folder}")


def _find_file(folder: Path, file: str) -> Path:
    """Return the path of one of `IDX_FILES` under any of its usual names; DataError if it is missing."""
    unpacked = file.removesuffix(".gz")
    dotted = unpacked.replace("-idx", ".idx")
    for name in (file, unpacked, f"{dotted}.gz", dotted):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"no {file} in the data folder {folder}; it needs the four files {', '.join(IDX_FILES)}")


def _load_files(paths: dict[str, Path], name: str, source: str) -> Dataset:
    """Load the data set of the four files at `paths`; DataError unless they are the published ones."""
    contents = {file: _read(paths[file]) for file in IDX_FILES}
    dataset = _parse(contents, name, source)
    for file, content in contents.items():
        _check_sum(file, paths[file], content, name)
    return dataset


def _parse(contents: dict[str, bytes], name: str, source: str) -> Dataset:
    """Make a Dataset of the contents of the four files; DataError for inconsistent shapes or counts."""
    arrays = {file: parse_idx(content, file) for file, content in contents.items()}
    train_images, train_labels, test_images, test_labels = (arrays[file] for file in IDX_FILES)
    for images, labels, part in ((train_images, train_labels, "train"), (test_images, test_labels, "test")):
        if images.ndim != 3 or labels.ndim != 1:
            raise DataError(f"the {part} files of {name} are mixed up: images need 3 axes and labels 1")
        if len(images) != len(labels):
            raise DataError(f"{name} has {len(images)} {part} images but {len(labels)} {part} labels")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(f"train images are {train_images.shape[1:]}, test images {test_images.shape[1:]}")
    rows, columns = train_images.shape[1:]
    return Dataset(
        name,
        _scale_pixels(train_images),
        train_labels.astype(np.int32),
        _scale_pixels(test_images),
        test_labels.astype(np.int32),
        (rows, columns),
        source,
    )


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Parse an uncompressed IDX file of unsigned bytes: images (magic 2051) or labels (magic 2049).

    Args:
        content: big-endian header (magic number, then one size per axis), then the data.
        name: what to call the file in an error.

    Returns:
        uint8 array [n, rows, columns] or [n].

    Raises:
        DataError: wrong magic number, or more or less data than the header declares.
    """
    header, shape = _parse_header(content, name)
    actual, expected = len(content) - header, math.prod(shape)
    if actual != expected:
        amount = f"{actual} bytes" if actual < expected else "more bytes"
        raise DataError(f"{name} is damaged: {amount} of data where its header says {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _parse_header(content: bytes, name: str) -> tuple[int, tuple[int, ...]]:
    """Return the length of the header in bytes and the sizes that it declares; DataError if it is damaged."""
    magic = struct.unpack(">I", content[:4])[0] if len(content) >= 4 else None
    if magic not in _HEADER:
        raise DataError(f"{name} has magic number {magic}, not {_IMAGES_MAGIC} (images) or {_LABELS_MAGIC} (labels)")
    header = _HEADER[magic]
    if len(content) < header:
        raise DataError(f"{name} is truncated: {len(content)} bytes are less than its header of {header}")
    return header, struct.unpack(f">{header // 4 - 1}I", content[4:header])


def _read(path: Path) -> bytes:
    """Return the uncompressed content, at most one byte more than the header declares; DataError if unreadable."""
    try:
        with _open(path) as file:
            start = file.read(max(_HEADER.values()))
            header, shape = _parse_header(start, path.name)
            if (declared := math.prod(shape)) > _LARGEST:
                raise DataError(f"{path} is none of the published files: its header declares {declared} bytes")
            return start + file.read(max(header + declared + 1 - len(start), 0))
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); download it again") from error
    except gzip.BadGzipFile as error:
        raise DataError(f"{path} cannot be read as gzip ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    """Open a file, compressed or not, whatever its suffix: browsers may decompress a .gz."""
    with path.open("rb") as file:
        plain = struct.unpack(">I", file.read(4).rjust(4, b"\0"))[0] in _HEADER
    return path.open("rb") if plain else gzip.open(path)


def _check_sum(file: str, path: Path, content: bytes, name: str) -> None:
    """Raise DataError unless `path` is the published `file`: MNIST's by its content, others by TFDS' SHA-256."""
    if name == "mnist" and _MNIST_MD5[file] == hashlib.md5(content, usedforsecurity=False).hexdigest():
        return
    registered = {info.filename: info.checksum for info in _tfds_files(name).values()}
    with path.open("rb") as packed:
        if registered.get(file) == hashlib.file_digest(packed, "sha256").hexdigest():
            return
    packed_only = "" if name == "mnist" else " (packed: no other can be checked)"
    raise DataError(
        f"{path} has a wrong checksum: it is not the published {file}{packed_only} of {TITLES[name]}; download it again"
    )


def _scale_pixels(images: np.ndarray) -> np.ndarray:
    """Map bytes [n, rows, columns] to float32 [n, pixels] in [-1, 1] (OFF: ToTensor, Normalize(0.5, 0.5))."""
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    return flat.astype(np.float32) / 127.5 - np.float32(1.0)


def load_digits() -> Dataset:
    """Load scikit-learn's 8x8 digits: 1,437 training and 360 test images, split by a fixed permutation."""
    from sklearn import datasets  # slow to import, and only this function needs it

    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(DIGITS_SPLIT_SEED).permutation(len(labels))
    images, labels = (images[order] / 8.0 - 1.0).astype(np.float32), labels[order].astype(np.int32)
    train, test = slice(DIGITS_TEST, None), slice(DIGITS_TEST)
    return Dataset("digits", images[train], labels[train], images[test], labels[test], (8, 8), "scikit-learn")


def validation_split(dataset: Dataset, fraction: float = 0.2) -> Dataset:
    """Replace the test images by the last `fraction` of the training images, for tuning."""
    cut = len(dataset.train_labels) - round(fraction * len(dataset.train_labels))
    images, labels = dataset.train_images, dataset.train_labels
    return dataset._replace(
        train_images=images[:cut], train_labels=labels[:cut], test_images=images[cut:], test_labels=labels[cut:]
    )


def keep_classes(dataset: Dataset, classes: int) -> Dataset:
    """Keep only the images of the first `classes` classes."""
    train, test = dataset.train_labels < classes, dataset.test_labels < classes
    return dataset._replace(
        train_images=dataset.train_images[train],
        train_labels=dataset.train_labels[train],
        test_images=dataset.test_images[test],
        test_labels=dataset.test_labels[test],
    )


def _import_tfds() -> Any:
    """Import TensorFlow Datasets; DataError if that fails, whatever its dependencies raise."""
    try:
        import tensorflow_datasets
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"TensorFlow Datasets cannot be imported ({why})") from error
    return tensorflow_datasets


def _tfds_files(name: str) -> dict:
    """Return TensorFlow Datasets' {URL: UrlInfo (size, SHA-256 of the .gz, filename)}."""
    return _import_tfds().builder(name).url_infos


def _load_tfds(name: str) -> Dataset:
    """Load the files through TFDS' cache, which verifies nothing, and its download manager."""
    tfds = _import_tfds()
    try:
        files = _tfds_files(name)
        root = Path(tfds.core.constants.DATA_DIR).expanduser()
        manager = tfds.download.DownloadManager(download_dir=root / "downloads", url_infos=files, dataset_name=name)
        if not all(_in_cache(manager, url) for url in files):
            _probe(next(iter(files)))
        paths = {files[url].filename: Path(path) for url, path in manager.download({url: url for url in files}).items()}
    except DataError:
        raise
    except Exception as error:  # requests, checksums, file system: TFDS raises all kinds
        raise DataError(f"the download of {TITLES[name]} failed: {' '.join(str(error).split())[:200]}") from error
    return _load_files(paths, name, "TensorFlow Datasets")


def _in_cache(manager: object, url: str) -> bool:
    """Return whether TFDS has the file in its cache, so that the network is not needed."""
    from tensorflow_datasets.core.download import resource

    return manager._get_checksum_dl_result(resource.Resource(url=url)) is not None  # type: ignore[attr-defined]


def _probe(url: str, open_url: Callable = urllib.request.urlopen) -> None:
    """Raise DataError within seconds if `url` is not available: TFDS itself would retry for minutes.

    A host that refuses HEAD may still answer GET; only its header is read.
    """
    answers: list[str] = []  # the host's errors, "" for success

    def request() -> None:
        for method in ("HEAD", "GET"):
            try:
                open_url(urllib.request.Request(url, method=method), timeout=_PROBE_SECONDS).close()
            except urllib.error.HTTPError as error:
                answers.append(f"{error.code} {error.reason}")
            except Exception:  # any failure means no answer
                return
            else:
                answers.append("")
                return

    thread = threading.Thread(target=request, daemon=True)  # a DNS look-up has no other time limit
    thread.start()
    thread.join(_PROBE_SECONDS + 0.5)
    if not answers:
        raise DataError("no network: the download host does not answer")
    if answers[-1]:
        raise DataError(f"the download host refuses {url}: it answers {' '.join(answers[-1].split())}")
