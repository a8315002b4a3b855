#include "ops/dnnl/dnnl.h"

#include <cstring>
#include <memory>
#include <unordered_map>

#include "core/threads.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

dnnl::stream& stream() {
  thread_local dnnl::stream out(dnnl_engine());
  return out;
}

// Equal descriptions get equal names: FNV-1a over what oneDNN compares.
std::string layout_name(const dnnl::memory::desc& desc) {
  std::uint64_t hash = 14695981039346656037ull;
  const auto* bytes = reinterpret_cast<const unsigned char*>(&desc.data);
  for (std::size_t i = 0; i < sizeof(desc.data); ++i) hash = (hash ^ bytes[i]) * 1099511628211ull;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "dnnl";
  for (int shift = 60; shift >= 0; shift -= 4) out += kDigits[hash >> shift & 15];
  return out;
}

}  // namespace

const dnnl::engine& dnnl_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc dnnl_image(const Shape& shape, bool blocked, dnnl::memory::data_type type) {
  using Tag = dnnl::memory::format_tag;
  return {shape.values(), type, blocked ? Tag::nChw16c : Tag::nchw};
}

void DnnlPrimitive::run(std::initializer_list<Argument> arguments, std::byte* scratch) const {
  std::unordered_map<int, dnnl::memory> bound;
  for (const Argument& a : arguments) {
    bound.emplace(a.id, dnnl::memory(a.desc, dnnl_engine(), const_cast<void*>(a.data)));
  }
  bound.emplace(DNNL_ARG_SCRATCHPAD, dnnl::memory(scratch_, dnnl_engine(), scratch));
  primitive_.execute(stream(), bound);
}

dnnl::primitive_attr dnnl_attr() {
  limit_openmp_spinning();  // a primitive is about to be made
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

DnnlPrimitive dnnl_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to) {
  return DnnlPrimitive(
      dnnl::reorder::primitive_desc(dnnl_engine(), from, dnnl_engine(), to, dnnl_attr()));
}

OperandPack dnnl_pack(const dnnl::memory::desc& dense, const dnnl::memory::desc& wanted) {
  auto reorder = std::make_shared<const DnnlPrimitive>(dnnl_reorder(dense, wanted));
  OperandPack out{
      Encoding::packed(layout_name(wanted), static_cast<std::int64_t>(wanted.get_size()), {}),
      nullptr, reorder->scratch_bytes()};
  out.pack = [reorder, dense, wanted](const KernelArgs& args) {
    reorder->run(
        {{DNNL_ARG_FROM, dense, args.in(0).plane[0]}, {DNNL_ARG_TO, wanted, args.out().plane[0]}},
        args.scratch);
  };
  return out;
}

}  // namespace tessera
