"""The two formats of torch.save, read without PyTorch.

Both hold a pickle that describes tensors (`state_pickle` reads it), and raw storages that the tensors are strided
views of.
"""

import io
import os
import zipfile
from collections.abc import Callable
from typing import BinaryIO

from minideeplab.files.arrays import check_members
from minideeplab.files.refusal import REDO, Budget, Refusal, shown
from minideeplab.weights.formats import RESAVE
from minideeplab.weights.pickled_values import Storage, StoredTensor, described
from minideeplab.weights.raw_arrays import STORED, Weights, decode, element_count, result_dtype
from minideeplab.weights.state_pickle import StatePickle
from minideeplab.weights.wrappers import state_dict_in

MAX_PICKLE = 16 * 2**20
# Names may share a storage, and small tensors may have stride 0. In a network each takes memory of its own.
_OVERLAP, _SMALL = 4, 2**22
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_LEGACY_HEAD = 32  # bytes that the pickle of the first number fits in, in every protocol
_PLAIN_PICKLE = (
    "a plain pickle, as of detectron2 or Paddle, not a file of torch.save; if it holds arrays by name and you trust it "
    "(this runs what is in it): content = pickle.load(open(path, 'rb'), encoding='latin1'); "
    "numpy.savez('weights.npz', **content.get('model', content))"
)
# Bytes of an element of the types that are not read, to find what is behind them.
_UNREAD_SIZES = {
    f"torch.{name}Storage": size
    for name, size in (("ComplexFloat", 8), ("ComplexDouble", 16), ("QInt8", 1), ("QUInt8", 1), ("QInt32", 4))
} | {"torch.storage.UntypedStorage": 1}


def read_zip(archive: zipfile.ZipFile, file_size: int, max_bytes: int) -> Weights:
    """Reads the format of PyTorch 1.6 and later: one folder with data.pkl and data/KEY for each storage.

    Args:
        archive: opened; file_size: of the archive, in bytes.
        max_bytes: limit on the bytes of all arrays, and on those of the storages under them.

    Returns:
        Weights, read-only; those that share memory in PyTorch do so here.

    Raises:
        Refusal: damaged, hostile, too large, or not the format of a state dict.
    """
    check_members(archive.infolist(), file_size)
    members = {info.filename: info for info in archive.infolist()}
    top = next(name for name in members if name.endswith("/data.pkl")).removesuffix("data.pkl")
    if outside := [name for name in members if not name.startswith(top)]:
        raise Refusal(f"member {shown(outside[0])} is not in the folder {shown(top)}; {REDO}")
    order = archive.read(f"{top}byteorder") if f"{top}byteorder" in members else b"little"
    if order != b"little":
        raise Refusal(f"its byte order is {shown(order)}, only little endian is read; {RESAVE}")
    size = members[f"{top}data.pkl"].file_size
    if size > MAX_PICKLE:
        raise Refusal(f"its data.pkl has {size} bytes, the limit is {MAX_PICKLE}; {RESAVE}")

    def read(storage: Storage) -> bytes:
        info = members.get(f"{top}data/{storage.key}")
        if info is None:
            raise Refusal(f"the storage {shown(storage.key)} is missing; {REDO}")
        _check_size(storage, info.file_size)
        return archive.read(info)

    content = StatePickle().run(io.BytesIO(archive.read(f"{top}data.pkl")))
    return _weights(state_dict_in(content), read, max_bytes)


