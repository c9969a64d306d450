"""8-bit models: a sentence-transformers model's transformer quantised and run by OpenVINO on the CPU.

Weights have one scale a row. Activations are quantised while the model runs, each group of numbers by its own range
(dynamic quantisation), so no calibration texts are needed. Where the CPU multiplies bfloat16, OpenVINO may compute in
it instead, which is faster and no less exact. What follows the transformer, as pooling, stays in float32.
"""

import contextlib
import importlib.util
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hnmine.errors import MissingExtra, ModelError, reason
from hnmine.runtime.cpu_flags import multiplies_bfloat16

# Activations that share a scale: fewer are slower and hardly more exact, more are less exact.
GROUP = 64

VERSION = 2
"""Part of the keys of int8 vectors; raised where the same model gives others than before."""

Quantised = tuple[bytes, bytes]
"""OpenVINO's description of a model, and its weights."""


def require_openvino(table: str) -> None:
    """Check that OpenVINO and its quantiser are installed, without importing them.

    Raises:
        MissingExtra: one of them is not.
    """
    missing = [name for name in ("openvino", "nncf") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f'{table}.precision = "int8" needs {" and ".join(missing)}: pip install "hnmine[openvino]"; or leave it out'
        )


def quantise(model: Any, example: dict[str, Any], table: str) -> Quantised:
    """Return the transformer of a SentenceTransformer with its weights in 8-bit numbers.

    `example` holds the model's input tensors for some texts, to trace it with; `table` is the config table, for
    messages.

    Raises:
        ModelError: the model cannot be converted.
    """
    if not example or not hasattr(model[0], "auto_model"):
        raise ModelError(
            f'{table}.precision = "int8": only a model that begins with a transformer of tokens can be quantised, and '
            f'this one begins with {type(model[0]).__name__}; set it to "float32"'
        )
    try:
        with _quiet():
            import nncf
            import openvino

            graph = _converted(model[0].auto_model, example)
            found = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
            # default names count what the process has made before: fixed ones give the same bytes every time
            found.set_friendly_name("transformer")
            for number, node in enumerate(found.get_ordered_ops()):
                node.set_friendly_name(f"node {number}")
                for place, output in enumerate(node.outputs()):
                    output.get_tensor().set_names({f"node {number} output {place}"})
            with tempfile.TemporaryDirectory() as folder:
                graph_file, weights_file = Path(folder) / "model.xml", Path(folder) / "model.bin"
                openvino.serialize(found, str(graph_file), str(weights_file))
                return graph_file.read_bytes(), weights_file.read_bytes()
    except Exception as error:  # converters raise anything; the user needs the reason
        raise ModelError(
            f'{table}.precision = "int8": OpenVINO cannot convert this model: {reason(error)}; set it to "float32"'
        ) from error


def _converted(transformer: Any, example: dict[str, Any]) -> Any:
    """Return OpenVINO's graph from input tensors to the last hidden state, by tracing; sizes stay open."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    class LastHiddenState(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = transformer

        def forward(self, *given: Any) -> Any:
            return self.inner(**dict(zip(example, given, strict=True)), return_dict=True).last_hidden_state

    # not openvino.convert_model, which reports its use over the network
    with torch.inference_mode():
        traced: Any = TorchScriptPythonDecoder(LastHiddenState().eval(), example_input=tuple(example.values()))
        reader = FrontEndManager().load_by_framework("pytorch")
        return reader.convert(reader.load(traced))


def use_quantised(model: Any, quantised: Quantised, names: Sequence[str], threads: int) -> None:
    """Run the transformer of a SentenceTransformer on the CPU by OpenVINO from now on, and free its own weights.

    `names` are those of its input tensors, in the order that it was quantised with.
    """
    import openvino
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    hint = "bf16" if multiplies_bfloat16() else "f32"
    settings = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": hint, "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
    }  # fmt: skip
    core = openvino.Core()
    request = core.compile_model(core.read_model(*quantised), "CPU", settings).create_infer_request()
    transformer = model[0].auto_model

    def forward(**features: Any) -> Any:
        found = request.infer([features[name].contiguous().numpy() for name in names])
        return BaseModelOutput(last_hidden_state=torch.from_numpy(found[0]))

    transformer.forward = forward
    for weights in transformer.parameters():
        weights.data = weights.data.new_empty(0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the converters' output on the terminal and nncf's telemetry."""
    from transformers.utils import logging

    os.environ.setdefault("NNCF_CI", "1")
    said, before = io.StringIO(), logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
