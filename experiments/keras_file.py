"""Check a `.keras` archive before Keras opens it: its members, its configuration, its weights.

Keras' safe mode refuses lambdas. But it does not limit memory, it reads files that a configuration names (vocabularies,
files of other frameworks), and it treats a configuration without modules as an older format with looser rules. So
everything is checked here first, in this order: the archive's directory, the classes in `config.json`, the HDF5 objects
in `model.weights.h5`, and last the layers' weights and work, which are counted without creating or doing them. Nothing
is extracted, and no file is written.
"""

from __future__ import annotations

import io
import json
import math
import re
import stat
import struct
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from architectures.errors import ProjectError
from experiments.training.graph_work import trace_network, work

if TYPE_CHECKING:
    import keras

CONFIG_MEMBER = "config.json"
WEIGHTS_MEMBER = "model.weights.h5"
# everything that Keras writes for layers without own files
MEMBERS = frozenset({"metadata.json", CONFIG_MEMBER, WEIGHTS_MEMBER})

MAX_ARCHIVE_BYTES = 2**28  # 67 million float32 weights; chollet at its published width has 1.2 million
MAX_DIRECTORY_BYTES = 4096  # of the list of members at the archive's end; a real one has 171
MAX_CONFIG_BYTES = 2**24  # malireddi's has 9 KB
MAX_HDF5_OBJECTS = 10_000  # groups and datasets; about four per layer
MAX_CLASSES = 20_000  # layers and their parts; mobilenet_v3 has 233
MAX_ACTIVATIONS = 2**25  # values of one layer or operation for one image: 128 MiB of float32
MAX_MULTIPLICATIONS = 10**11  # of a whole network for one image: seconds; VGG-16 has a sixth of that
MAX_UNROLLED = 1_000  # steps of a layer that repeats its operations in the graph for each step

END_RECORD = struct.Struct("<4s4H2LH")  # signature, disks, entries here and in all, size, offset, comment
END_SIGNATURE = b"PK\x05\x06"
ZIP64_LOCATOR, ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20  # before it; only for archives of more than 4 GiB

# Forms of values in a configuration that are data, not code.
VALUES = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})
PUBLIC_MODULES = frozenset(
    {"keras", "keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints", "keras.dtype_policies"}
)
OPERATIONS = "keras.src.ops."  # the modules of keras.ops, as Keras writes them
FUNCTIONAL = "keras.src.models.functional"
RUNS_CODE = "runs code from the file"
READS_FILES = "reads files that the configuration names"
REFUSED = {
    "Lambda": RUNS_CODE,
    "TorchModuleWrapper": RUNS_CODE,
    "TFSMLayer": RUNS_CODE,
    "JaxLayer": RUNS_CODE,
    "FlaxLayer": RUNS_CODE,
    "StringLookup": READS_FILES,
    "IntegerLookup": READS_FILES,
    "TextVectorization": READS_FILES,
}


class _Fault(Exception):
    """A fault in a file; the message continues after the file name."""


def check(path: Path) -> None:
    """Raise an error for a `.keras` file that Keras should not open.

    The layers that architectures and plugins define must have been registered before.

    Raises:
        ProjectError: naming the faulty member, class or object.
    """
    try:
        with path.open("rb") as file:
            config, weights = _members(file)
        _check_classes(config)
        stored = _stored_weights(weights)
        needed = _needed_weights(config)
        if needed > stored:
            raise _Fault(f"its layers need {needed:,} weights, and it stores {stored:,}")
    except (_Fault, OSError) as fault:
        raise ProjectError(f"{path.name} is not loaded: {fault}.") from fault


def _members(file: Any) -> tuple[dict[str, Any], bytes]:
    """Check the archive's directory; return the configuration and the bytes of the weights."""
    size = file.seek(0, io.SEEK_END)
    if size > MAX_ARCHIVE_BYTES:
        raise _Fault(f"its {size:,} bytes are beyond the limit of {MAX_ARCHIVE_BYTES:,}")
    _check_end(file, size)
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
            names = [member.filename for member in found]
            for member in found:
                _check_member(member)
            if len(set(names)) < len(names):
                raise _Fault("it holds two members with the same name")
            if missing := sorted(MEMBERS - set(names)):
                raise _Fault(f"it has no {missing[0]}")
            if sum(member.file_size for member in found) > size:
                raise _Fault("its members overlap")
            text, weights = archive.read(CONFIG_MEMBER), archive.read(WEIGHTS_MEMBER)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise _Fault(f"the archive is damaged: {_line(error)}") from error
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Fault(f"{CONFIG_MEMBER} is damaged, or not JSON") from error
    if not isinstance(config, dict):
        raise _Fault(f"{CONFIG_MEMBER} does not describe a model")
    return config, weights


