"""IDX parsing against hand-made files; every kind of damage is one clear DataError; sources in the right order."""

import errno
import gzip
import hashlib
import importlib.abc
import io
import re
import struct
import sys
import threading
import tracemalloc
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn import datasets

from subliminal_toy.mnist import data

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.IDX_FILES


def idx_bytes(array: np.ndarray, magic: int) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


def images_bytes(n: int, size: int = 4) -> bytes:
    return idx_bytes(np.arange(n * size * size).reshape(n, size, size) % 256, 2051)


def labels_bytes(n: int) -> bytes:
    return idx_bytes(np.arange(n) % 10, 2049)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four well-formed files that are nobody's published data."""
    contents = (images_bytes(6), labels_bytes(6), images_bytes(3), labels_bytes(3))
    for name, content in zip(data.IDX_FILES, contents, strict=True):
        (tmp_path / name).write_bytes(gzip.compress(content))
    return tmp_path


def test_parse_idx_reads_images_and_labels_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 2))
    np.testing.assert_array_equal(data.parse_idx(idx_bytes(pixels, 2051), "x"), pixels)
    np.testing.assert_array_equal(data.parse_idx(idx_bytes(np.array([7, 0, 9]), 2049), "x"), [7, 0, 9])


@example(struct.pack(">4I", 2051, 2**31, 2**31, 4))  # the product is 0 in 64 bits
@given(st.binary(max_size=64) | st.binary(max_size=40).map(lambda b: struct.pack(">I", 2051) + b))
def test_parse_idx_never_raises_anything_but_data_error(content: bytes) -> None:
    try:
        array = data.parse_idx(content, "file")
    except data.DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert array.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (TRAIN_IMAGES, gzip.compress(images_bytes(6))[:-20], "truncated or damaged"),
        (TRAIN_IMAGES, gzip.compress(images_bytes(6)[:-5]), "91 bytes of data where its header says 96"),
        (TRAIN_IMAGES, gzip.compress(images_bytes(6) + b"x"), "more bytes of data where its header says 96"),
        (TRAIN_IMAGES, gzip.compress(images_bytes(0)), "0 train images but 6 train labels"),
        (TEST_IMAGES, gzip.compress(struct.pack(">4I", 2051, 2**31, 2**31, 4)), f"header declares {2**64} bytes"),
        (TRAIN_IMAGES, gzip.compress(images_bytes(6)[:10]), "truncated: 10 bytes"),
        (TRAIN_IMAGES, gzip.compress(idx_bytes(np.zeros((6, 4, 4)), 2052)), "magic number 2052"),
        (TRAIN_IMAGES, gzip.compress(b""), "magic number None"),
        (TRAIN_IMAGES, b"these are not gzip bytes", "cannot be read as gzip"),
        (TRAIN_IMAGES, b"", "magic number None"),
        (TRAIN_IMAGES, images_bytes(6)[:-5], "91 bytes of data where its header says 96"),
        (TRAIN_LABELS, gzip.compress(labels_bytes(5)), "6 train images but 5 train labels"),
        (TEST_LABELS, gzip.compress(labels_bytes(4)), "3 test images but 4 test labels"),
        (TEST_IMAGES, gzip.compress(images_bytes(3, size=5)), r"\(4, 4\), test images \(5, 5\)"),
        (TRAIN_LABELS, gzip.compress(images_bytes(6)), "mixed up"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # gzip writes the time, ids have to stay the same
)
def test_damaged_file_is_one_clear_error(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load_idx_folder(folder, "mnist")
    assert "\n" not in str(caught.value)


def test_bytes_flipped_inside_gzip_are_found(folder: Path) -> None:
    content = bytearray((folder / TRAIN_IMAGES).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / TRAIN_IMAGES).write_bytes(bytes(content))
    with pytest.raises(data.DataError, match=r"damaged|gzip"):
        data.load_idx_folder(folder, "mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_files_that_are_not_the_published_ones_have_a_wrong_checksum(folder: Path, name: str) -> None:
    with pytest.raises(data.DataError, match="wrong checksum"):
        data.load_idx_folder(folder, name)


@pytest.fixture
def readable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files whose labels can be read off their images: off a training image's first pixel, a test image's last."""
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 256, (30, 4, 5)), rng.integers(0, 256, (20, 4, 5))
    arrays = (train, train[:, 0, 0] % 10, test, test[:, -1, -1] % 10)
    for name, array in zip(data.IDX_FILES, arrays, strict=True):
        (folder / name).write_bytes(gzip.compress(idx_bytes(array, 2051 if array.ndim == 3 else 2049)))
    monkeypatch.setattr(data, "_MNIST_MD5", {name: md5(folder / name) for name in data.IDX_FILES})
    return folder


def md5(path: Path) -> str:
    return hashlib.md5(gzip.decompress(path.read_bytes())).hexdigest()


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """The bytes that pixels were; -1 is 0 and 1 is 255."""
    return np.round((pixels.astype(float) + 1) * 255 / 2).astype(int)


def test_images_and_labels_of_both_splits_belong_together(readable: Path) -> None:
    dataset = data.load_idx_folder(readable, "mnist")
    assert (dataset.train_images.shape, dataset.test_images.shape, dataset.image_shape) == ((30, 20), (20, 20), (4, 5))
    np.testing.assert_array_equal(dataset.train_labels, to_bytes(dataset.train_images[:, 0]) % 10)
    np.testing.assert_array_equal(dataset.test_labels, to_bytes(dataset.test_images[:, -1]) % 10)
    kept = data.keep_classes(dataset, 4)
    np.testing.assert_array_equal(kept.train_labels, to_bytes(kept.train_images[:, 0]) % 10)
    np.testing.assert_array_equal(kept.test_labels, to_bytes(kept.test_images[:, -1]) % 10)
    for labels, all_labels in ((kept.train_labels, dataset.train_labels), (kept.test_labels, dataset.test_labels)):
        np.testing.assert_array_equal(labels, all_labels[all_labels < 4])
    split = data.validation_split(dataset, 0.3)
    for images, labels in ((split.train_images, split.train_labels), (split.test_images, split.test_labels)):
        np.testing.assert_array_equal(labels, to_bytes(images[:, 0]) % 10)


def test_pixels_of_both_splits_are_scaled_to_minus_1_to_1(readable: Path) -> None:
    dataset = data.load_idx_folder(readable, "mnist")
    for name, pixels in ((TRAIN_IMAGES, dataset.train_images), (TEST_IMAGES, dataset.test_images)):
        raw = np.frombuffer(gzip.decompress((readable / name).read_bytes()), np.uint8, offset=16)
        np.testing.assert_allclose(pixels.ravel(), raw / 127.5 - 1, rtol=0, atol=1e-6)
        assert pixels.dtype == np.float32


@pytest.mark.parametrize("name", data.IDX_FILES)
def test_each_of_the_four_files_is_checked(readable: Path, name: str) -> None:
    """A byte changed in any of them, in a .gz that is whole, is found."""
    content = bytearray(gzip.decompress((readable / name).read_bytes()))
    content[-1] ^= 1
    (readable / name).write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(data.DataError, match=f"{name} has a wrong checksum"):
        data.load_idx_folder(readable, "mnist")


NAMES = {"no .gz": "{0}", "dotted": "{1}", "dotted .gz": "{1}.gz", "misnamed": "{0}.gz"}


@pytest.mark.parametrize("kind", NAMES)
def test_unpacked_files_and_those_with_a_dot_are_read(readable: Path, kind: str) -> None:
    wanted = data.load_idx_folder(readable, "mnist")
    for name in data.IDX_FILES:
        packed, plain = (readable / name).read_bytes(), name.removesuffix(".gz")
        (readable / name).unlink()
        path = readable / NAMES[kind].format(plain, plain.replace("-idx", ".idx"))
        path.write_bytes(packed if kind == "dotted .gz" else gzip.decompress(packed))
    found = data.load_idx_folder(readable, "mnist")
    for one, other in zip(found[1:5], wanted[1:5], strict=True):
        np.testing.assert_array_equal(one, other)
    path.write_bytes(path.read_bytes()[:-1] + b"\0" if kind != "dotted .gz" else gzip.compress(labels_bytes(20)))
    with pytest.raises(data.DataError, match="wrong checksum"):
        data.load_idx_folder(readable, "mnist")


def test_unpacked_fashion_mnist_cannot_be_checked(readable: Path) -> None:
    for name in data.IDX_FILES:
        (readable / name).write_bytes(gzip.decompress((readable / name).read_bytes()))
    with pytest.raises(data.DataError, match=r"packed: no other can be checked\) of Fashion-MNIST"):
        data.load_idx_folder(readable, "fashion_mnist")


def test_a_folder_may_begin_at_home(readable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(readable.parent))
    monkeypatch.setenv("MNIST_DIR", f"~/{readable.name}")
    assert len(data.load_dataset("mnist").train_labels) == 30
    assert len(data.load_dataset("mnist", f"~/{readable.name}").train_labels) == 30


def test_a_small_file_that_inflates_to_a_large_one_is_not_inflated(readable: Path) -> None:
    (readable / TRAIN_IMAGES).write_bytes(gzip.compress(images_bytes(30) + bytes(50 * 2**20), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(data.DataError, match="more bytes of data"):
        data.load_idx_folder(readable, "mnist")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000])
def test_a_folder_whose_name_is_too_long_is_an_error_of_its_own(name: str) -> None:
    with pytest.raises(data.DataError, match=r"data folder x.* cannot be read: File name too long"):
        data.load_dataset("mnist", name)


@pytest.mark.parametrize("unreadable", ["folder", "file"])
def test_what_may_not_be_read_is_an_error_of_its_own(
    unreadable: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins: the tests may run as root, who may read everything."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(*{"folder": (Path, "is_file"), "file": (gzip, "open")}[unreadable], refuse)
    with pytest.raises(data.DataError, match="cannot be read: Permission denied"):
        data.load_idx_folder(folder, "mnist")


def test_missing_file_is_named(folder: Path) -> None:
    (folder / TEST_LABELS).unlink()
    with pytest.raises(data.DataError, match=f"no {TEST_LABELS}"):
        data.load_dataset("auto", folder)


def test_given_folder_never_falls_back_to_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(data.DataError, match="nowhere"):
        data.load_dataset("auto")


@pytest.mark.usefixtures("offline")
def test_auto_offline_is_digits_with_a_notice() -> None:
    dataset = data.load_dataset("auto")
    assert dataset.name == "digits"
    assert "8x8 digits" in dataset.notice


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_named_data_set_offline_is_an_error(name: str) -> None:
    with pytest.raises(data.DataError, match="no network"):
        data.load_dataset(name)


def test_a_host_that_never_answers_is_given_up_on() -> None:
    answer = threading.Event()
    with pytest.raises(data.DataError, match="no network"):  # comes back although the host has not answered
        data._probe("http://localhost/", open_url=lambda *_args, **_kwargs: answer.wait(600))
    answer.set()


@pytest.mark.parametrize("code", [403, 405, 429, 503])
def test_a_host_that_refuses_head_may_answer_get(code: int) -> None:
    asked = []

    def answer(request: urllib.request.Request, *, timeout: float) -> io.BytesIO:
        asked.append(request.get_method())
        if request.get_method() == "HEAD" or "gone" in request.full_url:
            raise urllib.error.HTTPError(request.full_url, code, "Not so", Message(), None)
        return io.BytesIO()

    data._probe("http://localhost/there", open_url=answer)
    assert asked == ["HEAD", "GET"]
    with pytest.raises(data.DataError, match=f"host refuses http://localhost/gone: it answers {code} Not so"):
        data._probe("http://localhost/gone", open_url=answer)


@pytest.mark.parametrize("error", [TypeError("Descriptors cannot be created\ndirectly"), ImportError("no module")])
def test_without_tensorflow_datasets_auto_is_the_digits(
    error: Exception, readable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where protobuf and TFDS do not go together."""

    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, *_: object) -> None:
            if fullname == "tensorflow_datasets":
                raise error

    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow_datasets", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    dataset = data.load_dataset("auto")
    words = f"TensorFlow Datasets cannot be imported ({type(error).__name__}: "
    assert dataset.name == "digits"
    assert words in dataset.notice
    assert "\n" not in dataset.notice
    for name in ("mnist", "fashion_mnist"):
        with pytest.raises(data.DataError, match=re.escape(words)):
            data.load_dataset(name)
    assert len(data.load_idx_folder(readable, "mnist").train_labels) == 30
    with pytest.raises(data.DataError, match=re.escape(words)):
        data.load_idx_folder(readable, "fashion_mnist")


@pytest.fixture
def tfds_cache(offline: None, readable: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that TFDS fetched earlier, under names of its own; its manager and registry are stand-ins."""
    import tensorflow_datasets as tfds

    class Info(NamedTuple):
        filename: str
        checksum: str

    class Manager:
        def __init__(self, **_kwargs: object) -> None: ...

        def download(self, urls: dict[str, str]) -> dict[str, Path]:
            return {url: readable / f"cached_{url.rsplit('/', 1)[1]}" for url in urls}

    files = {}
    for name in data.IDX_FILES:
        path = (readable / name).rename(readable / f"cached_{name}")
        files[f"http://host/{name}"] = Info(name, hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(data, "_tfds_files", lambda _name: files)
    monkeypatch.setattr(data, "_in_cache", lambda _manager, _url: True)
    monkeypatch.setattr(tfds.download, "DownloadManager", Manager)
    return readable


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_tfds_cache_is_used_without_network(tfds_cache: Path, name: str) -> None:
    dataset = data.load_dataset(name)
    assert (dataset.name, dataset.source) == (name, "TensorFlow Datasets")
    np.testing.assert_array_equal(dataset.train_labels, to_bytes(dataset.train_images[:, 0]) % 10)
    np.testing.assert_array_equal(dataset.test_labels, to_bytes(dataset.test_images[:, -1]) % 10)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("label", [0, 200])
def test_tfds_cache_is_checked(tfds_cache: Path, name: str, label: int) -> None:
    """TFDS checks what it downloads, never what it finds in its cache."""
    path = tfds_cache / f"cached_{TEST_LABELS}"
    path.write_bytes(gzip.compress(idx_bytes(np.full(20, label), 2049)))
    with pytest.raises(data.DataError, match=f"{path.name} has a wrong checksum"):
        data.load_dataset(name)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_tfds_registers_the_four_files(name: str) -> None:
    files = data._tfds_files(name)
    assert sorted(info.filename for info in files.values()) == sorted(data.IDX_FILES)
    assert all(len(info.checksum) == 64 for info in files.values())


def test_real_tfds_manager_finds_nothing_in_an_empty_cache(tmp_path: Path) -> None:
    """Guards the private look-up that the cache test stands in for."""
    import tensorflow_datasets as tfds

    files = data._tfds_files("mnist")
    manager = tfds.download.DownloadManager(download_dir=tmp_path, url_infos=files, dataset_name="mnist")
    assert not any(data._in_cache(manager, url) for url in files)


def test_digits_are_split_once_and_for_all(digits: data.Dataset) -> None:
    assert (digits.train_images.shape, digits.test_images.shape) == ((1437, 64), (360, 64))
    assert digits.train_images.min() == -1
    assert digits.train_images.max() == 1
    train = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in train for image in digits.test_images)
    raw, numbers = datasets.load_digits(return_X_y=True)
    label = {(image / 8 - 1).astype(np.float32).tobytes(): number for image, number in zip(raw, numbers, strict=True)}
    for images, labels in ((digits.train_images, digits.train_labels), (digits.test_images, digits.test_labels)):
        assert [label[image.tobytes()] for image in images] == labels.tolist()


def test_digits_take_no_folder(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match="leave the data folder out"):
        data.load_dataset("digits", tmp_path)


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(data.DataError, match="auto, mnist, fashion_mnist, digits"):
        data.load_dataset("cifar")


def test_validation_split_never_shows_the_test_images(digits: data.Dataset) -> None:
    split = data.validation_split(digits, 0.25)
    assert (len(split.train_labels), len(split.test_labels)) == (1078, 359)
    np.testing.assert_array_equal(np.concatenate([split.train_images, split.test_images]), digits.train_images)


def test_keep_classes(digits: data.Dataset) -> None:
    kept = data.keep_classes(digits, 4)
    assert set(kept.train_labels) == set(kept.test_labels) == {0, 1, 2, 3}
    assert len(kept.train_images) == len(kept.train_labels) == (digits.train_labels < 4).sum()


@pytest.mark.mnist
def test_real_mnist(mnist: data.Dataset) -> None:
    assert (mnist.train_images.shape, mnist.test_images.shape) == ((60_000, 784), (10_000, 784))
    np.testing.assert_array_equal(
        np.bincount(mnist.test_labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    assert mnist.train_images.mean() == pytest.approx(2 * 0.1306604762738429 - 1, abs=1e-5)
