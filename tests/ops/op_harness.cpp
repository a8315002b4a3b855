#include "tests/ops/op_harness.h"

#include <cmath>

#include "core/parallel.h"
#include "ops/codebook/codebook.h"
#include "ops/layout/byte_images.h"
#include "ops/layout/layout.h"
#include "ops/op_list.h"
#include "tests/ops/int8_conv_cases.h"

namespace tessera::test {

namespace {

Tensor store(const RefTensor& value) {
  Tensor out(value.type.dtype, value.type.shape);
  for (std::int64_t i = 0; i < value.numel(); ++i) {
    set_element(out, i, value.v[static_cast<std::size_t>(i)]);
  }
  return out;
}

// What remains of the value after storing it in its dtype.
void round_to_storage(RefTensor& value) {
  const Tensor stored = store(value);
  for (std::int64_t i = 0; i < value.numel(); ++i) {
    value.v[static_cast<std::size_t>(i)] = element(stored, i);
  }
}

RefTensor draw(const SampleInput& sample, Rng& rng) {
  RefTensor out{sample.type.dense(), sample.values};
  if (out.v.empty()) {
    for (std::int64_t i = 0; i < sample.type.shape.numel(); ++i) {
      out.v.push_back(sample.low + (sample.high - sample.low) * rng.uniform());
    }
  }
  round_to_storage(out);
  return out;
}

// Random planes of a codebook value; returns the codebook node's output.
Value draw_codebook(Case& c, const TensorType& type, const std::string& name, Rng& rng,
                    RefTensor& logical, std::vector<Tensor>& planes) {
  const CodebookFormat& format = *type.encoding.codebook_format();
  const std::int64_t k = std::max<std::int64_t>(1, format.max_entries() - 1);
  std::vector<Value> leaves(3);
  std::vector<RefTensor> values;
  const auto all = Encoding::codebook(format, k).planes(type.dtype, type.shape);
  for (std::size_t p = 0; p < all.size(); ++p) {
    RefTensor value{{all[p].dtype, all[p].shape, {}}, {}};
    value.v.resize(static_cast<std::size_t>(all[p].shape.numel()));
    if (p == 0) {
      std::vector<std::uint8_t> stream(value.v.size());
      for (std::int64_t i = 0; i < format.index_count(type.shape); ++i) {
        put_index(stream.data(), format.bits, i,
                  static_cast<std::uint32_t>(rng.below(static_cast<std::uint64_t>(k))));
      }
      value.v.assign(stream.begin(), stream.end());
    } else {
      for (double& v : value.v) {
        v = p == 2                      ? 0.5 + rng.uniform()
            : is_floating(all[p].dtype) ? rng.uniform(-1, 1)
                                        : std::floor(rng.uniform(-4, 4));
      }
    }
    round_to_storage(value);
    leaves[p] = c.graph.input(name + "." + all[p].name, value.type);
    planes.push_back(store(value));
    values.push_back(std::move(value));
  }
  const Value out = ops::codebook(leaves[0], leaves[1], leaves[2], format, type.shape);
  std::vector<const RefTensor*> pointers(3);
  for (std::size_t p = 0; p < values.size(); ++p) pointers[p] = &values[p];
  logical = interpret_node(*out.node, pointers)[0];
  logical.type = type;
  return out;
}

BufferRef refer(std::vector<Tensor>& planes) {
  BufferRef out;
  for (std::size_t p = 0; p < planes.size(); ++p) out.plane[p] = planes[p].data();
  return out;
}

Tensor blocked(const Tensor& dense) {
  const Shape& shape = dense.shape();
  Tensor out(DType::f32, {blocked_numel(shape)});
  block_image(dense.span<float>().data(), shape[0].value(), shape[1].value(),
              shape[2].value() * shape[3].value(), out.span<float>().data());
  return out;
}
// As bytes; the values become those that bytes stand for.
Tensor bytes_of(RefTensor& image) {
  const Shape& shape = image.type.shape;
  Tensor out(DType::u8, {ByteImages(shape).bytes});
  int8::write_bytes(image.v.data(), shape, out.data());
  const std::int64_t each = image.numel() / shape[0].value();
  for (std::int64_t n = 0; n < shape[0].value(); ++n) {
    double* values = image.v.data() + n * each;
    const int8::Bytes bytes = int8::bytes_of(values, each);
    for (std::int64_t i = 0; i < each; ++i)
      values[i] = static_cast<float>(bytes.less_zero[static_cast<std::size_t>(i)]) * bytes.scale;
  }
  return out;
}
// Lanes past the last channel must be zero: a value in one shows up in every element.
Tensor unblocked(const Tensor& blocked, const Shape& shape) {
  Tensor out(DType::f32, shape);
  const std::int64_t n = shape[0].value(), c = shape[1].value();
  const std::int64_t pixels = shape[2].value() * shape[3].value();
  unblock_image(blocked.span<float>().data(), n, c, pixels, out.span<float>().data());
  Tensor again(DType::f32, {blocked_numel(shape)});
  block_image(out.span<float>().data(), n, c, pixels, again.span<float>().data());
  for (std::int64_t i = 0; i < again.numel(); ++i) {
    if (again.span<float>()[static_cast<std::size_t>(i)] ==
        blocked.span<float>()[static_cast<std::size_t>(i)]) {
      continue;
    }
    for (float& v : out.span<float>()) v = 1e30f;
    break;
  }
  return out;
}

}  // namespace

std::vector<const RefTensor*> Case::input_pointers() const {
  std::vector<const RefTensor*> out;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    out.push_back(planes[i].empty() ? nullptr : &inputs[i]);
  }
  return out;
}

