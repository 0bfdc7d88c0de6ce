"""Which format a weight file has. It is recognised by the content, not by the name."""

import zipfile
from typing import BinaryIO

from minideeplab.files.arrays import ZIP_STARTS, damage_refused
from minideeplab.files.refusal import REDO, Refusal, shown
from minideeplab.weights.mistaken import CONVERT, mistaken

NPZ, PYTORCH, PYTORCH_LEGACY, SAFETENSORS = "npz", "pytorch", "pytorch legacy", "safetensors"
TITLES = {
    NPZ: "an .npz of NumPy",
    PYTORCH: "a .pth of PyTorch",
    PYTORCH_LEGACY: "a pickle, as a .pth of PyTorch before 1.6",
    SAFETENSORS: "a .safetensors file",
}
WANTED = "a .pth of PyTorch, a .safetensors or an .npz file"
RESAVE = "if you trust it, open it in PyTorch and write it again with torch.save(model.state_dict(), path)"
RESAVE_PLAIN = (
    "if you trust it, open it in PyTorch, make a plain tensor of float32 of it (.to_dense(), .dequantize(), .float(), "
    "torch.from_numpy) and write all again with torch.save"
)

# Of protocols 2 to 5, the last that there is; of 1, where torch.save used it.
_PICKLE_STARTS = (*(bytes([0x80, protocol]) for protocol in range(2, 6)), b"L119547037146038801333356L")
# Members (in the archive's folder) that tell other archives of PyTorch from those of torch.save. Some of their members
# are compressed, so that the kind is said before anything else is checked.
_TORCHSCRIPT = "a TorchScript program (of torch.jit.save, or of torch::save in C++)"
_OTHER_ARCHIVES = (
    ("constants.pkl", _TORCHSCRIPT, "torch.jit.load(path).state_dict()"),
    ("code/", _TORCHSCRIPT, "torch.jit.load(path).state_dict()"),
    ("archive_format", "a program of torch.export", "torch.export.load(path).state_dict"),
    (
        ".data/extern_modules",
        "a package of torch.package",
        "the state_dict() of what torch.package.PackageImporter loads",
    ),
)


def format_of(file: BinaryIO, wanted: str = WANTED) -> str:
    """NPZ, PYTORCH, PYTORCH_LEGACY or SAFETENSORS.

    Args:
        file: open for reading; it is left at any place.
        wanted: what to give instead of a file that is none of them.

    Raises:
        Refusal: none of them; the message says what it is instead, and what to do.
    """
    file.seek(0)
    head = file.read(512)
    if head.startswith(ZIP_STARTS):
        with damage_refused(), zipfile.ZipFile(file) as archive:
            return _format_of_archive(archive.namelist(), wanted)
    # Before the pickle: the length of a header may begin with the same bytes, but a pickle has no brace there.
    if head[8:9] == b"{":
        return SAFETENSORS
    if head.startswith(_PICKLE_STARTS):
        return PYTORCH_LEGACY
    if not head:
        raise Refusal(f"it is empty; {REDO}")
    if head[257:262] == b"ustar":
        raise Refusal(f"a tar archive; unpack it, or if the first PyTorch wrote it: {RESAVE}")
    raise Refusal(
        mistaken(file, head) or f"it starts with {shown(head[:8])}, as no known weight file does; give {wanted}"
    )


def _format_of_archive(names: list[str], wanted: str) -> str:
    inner = [name.partition("/")[2] for name in names]
    for member, title, state in _OTHER_ARCHIVES:
        if any(name.startswith(member) for name in inner):
            raise Refusal(f"{title}, not weights alone; if you trust it, write {state} with torch.save in PyTorch")
    if "model.weights.h5" in names:
        raise Refusal(f"a .keras file of Keras; {CONVERT}")
    if any(name.endswith("/data.pkl") for name in names):
        return PYTORCH
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    found = ", ".join(shown(name) for name in names[:5]) or "nothing"
    raise Refusal(
        f"a zip archive of {found}, neither of PyTorch nor of NumPy; unpack it if the weights are in it; give {wanted}"
    )