def _check_end(file: Any, size: int) -> None:
    """Check the end record of an archive, so that a directory of millions of members is never read."""
    tail_bytes = min(size, ZIP64_LOCATOR_BYTES + END_RECORD.size)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    if len(tail) < END_RECORD.size:
        raise _Fault("truncated, or not a .keras archive")
    signature, _, _, _, _, directory_bytes, *_ = END_RECORD.unpack(tail[-END_RECORD.size :])
    if signature != END_SIGNATURE or tail.startswith(ZIP64_LOCATOR):
        raise _Fault("truncated, or not a .keras archive")
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise _Fault(f"its list of members has {directory_bytes:,} bytes; the limit is {MAX_DIRECTORY_BYTES:,}")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if name not in MEMBERS:
        raise _Fault(f"it holds the member {name[:80]!r}; known are {', '.join(sorted(MEMBERS))}")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _Fault(f"its member {name} is a link")
    # Keras stores members uncompressed, so a small file cannot expand to a large one.
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise _Fault(
            f"its member {name} is compressed, {member.compress_size:,} bytes for {member.file_size:,}: "
            f"Keras stores them as they are"
        )
    if name != WEIGHTS_MEMBER and member.file_size > MAX_CONFIG_BYTES:
        raise _Fault(f"its member {name} has {member.file_size:,} bytes; the limit is {MAX_CONFIG_BYTES:,}")


def _check_classes(config: dict[str, Any]) -> None:
    """Check that all classes in a configuration are Keras' own or were registered in this process."""
    todo: list[Any] = [config]
    classes = 0
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if "class_name" in node:
                classes += 1
                if classes > MAX_CLASSES:
                    raise _Fault(f"{CONFIG_MEMBER} holds more than {MAX_CLASSES:,} classes")
                _check_class(node)
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)


def _check_class(node: dict[str, Any]) -> None:
    name, registered = node["class_name"], node.get("registered_name")
    if not isinstance(name, str):
        raise _Fault(f"it holds a class called {str(name)[:80]}")
    if name in VALUES:
        return
    inner = node.get("config")
    label = inner.get("name") if isinstance(inner, dict) else None
    title = f"{name!r}" + (f" (named {label!r})" if isinstance(label, str) else "")
    if name in REFUSED or name == "__lambda__":
        raise _Fault(f"it holds a {title}, which {REFUSED.get(name, RUNS_CODE)}")
    if "module" not in node:
        raise _Fault(f"it holds the class {title} without a module, in the form of an older format")
    module = node["module"]
    import keras

    own = keras.saving.get_custom_objects()
    if name == "function":
        if not (isinstance(inner, str) and (inner in own or hasattr(keras.activations, inner))):
            raise _Fault(f"it holds the unknown function {str(inner)[:80]!r} of the module {module!r}")
    elif not (isinstance(registered, str) and registered in own) and not _is_of_keras(module, name):
        raise _Fault(
            f"it holds the unknown class {title} of the module {module!r}: known are Keras' own layers and what "
            f"architectures and plugins register ({', '.join(sorted(own)) or 'nothing so far'}); give its --plugin"
        )


def _is_of_keras(module: object, name: object) -> bool:
    """Return whether a name is a part of a model that Keras itself defines."""
    import keras

    if not isinstance(module, str) or not isinstance(name, str):
        return False
    if module not in PUBLIC_MODULES and module != FUNCTIONAL and not module.startswith(OPERATIONS):
        return False
    found = getattr(sys.modules.get(module), name, None)
    parts = (
        keras.Operation,  # includes all layers and models
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.DTypePolicy,
    )
    return isinstance(found, type) and issubclass(found, parts) and found.__name__ not in REFUSED


