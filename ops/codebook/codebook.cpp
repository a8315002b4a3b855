// codebook: w[i] = entries[group(i)][index(i)] * scale[block(i)], as a type: no data moves.
// d entries[g][k] = sum over i with that group and index of dW[i] * scale[block(i)]
// d scale[b]      = sum over i in block b of dW[i] * entries[group(i)][index(i)]
// Accumulator of both sums: f32 within fixed chunks, chunks added in order (f64 in the reference).
#include "ops/codebook/codebook.h"

#include "ops/codebook/rows.h"

namespace tessera {

namespace {

void require_format(const InferArgs& args, const CodebookFormat& format, const Shape& shape) {
  try {
    format.validate(shape);
  } catch (const Error& error) {
    args.require(false, error.what());
  }
}

void require_type(const InferArgs& args, int i, const TensorType& wanted) {
  args.require(args.in(i) == wanted, "expected ",
               args.op.input_def(static_cast<std::size_t>(i)).name, " of type ", wanted, ", got ",
               args.in(i));
}

void require_scale(const InferArgs& args, int i, const CodebookFormat& format, const Shape& shape) {
  args.require(args.has(i) == (format.scale_block != 0), "scale is ",
               args.has(i) ? "given but the format has none" : "missing");
  if (args.has(i)) require_type(args, i, {DType::f32, format.scale_shape(shape), {}});
}

std::int64_t entry_count(const InferArgs& args, int i, const CodebookFormat& format,
                         const Shape& shape) {
  const Shape& s = args.shape(i);
  args.require(s.rank() >= 2 && !s.is_symbolic(), "expected entries [groups, k], got ", args.in(i));
  const std::int64_t k = s[1].value();
  args.require(k >= 1 && k <= format.max_entries(), format.bits, "-bit indices address at most ",
               format.max_entries(), " entries, got ", args.in(i));
  require_type(args, i, {format.entry_dtype, format.entries_shape(shape, k), {}});
  return k;
}

std::vector<TensorType> infer_codebook(const InferArgs& args) {
  const Shape& shape = args.attrs.shape("shape");
  const CodebookFormat format = codebook_format(args.attrs, args.in(1).dtype);
  require_format(args, format, shape);
  require_type(args, 0, {DType::u8, format.indices_shape(shape), {}});
  const std::int64_t k = entry_count(args, 1, format, shape);
  require_scale(args, 2, format, shape);
  return {{DType::f32, shape, Encoding::codebook(format, k)}};
}

std::vector<Value> grad_codebook(const GradArgs& args) {
  const Node& node = args.node;
  Graph& graph = node.graph();
  const Value indices = args.in(0), entries = args.in(1), scale = args.in(2);
  check(entries.type().dtype == DType::f32, "[codebook] entries train in f32, got ",
        entries.type());
  std::vector<Value> out(3);
  if (args.wants(1)) {
    Attrs attrs = node.attrs();
    attrs.set("entries", entries.shape()[1].value());
    out[1] = graph.add(kCodebookEntriesGrad, {args.grad(), indices, scale}, attrs).output();
  }
  if (scale && args.wants(2)) {
    out[2] = graph.add(kCodebookScaleGrad, {args.grad(), indices, entries}, node.attrs()).output();
  }
  return out;
}

// The packed stream as bytes, from the interpreter's doubles.
std::vector<std::uint8_t> stream(const RefTensor& indices) {
  return std::vector<std::uint8_t>(indices.v.begin(), indices.v.end());
}
std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

void ref_codebook(const RefArgs& args) {
  const Shape& shape = args.node.attrs().shape("shape");
  const CodebookFormat format = codebook_format(args.node.attrs(), args.in(1).type.dtype);
  const CodebookLayout layout(format, shape, args.in(1).type.shape[1].value());
  const auto bits = stream(args.in(0));
  for (std::int64_t i = 0; i < args.out().numel(); ++i) {
    const std::int64_t index = layout.index(bits.data(), i);
    double value = args.in(1).v[at(layout.entry(i, index))];
    if (args.inputs.size() > 2 && args.inputs[2]) value *= args.in(2).v[at(layout.scale(i))];
    args.out().v[static_cast<std::size_t>(i)] = value;
  }
}

std::vector<TensorType> infer_entries_grad(const InferArgs& args) {
  const Shape& shape = args.attrs.shape("shape");
  const CodebookFormat format = codebook_format(args.attrs, DType::f32);
  require_format(args, format, shape);
  require_type(args, 0, {DType::f32, shape, {}});
  require_type(args, 1, {DType::u8, format.indices_shape(shape), {}});
  const std::int64_t k = args.attrs.integer("entries");
  args.require(k >= 1 && k <= format.max_entries(), "entries must be 1 to ", format.max_entries());
  require_scale(args, 2, format, shape);
  return {{DType::f32, format.entries_shape(shape, k), {}}};
}

void ref_entries_grad(const RefArgs& args) {
  const Shape& shape = args.node.attrs().shape("shape");
  const CodebookFormat format = codebook_format(args.node.attrs(), DType::f32);
  const CodebookLayout layout(format, shape, args.node.attrs().integer("entries"));
  const auto bits = stream(args.in(1));
  const bool scaled = args.inputs.size() > 2 && args.inputs[2];
  for (std::int64_t i = 0; i < args.in(0).numel(); ++i) {
    const std::int64_t index = layout.index(bits.data(), i);
    const double scale = scaled ? args.in(2).v[at(layout.scale(i))] : 1.0;
    args.out().v[at(layout.entry(i, index))] += args.in(0).v[static_cast<std::size_t>(i)] * scale;
  }
}

std::vector<TensorType> infer_scale_grad(const InferArgs& args) {
  const Shape& shape = args.attrs.shape("shape");
  const CodebookFormat format = codebook_format(args.attrs, args.in(2).dtype);
  require_format(args, format, shape);
  args.require(format.scale_block != 0, "the format has no scale");
  require_type(args, 0, {DType::f32, shape, {}});
  require_type(args, 1, {DType::u8, format.indices_shape(shape), {}});
  entry_count(args, 2, format, shape);
  return {{DType::f32, format.scale_shape(shape), {}}};
}

void ref_scale_grad(const RefArgs& args) {
  const Shape& shape = args.node.attrs().shape("shape");
  const CodebookFormat format = codebook_format(args.node.attrs(), args.in(2).type.dtype);
  const CodebookLayout layout(format, shape, args.in(2).type.shape[1].value());
  const auto bits = stream(args.in(1));
  for (std::int64_t i = 0; i < args.in(0).numel(); ++i) {
    const std::int64_t index = layout.index(bits.data(), i);
    args.out().v[at(layout.scale(i))] +=
        args.in(0).v[static_cast<std::size_t>(i)] * args.in(2).v[at(layout.entry(i, index))];
  }
}

std::vector<TensorType> infer_decode(const InferArgs& args) {
  return {args.in(0).dense()};
}

std::vector<TensorType> infer_repack(const InferArgs& args) {
  const TensorType& type = args.in(0);
  return {{type.dtype, type.shape,
           Encoding::packed(args.attrs.string("layout"), args.attrs.integer("bytes"),
                            type.encoding.stored())}};
}

void ref_same(const RefArgs& args) {
  args.out().v = args.in(0).v;
}
std::vector<Value> grad_same(const GradArgs& args) {
  return {args.grad()};
}

// Formats worth testing: every width, groups that do and do not divide the rows, block scales,
// vectors.
struct SampleFormat {
  CodebookFormat format;
  Shape shape;
  std::int64_t k;
};
SampleFormat sample_format(int index) {
  constexpr auto kRow = CodebookFormat::kScalePerRow;
  const SampleFormat table[] = {
      {{.bits = 1}, {5, 9}, 2},
      {{.bits = 2, .group_rows = 2}, {5, 7}, 4},
      {{.bits = 3, .scale_block = 4}, {3, 10}, 5},
      {{.bits = 4, .group_rows = 3, .scale_block = kRow}, {7, 2, 3}, 16},
      {{.bits = 5, .vector_len = 2}, {4, 6}, 20},
      {{.bits = 8, .group_rows = 1}, {2, 33}, 40},
      {{.bits = 6, .scale_block = 3, .vector_len = 4}, {6, 8}, 33},
      {{.bits = 7}, {1, 1}, 1},
  };
  return table[static_cast<std::size_t>(index) % std::size(table)];
}
constexpr int kSampleFormats = 8;

std::vector<double> sample_indices(Rng& rng, const SampleFormat& f) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(f.format.index_bytes(f.shape)));
  for (std::int64_t i = 0; i < f.format.index_count(f.shape); ++i) {
    put_index(bytes.data(), f.format.bits, i,
              static_cast<std::uint32_t>(rng.below(static_cast<std::uint64_t>(f.k))));
  }
  return {bytes.begin(), bytes.end()};
}