Case make_case(const OpDef& op, const Sample& sample, Rng& rng) {
  Case c{Graph(ops::standard_ops()), nullptr, {}, {}};
  std::vector<Value> values;
  for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
    const SampleInput& input = sample.inputs[i];
    const std::string name = "in" + std::to_string(i);
    c.inputs.emplace_back();
    c.planes.emplace_back();
    if (input.absent) {
      values.emplace_back();
    } else if (input.type.encoding.is_codebook()) {
      values.push_back(draw_codebook(c, input.type, name, rng, c.inputs.back(), c.planes.back()));
    } else {
      c.inputs.back() = draw(input, rng);
      c.planes.back() = {store(c.inputs.back())};
      if (is_blocked(input.type)) c.planes.back() = {blocked(c.planes.back()[0])};
      if (is_bytes(input.type)) c.planes.back() = {bytes_of(c.inputs.back())};
      values.push_back(c.graph.input(name, input.type));
    }
  }
  c.node = &c.graph.add(op, values, sample.attrs);
  c.inputs.resize(c.node->inputs().size());
  c.planes.resize(c.node->inputs().size());
  return c;
}

std::vector<Sample> encoded_variants(const OpDef& op, const Sample& sample) {
  const CodebookFormat formats[] = {
      {.bits = 1},
      {.bits = 2, .group_rows = 3},
      {.bits = 4},
      {.bits = 4, .scale_block = CodebookFormat::kScalePerRow},
      {.bits = 5, .scale_block = 7},
      {.bits = 6, .entry_dtype = DType::bf16, .group_rows = 2},
      {.bits = 8, .entry_dtype = DType::s8, .scale_block = CodebookFormat::kScalePerRow},
      {.bits = 3, .vector_len = 2},
  };
  std::vector<Sample> out;
  for (const CodebookFormat& format : formats) {
    Sample variant = sample;
    bool any = false;
    for (std::size_t i = 0; i < variant.inputs.size(); ++i) {
      TensorType& type = variant.inputs[i].type;
      if (!op.input_def(i).encoded || variant.inputs[i].absent || type.dtype != DType::f32 ||
          !type.encoding.is_dense() || type.shape.rank() < 1 || type.shape.numel() == 0 ||
          CodebookFormat::row_length(type.shape) % format.vector_len != 0) {
        continue;
      }
      type.encoding = Encoding::codebook(format);
      any = true;
    }
    if (any) out.push_back(variant);
  }
  // Images in a layout: all of them, and the first one only.
  for (const std::size_t most : {std::size_t{100}, std::size_t{1}}) {
    Sample variant = sample;
    std::size_t count = 0;
    for (std::size_t i = 0; i < variant.inputs.size() && count < most; ++i) {
      TensorType& type = variant.inputs[i].type;
      if (!op.input_def(i).image || variant.inputs[i].absent || type.shape.rank() != 4 ||
          type.dtype != DType::f32) {
        continue;
      }
      type.encoding = blocked_encoding(type.shape);
      ++count;
    }
    if (count > most / 100) out.push_back(variant);
  }
  // The first as bytes, beside codebooks.
  if (!sample.inputs.empty() && op.input_def(0).image) {
    Sample variant = sample;
    TensorType& first = variant.inputs[0].type;
    if (first.shape.rank() == 4 && first.dtype == DType::f32 && !variant.inputs[0].absent) {
      first.encoding = byte_encoding(first.shape);
      for (std::size_t i = 1; i < variant.inputs.size(); ++i) {
        if (op.input_def(i).encoded)
          variant.inputs[i].type.encoding = Encoding::codebook({.bits = 4});
      }
      out.push_back(variant);
    }
  }
  return out;
}