def _stored_weights(content: bytes) -> int:
    """Return the number of weights in an HDF5 file; refuse one that refers to other files."""
    import h5py

    total = total_bytes = 0
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            for name, item in _datasets(file):
                if item.external or item.is_virtual:
                    raise _Fault(f"its weights {name!r} are in another file")
                if item.dtype.kind not in "fiub" and item.dtype.name != "bfloat16":
                    raise _Fault(f"its weights {name!r} are of the type {item.dtype}")
                if item.id.get_storage_size() != item.nbytes:
                    raise _Fault(f"its weights {name!r} of shape {item.shape} are not stored as they are")
                total, total_bytes = total + item.size, total_bytes + item.nbytes
    except _Fault:
        raise
    except Exception as error:  # h5py maps HDF5's errors to many Python types
        raise _Fault(f"{WEIGHTS_MEMBER} is damaged: {_line(error)}") from error
    if total_bytes > len(content):
        raise _Fault("its weights overlap")
    return total


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield all datasets, visiting each name once; a link to another name or file is an error."""
    import h5py

    todo, seen = [file], 0
    while todo:
        group = todo.pop()
        for name in group:
            seen += 1
            if seen > MAX_HDF5_OBJECTS:
                raise _Fault(
                    f"{WEIGHTS_MEMBER} holds more than {MAX_HDF5_OBJECTS:,} objects, or groups that contain themselves"
                )
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _Fault(f"its weights {name[:80]!r} are a link to {getattr(link, 'filename', link.path)}")
            item = group[name]
            if isinstance(item, h5py.Group):
                todo.append(item)
            elif isinstance(item, h5py.Dataset):
                yield name[:80], item


def _needed_weights(config: dict[str, Any]) -> int:
    """Return the number of the layers' weights, without creating them.

    This uses a separate thread, because Keras remembers variables without values per thread, to initialize them later.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_count_weights, config).result()


def _count_weights(config: dict[str, Any]) -> int:
    import keras

    with keras.StatelessScope(initialize_variables=False):
        try:
            model = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
        except Exception as error:  # layers raise all kinds of errors
            raise _Fault(f"Keras cannot build it: {_line(error)}") from error
        if not isinstance(model, keras.Model):
            raise _Fault(f"{CONFIG_MEMBER} describes a {type(model).__name__}, not a model")
        weights = sum(math.prod(weight.shape) for weight in model.weights)
        for operation in _operations(model):
            _check_operation(operation)
        _check_work(model, weights)
    return weights


def _check_operation(operation: Any) -> None:
    """Refuse a layer or function whose outputs or graph would be too large."""
    import keras

    for node in operation._inbound_nodes:
        for output in node.output_tensors:
            values = math.prod(size or 1 for size in output.shape)  # None is the number of images
            if values > MAX_ACTIVATIONS:
                raise _Fault(f"its layer {operation.name!r} computes {values:,} values for an image")
        parts = operation._flatten_layers() if isinstance(operation, keras.Layer) else ()
        depth = sum(isinstance(part, keras.layers.TimeDistributed) or getattr(part, "unroll", False) for part in parts)
        steps = math.prod(size or 1 for tensor in node.input_tensors[:1] for size in tensor.shape[1 : 1 + depth])
        if steps > MAX_UNROLLED:
            raise _Fault(f"its layer {operation.name!r} unrolls {steps:,} steps; the limit is {MAX_UNROLLED:,}")


def _check_work(model: keras.Model, weights: int) -> None:
    """Refuse a model that would take too long or too much memory for one image."""
    if any(None in each.shape[1:] for each in model.inputs):
        raise _Fault("its input has no fixed size")
    try:
        done = list(work(trace_network(model)))
    except Exception as error:
        raise _Fault(f"Keras cannot build it: {_line(error)}") from error
    largest = max(done, key=lambda each: each.values)
    if largest.values > max(MAX_ACTIVATIONS, weights):  # a whole weight may be transposed or cast
        raise _Fault(f"its operation {largest.name!r} takes {largest.values:,} values for an image")
    total = sum(each.multiplications for each in done)
    if total > MAX_MULTIPLICATIONS:
        longest = max(done, key=lambda each: each.multiplications)
        raise _Fault(
            f"it takes the time of {total:.1e} multiplications for an image, most of it in {longest.name!r}; the limit "
            f"is {MAX_MULTIPLICATIONS:.0e}"
        )


def _operations(model: keras.Model) -> Iterator[Any]:
    """Yield all layers and functions between a model's input and output, including those of nested models."""
    for operation in getattr(model, "operations", model.layers):
        if hasattr(operation, "layers"):
            yield from _operations(operation)
        else:
            yield operation


def _line(error: BaseException) -> str:
    text = re.sub(r"\x1b\[\d*m", "", str(error))  # Keras always colours its messages
    return " ".join(text.split()).rstrip(".")[:300] or type(error).__name__
