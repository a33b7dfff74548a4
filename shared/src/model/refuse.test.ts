import { create } from "@bufbuild/protobuf";
import { FunctionProtoSchema, SparseTensorProtoSchema, TensorProto_DataType, TensorProtoSchema } from "onnx-buf";
import { describe, expect, it } from "vitest";
import { createGraph, type GraphBuilder, nodeOf, tensorOf } from "./graph.ts";
import type { Model } from "./onnx.ts";
import { refusalsOf } from "./refuse.ts";

const ABOUT = { irVersion: 8, opset: 17, producer: "test" };

function modelOf(build: (graph: GraphBuilder) => void): Model {
  const graph = createGraph("test");
  graph.node("Relu", [graph.input("x", "float32", [4])], {}, "y");
  build(graph);
  graph.output("y", "float32", [4]);
  return graph.model(ABOUT);
}

const messagesOf = (model: Model) => refusalsOf(model).map(({ code, message }) => `${code}: ${message}`);
const texts = create(TensorProtoSchema, {
  name: "words",
  dataType: TensorProto_DataType.STRING,
  dims: [1n],
  stringData: [new Uint8Array()],
});
const sparse = (name: string) => create(SparseTensorProtoSchema, { values: tensorOf(name, [1], Float32Array.of(1)), dims: [9n] });

/** An If whose branches are `body`. */
function branching(graph: GraphBuilder, body: GraphBuilder): void {
  body.output("inner", "float32", [4]);
  graph.node("If", ["on"], { then_branch: body.body(), else_branch: createGraph("empty").body() }, "chosen");
}

describe("refusalsOf", () => {
  it("has nothing against a plain model, with whatever small tensors it needs", () => {
    const plain = modelOf((graph) => {
      graph.parameter("w", [4], new Float32Array(4));
      graph.integers([1, 2, 3]);
      const body = createGraph("body");
      body.parameter("one", [], Float32Array.of(1));
      body.parameter("shape", [2], BigInt64Array.of(1n, 2n));
      body.node("Add", ["x", body.floats([1, 2, 3])], {}, "inner");
      branching(graph, body);
    });
    expect(refusalsOf(plain)).toEqual([]);
  });

  it("names strings, whether they go in, come out or are kept", () => {
    const model = modelOf((graph) => {
      graph.input("text", "string", ["batch"]);
      graph.output("label", "string", ["batch"]);
      graph.node("Constant", [], { value: texts }, "kept");
    });
    model.graph.initializer.push(texts);
    expect(messagesOf(model)).toEqual([
      'unsupported-tensor: "text" is a tensor of strings; export the model without its own text processing, with token ids as input',
      'unsupported-tensor: "label" is a tensor of strings; export the model without its own text processing, with token ids as input',
      'unsupported-tensor: the tensor "words" holds strings; export the model without its own text processing',
      'unsupported-tensor: the tensor "kept" holds strings; export the model without its own text processing',
    ]);
  });

  it("names sparse tensors, of the graph, of a body and of a node", () => {
    const model = modelOf((graph) => {
      const body = createGraph("body");
      body.node("Identity", ["x"], {}, "inner");
      body.body().sparseInitializer.push(sparse("thin.inner"));
      branching(graph, body);
      const constant = nodeOf("Constant", [], ["thin.made"], { sparse_value: 1 });
      Object.assign(constant.attribute[0]!, { sparseTensor: sparse("") });
      graph.body().node.push(constant);
    });
    model.graph.sparseInitializer.push(sparse("thin"));
    expect(messagesOf(model)).toEqual([
      'unsupported-tensor: the node "thin.made" (Constant) holds a sparse tensor; save the model with dense weights',
      'unsupported-tensor: the tensor "thin" is sparse; save the model with dense weights',
      'unsupported-tensor: the tensor "thin.inner" inside of the node "chosen" (If) is sparse; save the model with dense weights',
    ]);
  });

  it("names weights in bodies, however deep, and in functions", () => {
    const innermost = createGraph("innermost");
    innermost.parameter("w", [2, 2], new Float32Array(4));
    const body = createGraph("body");
    body.node("Add", ["x", body.floats(new Float32Array(16))], {}, "inner");
    body.node("Loop", [], { body: innermost.body() }, "looped");
    const model = modelOf((graph) => branching(graph, body));
    const constant = nodeOf("Constant", [], ["table"], { value: tensorOf("", [16], new Float32Array(16)) });
    model.functions.push(create(FunctionProtoSchema, { name: "f", domain: "local", node: [constant] }));
    const remedy = "where it cannot be trained; export the model without control flow, or with its weights outside of the body";
    expect(messagesOf(model)).toEqual([
      `weights-in-body: the weight "Constant_0" of shape [16] lies inside of the node "chosen" (If), ${remedy}`,
      `weights-in-body: the weight "w" of shape [2, 2] lies inside of the node "looped" (Loop), ${remedy}`,
      `weights-in-body: the weight "table" of shape [16] lies in one of the model's functions, where it cannot be trained; export the model with its functions inlined`,
    ]);
  });

  it("tells all at once: nodes, tensors that are elsewhere, and those that misfit", () => {
    const model = modelOf((graph) => {
      graph.node("acme::Magic", ["x"], {}, "magic");
      graph.parameter("short", [9], new Float32Array(4));
    });
    model.graph.initializer.push({ ...tensorOf("elsewhere", [1], Float32Array.of(1)), dataLocation: 1 });
    expect(refusalsOf(model).map(({ code }) => code)).toEqual(["unsupported-node", "tensor-unreadable", "external-data"]);
  });
});