void set_input(Case& c, int i, std::vector<double> values) {
  RefTensor& input = c.inputs[static_cast<std::size_t>(i)];
  input.v = std::move(values);
  round_to_storage(input);
  c.planes[static_cast<std::size_t>(i)] = {store(input)};
}

bool runs_here(const KernelRow& row) {
  return active_features().includes(row.needs);
}

RowRun run_row(const Case& c, const KernelRow& row, const RowOptions& options) {
  RowRun run;
  const std::vector<char> fixed(c.inputs.size(), options.fixed);
  const KernelQuery query{
      *c.node,        active_features(),
      num_threads(),  {reinterpret_cast<const bool*>(fixed.data()), fixed.size()},
      options.rounds, options.rounds};
  run.refusal = row.refuses(query);
  if (!run.refusal.empty()) return run;
  run.plan = row.prepare(query);

  std::vector<std::vector<Tensor>> stored;
  std::vector<BufferRef> inputs, outputs;
  for (std::size_t i = 0; i < c.planes.size(); ++i) {
    auto& planes = stored.emplace_back();
    for (const Tensor& plane : c.planes[i]) planes.push_back(plane.clone());
    if (i < run.plan.packs.size() && run.plan.packs[i]) {
      const OperandPack& pack = *run.plan.packs[i];
      const TensorType& type = c.node->inputs()[i].type();
      std::int64_t bytes = 0;
      for (const Plane& plane : pack.encoding.planes(type.dtype, type.shape))
        bytes += plane.bytes();
      std::vector<Tensor> packed = {Tensor(DType::u8, {bytes})};
      const BufferRef from[] = {refer(planes)}, to[] = {refer(packed)};
      const auto scratch = allocate(pack.scratch_bytes);
      pack.pack({from, to, scratch.get()});
      planes = packed;
    }
    inputs.push_back(refer(planes));
  }
  for (std::size_t o = 0; o < c.node->types().size(); ++o) {
    const TensorType& type = c.node->types()[o];
    if (!run.plan.layout.empty()) {
      run.outputs.push_back(Tensor(type.dtype, {blocked_numel(type.shape)}));
      std::fill_n(run.outputs.back().data(), run.outputs.back().bytes(), std::byte{0x7f});
    } else if (o < options.alias.size() && options.alias[o] >= 0) {
      run.outputs.push_back(stored[static_cast<std::size_t>(options.alias[o])][0]);
    } else {
      run.outputs.push_back(Tensor(type.dtype, type.shape));
      // A kernel must write every element.
      std::fill_n(run.outputs.back().data(), run.outputs.back().bytes(), std::byte{0x7f});
    }
    outputs.emplace_back().plane[0] = run.outputs.back().data();
  }
  const auto scratch = allocate(run.plan.scratch_bytes);
  // What the last step left there may be anything, NaN too.
  std::fill_n(scratch.get(), run.plan.scratch_bytes, std::byte{0xff});
  run.plan.run({inputs, outputs, scratch.get()});
  if (run.plan.layout.empty()) return run;
  for (std::size_t o = 0; o < run.outputs.size(); ++o) {
    run.outputs[o] = unblocked(run.outputs[o], c.node->types()[o].shape);
  }
  return run;
}

}  // namespace tessera::test
