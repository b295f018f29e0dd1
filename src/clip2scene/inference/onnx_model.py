"""The whole of an ONNX file: backbone, mean over turns, text head, words, and what it says of itself."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from clip2scene.inference.onnx_graph import IR_VERSION, OPSET, StudentGraph, to_numpy
from clip2scene.onnx_runner.about import KEY, About
from clip2scene.onnx_runner.words import Choice
from clip2scene.student.model import Embedder
from clip2scene.types import Prompts


def build_model(student: Embedder, about: About, vocabulary: Prompts, choice: Choice) -> onnx.ModelProto:
    """Make the graph of a student.

    Three inputs have defaults: ``chosen``, which names each class is compared with, as rows of the
    vocabulary; and for the mean over several turns ``seen_before``, the sum of the outputs ``seen`` at the
    others, and ``share``, one over their number.

    Args:
        student: The network.
        about: What the file says of itself.
        vocabulary: All names that the file is to know, each a class of its own.
        choice: The default of ``chosen``.

    Raises:
        ValueError: If there is no such form of the network.
    """
    graph = StudentGraph(about.weights)  # type: ignore[arg-type]
    seen = graph.backbone(student.eval().backbone, about.in_channels + (about.height != "none"))
    graph.add("Identity", seen, outputs=["seen"])
    before = graph.constant(np.zeros((1, student.head.in_features)), "seen_before", np.float32)
    total = graph.add("Mul", graph.add("Add", "seen", before), graph.constant(1.0, "share", np.float32))
    _compare(graph, total, student, vocabulary, choice)
    of_classes = graph.add("ReduceMax", "name_logits", graph.constant([2]), keepdims=0)
    if student.classifier is not None:
        matrix = graph.weight("classifier.weight", to_numpy(student.classifier.weight).T)
        summand = graph.constant(to_numpy(student.classifier.bias), "classifier.bias", np.float32)
        graph.add("Gemm", total, matrix, summand, outputs=["classifier_logits"])
        of_classes = "classifier_logits" if choice.trained else of_classes
    temperature = graph.constant(about.temperature, "temperature", np.float32)
    graph.add("Softmax", graph.add("Div", of_classes, temperature), axis=1, outputs=["scores"])
    graph.add("ArgMax", "scores", axis=1, keepdims=0, outputs=["labels"])
    return _assemble(graph, student, about)


def _compare(
    graph: StudentGraph, points: str, student: Embedder, vocabulary: Prompts, choice: Choice
) -> None:
    """Add the text head, and the logits of the names (:meth:`clip2scene.student.model.Embedder.compare`)."""
    head = graph.weight("head.weight", to_numpy(student.head.weight).T)
    bias = graph.constant(to_numpy(student.head.bias), "head.bias", np.float32)
    plain, cosine = graph.add("Gemm", points, head, bias), student.cosine_temperature
    if cosine is None:
        graph.add("Identity", plain, outputs=["embeddings"])
    else:
        length = graph.constant(1 / cosine, "length", np.float32)
        unit = graph.add("LpNormalization", plain, axis=1, p=2)
        graph.add("Mul", unit, length, outputs=["embeddings"])
    chosen = graph.constant(choice.rows, "chosen")
    table = graph.constant(to_numpy(vocabulary.embeddings), "vocabulary", np.float32)
    names = graph.add("Gather", table, graph.add("Reshape", chosen, graph.constant([-1])))
    if cosine is None:  # both products are one linear map, and names are far fewer than channels
        weight = graph.add("MatMul", names, graph.add("Transpose", head, perm=[1, 0]))
        logits = graph.add("Gemm", points, weight, graph.add("MatMul", names, bias), transB=1)
    else:
        logits = graph.add("Gemm", "embeddings", names, transB=1)
    shape = graph.add("Concat", graph.constant([-1]), graph.add("Shape", chosen), axis=0)
    graph.add("Reshape", logits, shape, outputs=["name_logits"])


def _assemble(graph: StudentGraph, student: Embedder, about: About) -> onnx.ModelProto:
    """Declare inputs and outputs, and put everything into one model."""
    hidden, floats = student.head.in_features, TensorProto.FLOAT

    def declare(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    outputs = [
        declare("labels", TensorProto.INT64, "points"),
        declare("scores", floats, "points", "classes"),
        declare("name_logits", floats, "points", "classes", "names"),
        declare("embeddings", floats, "points", student.head.out_features),
        declare("seen", floats, "points", hidden),
    ]
    if student.classifier is not None:
        outputs.append(declare("classifier_logits", floats, "points", student.classifier.out_features))
    defaults = [
        declare("chosen", TensorProto.INT64, "classes", "names"),
        declare("seen_before", floats, "others", hidden),
        declare("share", floats),
    ]
    inputs: Sequence[onnx.ValueInfoProto] = [*graph.inputs.values(), *defaults]
    made = helper.make_graph(
        graph.nodes, f"clip2scene-{about.network}", inputs, outputs, list(graph.initializers.values())
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="clip2scene",
        producer_version=about.version,
    )
    helper.set_model_props(model, {KEY: about.as_text()})
    return model
