// Linear ops distribute over codebook + sparse, so that the codebook stays as stored and the few
// corrections stay few: x (C + S) = x C + x S.
#include "ops/rules.h"
#include "ops/conv/conv.h"
#include "ops/matmul/matmul.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/sparse/sparse.h"

namespace tessera {

namespace {

constexpr int kX = 0, kBase = 1, kPositions = 2, kValues = 3;

// op(x, base + sparse)
Pat on_corrected(const OpDef& op) {
  return {&op,
          {Pat::any(kX),
           {&kAdd, {Pat::any(kBase), {&kSparse, {Pat::any(kPositions), Pat::any(kValues)}}}}}};
}

// A dense base takes the sum once, before the op; an epilogue is no linear op.
bool distributes(const Match& m) {
  return m[kBase].type().encoding.is_codebook() && m[kBase].shape() == m.root->input(1).shape() &&
         !m.root->attrs().program("epilogue") && m.root->inputs().size() == 2;
}

Value matmul_of_sum(const Match& m) {
  const Attrs& attrs = m.root->attrs();
  if (!distributes(m) || attrs.boolean("transpose_a")) return {};
  const Value sparse =
      make_node(kSparseMatmul, {m[kX], m[kPositions], m[kValues]},
                {{"shape", m[kBase].shape()}, {"transpose_b", attrs.boolean("transpose_b")}});
  return ops::matmul(m[kX], m[kBase], false, attrs.boolean("transpose_b")) + sparse;
}

Value conv2d_of_sum(const Match& m) {
  if (!distributes(m)) return {};
  Attrs attrs;
  for (const char* name : {"stride", "dilation", "padding"})
    attrs.set(name, m.root->attrs().integers(name));
  attrs.set("groups", m.root->attrs().integer("groups"));
  const Value base = make_node(kConv2d, {m[kX], m[kBase]}, attrs);
  attrs.set("shape", m[kBase].shape());
  return base + make_node(kSparseConv2d, {m[kX], m[kPositions], m[kValues]}, attrs);
}

}  // namespace

std::vector<Rule> sparse_rules() {
  return {{"matmul of codebook + sparse", on_corrected(kMatmul), matmul_of_sum},
          {"conv2d of codebook + sparse", on_corrected(kConv2d), conv2d_of_sum}};
}

}  // namespace tessera