def read_legacy(file: BinaryIO, max_bytes: int) -> Weights:
    """Reads the format before PyTorch 1.6: five pickles, then each storage as a count (8 bytes) and its elements.

    Args, Returns, Raises: as `read_zip`, with a file that is open for reading.
    """
    file_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    pickles = io.BytesIO(file.read(MAX_PICKLE))
    head = pickles.getvalue()[:_LEGACY_HEAD]
    number = _LEGACY_MAGIC.to_bytes(10, "little"), str(_LEGACY_MAGIC).encode()
    # Before the pickle is followed: one of other arrays may be larger than what was read of it, and is not damaged.
    if len(head) == _LEGACY_HEAD and not any(text in head for text in number):
        raise Refusal(_PLAIN_PICKLE)
    if StatePickle().run(pickles) != _LEGACY_MAGIC:
        raise Refusal(_PLAIN_PICKLE)
    if (protocol := StatePickle().run(pickles)) != _LEGACY_PROTOCOL:
        raise Refusal(f"its protocol is {shown(protocol)}, {_LEGACY_PROTOCOL} was expected; {RESAVE}")
    system = StatePickle().run(pickles)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Refusal(f"it was not written on a little endian machine; {RESAVE}")
    pickle = StatePickle()
    content = pickle.run(pickles)
    places = _legacy_places(file, file_size, pickle.storages, StatePickle().run(pickles), pickles.tell())

    def read(storage: Storage) -> bytes:
        if storage.key not in places:
            raise Refusal(f"the storage {shown(storage.key)} is missing; {REDO}")
        file.seek(places[storage.key])
        return file.read(storage.numel * _itemsize(storage))

    return _weights(state_dict_in(content), read, max_bytes)


def _legacy_places(file: BinaryIO, file_size: int, storages: dict[str, Storage], keys, position: int) -> dict[str, int]:
    """Where the elements of each storage begin, found by a walk over the counts from `position` on."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise Refusal(f"its list of storages is {shown(keys)}; {REDO}")
    places = {}
    for key in keys:
        if key in places or key not in storages:
            raise Refusal(f"the storage {shown(key)} occurs twice, or no tensor uses it; {REDO}")
        file.seek(position)
        count = int.from_bytes(file.read(8), "little")
        _check_size(storages[key], count * _itemsize(storages[key]))
        places[key] = position + 8
        position += 8 + count * _itemsize(storages[key])
        if position > file_size:
            raise Refusal(f"truncated: storage {shown(key)} ends at {position}, the file at {file_size}; {REDO}")
    return places


def _check_size(storage: Storage, nbytes: int) -> None:
    expected = storage.numel * _itemsize(storage)
    if nbytes != expected:
        raise Refusal(
            f"the storage {shown(storage.key)} of {storage.numel} elements ({storage.code}) takes {expected} bytes, "
            f"the file has {nbytes}; {REDO}"
        )


def _itemsize(storage: Storage) -> int:
    size = STORED[storage.code].itemsize if storage.code in STORED else _UNREAD_SIZES.get(storage.code)
    if size is None:
        raise Refusal(
            f"the storage {shown(storage.key)} is a {shown(storage.code)}, of unknown size, and what follows it cannot "
            f"be found; {RESAVE}"
        )
    return size


def _weights(state: dict, read: Callable[[Storage], bytes], max_bytes: int) -> Weights:
    """The arrays of a state dict, each storage read once. All sizes are added up before the first one is read."""
    tensors = {name: value for name, value in state.items() if isinstance(value, StoredTensor)}
    used = {tensor.storage: result_dtype(tensor.storage.code).itemsize for tensor in tensors.values()}
    storages, views = Budget(max_bytes), Budget(max_bytes)
    for storage, itemsize in used.items():
        storages.take(storage.numel * itemsize)
    for tensor in tensors.values():
        # Views cost nothing here. But with stride 0, or in great number, they do in any copy.
        views.take(element_count(tensor.size) * used[tensor.storage])
    if views.used > _OVERLAP * storages.used + _SMALL:
        raise Refusal(
            f"its tensors have {views.used} bytes, and there are {storages.used} under them: they overlap, or have "
            f"stride 0; save copies of them, {{name: tensor.clone() for name, tensor in state_dict.items()}}"
        )
    vectors = {storage: decode(storage.code, read(storage)) for storage in used}
    arrays = {name: tensor.view(vectors[tensor.storage]) for name, tensor in tensors.items()}
    return Weights(arrays, {name: described(value) for name, value in state.items() if name not in tensors})