std::optional<Sample> sample_codebook(Rng& rng, int index) {
  if (index >= kSampleFormats) return std::nullopt;
  const auto f = sample_format(index);
  Sample out;
  out.inputs = {{{DType::u8, f.format.indices_shape(f.shape), {}}, 0, 0, sample_indices(rng, f)},
                {{DType::f32, f.format.entries_shape(f.shape, f.k), {}}},
                {{DType::f32, f.format.scale_block ? f.format.scale_shape(f.shape) : Shape(), {}}}};
  out.inputs[2].absent = f.format.scale_block == 0;
  out.attrs = codebook_attrs(f.format, f.shape);
  return out;
}

std::optional<Sample> sample_entries_grad(Rng& rng, int index) {
  auto out = sample_codebook(rng, index);
  if (!out) return out;
  const auto f = sample_format(index);
  out->attrs.set("entries", f.k);
  out->inputs = {{{DType::f32, f.shape, {}}}, out->inputs[0], out->inputs[2]};
  return out;
}

std::optional<Sample> sample_scale_grad(Rng& rng, int index) {
  static constexpr int kScaled[] = {2, 3, 6};
  if (index >= 3) return std::nullopt;
  auto out = sample_codebook(rng, kScaled[index]);
  const auto f = sample_format(kScaled[index]);
  out->inputs = {{{DType::f32, f.shape, {}}}, out->inputs[0], out->inputs[1]};
  return out;
}

