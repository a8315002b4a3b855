// oneDNN, as kernel rows use it: primitives made when a plan is made, run on the caller's buffers.
#pragma once

#include <dnnl.hpp>
#include <initializer_list>
#include <string>
#include <utility>

#include "core/op_def.h"

namespace tessera {

const dnnl::engine& dnnl_engine();

// An image [n, c, h, w]: dense, or blocked (ops/layout/layout.h).
dnnl::memory::desc dnnl_image(const Shape& shape, bool blocked,
                              dnnl::memory::data_type type = dnnl::memory::data_type::f32);

// A primitive with the caller's scratch. Immutable: runs may be concurrent.
class DnnlPrimitive {
 public:
  DnnlPrimitive() = default;
  // `pd` is a primitive descriptor made with dnnl_attr().
  template <class Descriptor>
  explicit DnnlPrimitive(const Descriptor& pd)
      : primitive_(pd.get()), scratch_(pd.scratchpad_desc()) {}

  std::int64_t scratch_bytes() const { return static_cast<std::int64_t>(scratch_.get_size()); }
  struct Argument {
    int id;
    const dnnl::memory::desc& desc;
    const void* data;
  };
  void run(std::initializer_list<Argument> arguments, std::byte* scratch) const;

 private:
  dnnl::primitive primitive_;
  dnnl::memory::desc scratch_;
};

// Attributes that leave the scratch to the caller.
dnnl::primitive_attr dnnl_attr();

// A reorder between two descriptions of the same values.
DnnlPrimitive dnnl_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to);

// How the weights of a primitive want to lie: a repack from `dense`, and the name of the layout.
OperandPack dnnl_pack(const dnnl::memory::desc& dense, const dnnl::memory::desc& wanted);

}  // namespace tessera
