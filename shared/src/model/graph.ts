/**
 * Builds ONNX messages by hand: single nodes for graph surgery, whole graphs for conversions and tests.
 * It knows nothing of any model; names that are not given are drawn from a counter, so equal calls give equal bytes.
 */
import { create } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import { changed, type Model } from "./onnx.ts";

/** Arrays that say their own ONNX type, float32 or int64, and those that do not: they are given one. */
export type TensorValues = Float32Array | BigInt64Array;
export type BitValues = Uint8Array | Int8Array | Uint16Array | Int32Array;
/** Integers are INT or INTS; a float is marked, since JavaScript cannot tell 1 from 1.0. */
export type AttributeValue = number | readonly number[] | string | { float: number } | TensorProto | GraphProto;
/** A number is a fixed size, a string the name of a size that varies. */
export type Dimension = number | string;

const TYPES = {
  float32: TensorProto_DataType.FLOAT,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  int64: TensorProto_DataType.INT64,
  int32: TensorProto_DataType.INT32,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
  uint4: TensorProto_DataType.UINT4,
  int4: TensorProto_DataType.INT4,
  bool: TensorProto_DataType.BOOL,
  string: TensorProto_DataType.STRING,
} as const;
export type ElementType = keyof typeof TYPES;

/** A tensor of the given values, shared, not copied. A type that is given says what the bits mean, for instance those of 16-bit floats. */
export function tensorOf(name: string, shape: readonly number[], values: TensorValues): TensorProto;
export function tensorOf(name: string, shape: readonly number[], values: BitValues, type: ElementType): TensorProto;
export function tensorOf(name: string, shape: readonly number[], values: TensorValues | BitValues, type?: ElementType): TensorProto {
  const dataType = TYPES[type ?? (values instanceof Float32Array ? "float32" : "int64")];
  const rawData = new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
  return create(TensorProtoSchema, { name, dataType, dims: shape.map(BigInt), rawData });
}

/** An input or output of a graph. */
export function valueInfoOf(name: string, type: ElementType, dimensions: readonly Dimension[]): ValueInfoProto {
  const dim = dimensions.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
    }),
  );
  const tensor = create(TypeProto_TensorSchema, { elemType: TYPES[type], shape: create(TensorShapeProtoSchema, { dim }) });
  return create(ValueInfoProtoSchema, { name, type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } }) });
}

/** A node named after its first output. Its type is a standard operator's, or `DOMAIN::TYPE`. */
export function nodeOf(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
): NodeProto {
  const attribute = Object.entries(attributes).map(([name, value]) => attributeOf(name, value));
  const [type = "", domain = ""] = opType.split("::").reverse();
  return create(NodeProtoSchema, { name: output[0] ?? "", opType: type, domain, input: [...input], output: [...output], attribute });
}

function attributeOf(name: string, value: AttributeValue): AttributeProto {
  const type = AttributeProto_AttributeType;
  if (typeof value === "number") return create(AttributeProtoSchema, { name, type: type.INT, i: BigInt(value) });
  if (typeof value === "string") return create(AttributeProtoSchema, { name, type: type.STRING, s: new TextEncoder().encode(value) });
  if ("float" in value) return create(AttributeProtoSchema, { name, type: type.FLOAT, f: value.float });
  if ("$typeName" in value)
    return value.$typeName === "onnx.TensorProto"
      ? create(AttributeProtoSchema, { name, type: type.TENSOR, t: value })
      : create(AttributeProtoSchema, { name, type: type.GRAPH, g: value });
  return create(AttributeProtoSchema, { name, type: type.INTS, ints: value.map(BigInt) });
}

export interface ModelAbout {
  irVersion: number;
  opset: number;
  producer: string;
  metadata?: Readonly<Record<string, string>>;
  domains?: Readonly<Record<string, number>>;
}

export interface GraphBuilder {
  /** Each returns the name of what it made, to be passed on as an input. */
  input(name: string, type: ElementType, dimensions: readonly Dimension[]): string;
  parameter(name: string, shape: readonly number[], values: TensorValues): string;
  parameter(name: string, shape: readonly number[], values: BitValues, type: ElementType): string;
  floats(values: readonly number[] | Float32Array, shape?: readonly number[]): string;
  integers(values: readonly number[], shape?: readonly number[]): string;
  node(opType: string, inputs: readonly string[], attributes?: Readonly<Record<string, AttributeValue>>, output?: string): string;
  /** A node with several outputs, for instance Split. */
  nodes(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, AttributeValue>>, outputs: number): string[];
  output(name: string, type: ElementType, dimensions: readonly Dimension[]): void;
  /** The graph alone, as the body of a node. */
  body(): GraphProto;
  /** `domains` are versions of other operators than the standard ones. */
  model(about: ModelAbout): Model;
}

/** An empty graph to add to. Nodes must be added in an order in which every input exists already. */
export function createGraph(name: string): GraphBuilder {
  const graph = create(GraphProtoSchema, { name });
  let made = 0;
  const fresh = (opType: string) => `${opType}_${made++}`;
  const constant = (values: TensorValues, shape: readonly number[]) => builder.node("Constant", [], { value: tensorOf("", shape, values) });
  const builder: GraphBuilder = {
    input(name, type, dimensions) {
      graph.input.push(valueInfoOf(name, type, dimensions));
      return name;
    },
    parameter(name: string, shape: readonly number[], values: TensorValues | BitValues, type?: ElementType) {
      graph.initializer.push(tensorOf(name, shape, values as BitValues, type as ElementType));
      return name;
    },
    floats: (values, shape = values.length === 1 ? [] : [values.length]) => constant(Float32Array.from(values), shape),
    integers: (values, shape = [values.length]) => constant(BigInt64Array.from(values, BigInt), shape),
    node(opType, inputs, attributes = {}, output = fresh(opType)) {
      graph.node.push(nodeOf(opType, inputs, [output], attributes));
      return output;
    },
    nodes(opType, inputs, attributes, outputs) {
      const names = Array.from({ length: outputs }, () => fresh(opType));
      graph.node.push(nodeOf(opType, inputs, names, attributes));
      return names;
    },
    output(name, type, dimensions) {
      graph.output.push(valueInfoOf(name, type, dimensions));
    },
    body: () => graph,
    model({ irVersion, opset, producer, metadata = {}, domains = {} }) {
      const model = create(ModelProtoSchema, {
        irVersion: BigInt(irVersion),
        producerName: producer,
        opsetImport: Object.entries({ "": opset, ...domains }).map(([domain, version]) =>
          create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) }),
        ),
        metadataProps: Object.entries(metadata).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
        graph,
      });
      return changed(model, { graph }) as Model;
    },
  };
  return builder;
}

/** A float or int64 tensor's dimensions as declared, null where one varies; undefined where the value has no such declaration. */
export function dimensionsOf(value: ValueInfoProto): { type: number; sizes: (number | null)[] } | undefined {
  const type = value.type?.value;
  if (type?.case !== "tensorType") return undefined;
  const sizes = type.value.shape?.dim.map((dim) => (dim.value.case === "dimValue" ? Number(dim.value.value) : null));
  return sizes === undefined ? undefined : { type: type.value.elemType, sizes };
}