std::optional<Sample> sample_decode(Rng&, int index) {
  if (index >= 4) return std::nullopt;
  return Sample{{{index < 3 ? f32({3, 2 + index}) : f32({2, 17, 3, 5})}}, {}};
}

std::optional<Sample> sample_repack(Rng&, int index) {
  if (index >= 1) return std::nullopt;
  return Sample{{{f32({3, 2})}}, {{"layout", std::string("test")}, {"bytes", std::int64_t{24}}}};
}

std::vector<AttrDef> format_attrs() {
  return {{"shape", AttrKind::shape, {}},
          {"bits", AttrKind::integer, {}},
          {"group_rows", AttrKind::integer, std::int64_t{0}},
          {"scale_block", AttrKind::integer, std::int64_t{0}},
          {"vector_len", AttrKind::integer, std::int64_t{1}}};
}
std::vector<AttrDef> format_attrs_and(AttrDef extra) {
  auto out = format_attrs();
  out.push_back(std::move(extra));
  return out;
}

}  // namespace

Attrs codebook_attrs(const CodebookFormat& format, const Shape& shape) {
  return {{"shape", shape},
          {"bits", std::int64_t{format.bits}},
          {"group_rows", format.group_rows},
          {"scale_block", format.scale_block},
          {"vector_len", std::int64_t{format.vector_len}}};
}

CodebookFormat codebook_format(const Attrs& attrs, DType entry_dtype) {
  CodebookFormat format;
  const auto small = [&](std::string_view name) {
    const std::int64_t n = attrs.integer(name);
    return n < 0 || n > 1000 ? -1 : static_cast<int>(n);  // validate() refuses -1
  };
  format.bits = small("bits");
  format.entry_dtype = entry_dtype;
  format.group_rows = attrs.integer("group_rows");
  format.scale_block = attrs.integer("scale_block");
  format.vector_len = small("vector_len");
  return format;
}

const Node& codebook_node(Value value) {
  const Node* node = value.node;
  while (node->op().has(kStorage) && &node->op() != &kCodebook) node = node->input(0).node;
  TESSERA_ASSERT(&node->op() == &kCodebook);
  return *node;
}

const OpDef kCodebook{.name = "codebook",
                      .doc = "w[i] = entries[group(i)][index(i)] * scale[block(i)], as storage",
                      .inputs = {{.name = "indices", .differentiable = false},
                                 {.name = "entries"},
                                 {.name = "scale", .optional = true}},
                      .attrs = format_attrs(),
                      .traits = kView | kStorage,
                      .infer = infer_codebook,
                      .grad = grad_codebook,
                      .ref = ref_codebook,
                      .sample = sample_codebook};

const OpDef kCodebookEntriesGrad{
    .name = "codebook_entries_grad",
    .doc = "d entries[g][k] = sum of dW[i] * scale[block(i)] over i with that group and index",
    .inputs = {{.name = "dw", .differentiable = false},
               {.name = "indices", .differentiable = false},
               {.name = "scale", .differentiable = false, .optional = true}},
    .attrs = format_attrs_and({"entries", AttrKind::integer, {}}),
    .infer = infer_entries_grad,
    .ref = ref_entries_grad,
    .sample = sample_entries_grad,
    .rows = codebook_entries_grad_rows()};

const OpDef kCodebookScaleGrad{
    .name = "codebook_scale_grad",
    .doc = "d scale[b] = sum of dW[i] * entries[group(i)][index(i)] over i in block b",
    .inputs = {{.name = "dw", .differentiable = false},
               {.name = "indices", .differentiable = false},
               {.name = "entries", .differentiable = false}},
    .attrs = format_attrs(),
    .infer = infer_scale_grad,
    .ref = ref_scale_grad,
    .sample = sample_scale_grad,
    .rows = codebook_scale_grad_rows()};

const OpDef kDecode{.name = "decode",
                    .doc = "the elements of a codebook tensor, dense",
                    .inputs = {{.name = "weight", .encoded = true, .image = true}},
                    .traits = kStorage,
                    .infer = infer_decode,
                    .grad = grad_same,
                    .ref = ref_same,
                    .sample = sample_decode,
                    .rows = decode_rows()};

const OpDef kRepack{.name = "repack",
                    .doc = "the same value in a kernel's own arrangement",
                    .inputs = {{.name = "weight", .encoded = true}},
                    .attrs = {{"layout", AttrKind::string, {}}, {"bytes", AttrKind::integer, {}}},
                    .traits = kStorage,
                    .infer = infer_repack,
                    .grad = grad_same,
                    .ref = ref_same,
                    .sample = sample_repack};

namespace ops {

Value codebook(Value indices, Value entries, Value scale, const CodebookFormat& format,
               const Shape& shape) {
  return indices.graph()
      .add(kCodebook, {indices, entries, scale}, codebook_attrs(format, shape),
           indices.node->name())
      .output();
}

Value decode(Value weight) {
  return weight.graph().add(kDecode, {weight}).output();
}

}  // namespace ops
}  // namespace tessera
