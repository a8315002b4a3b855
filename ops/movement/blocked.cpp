#include "ops/movement/blocked.h"

#include <algorithm>

#include "ops/layout/layout.h"

namespace tessera {

namespace {

std::vector<std::int64_t> blocked_dims(const Shape& image) {
  return {image[0].value(), channel_blocks(image), image[2].value(), image[3].value(),
          kLayoutBlock};
}

StridedCopy directed(StridedCopy copy, bool to_large) {
  if (!to_large) {
    std::swap(copy.loop.strides[0], copy.loop.strides[1]);
    std::swap(copy.from_offset, copy.to_offset);
  }
  return copy;
}

}  // namespace

std::vector<StridedCopy> blocked_copies(const Shape& small, const Shape& large, int axis,
                                        std::int64_t begin, std::int64_t step, bool to_large) {
  if (axis != 1) {
    const auto dims = blocked_dims(small);
    auto in_large = strides_of(blocked_dims(large));
    const auto d = static_cast<std::size_t>(axis);
    const std::int64_t offset = begin * in_large[d];
    in_large[d] *= std::min(step, std::max<std::int64_t>(1, large[axis].value()));
    StridedCopy copy{{dims, {strides_of(dims), in_large}}, 4};
    copy.to_offset = offset;
    return {directed(std::move(copy), to_large)};
  }
  // Runs of channels that lie within a block on both sides.
  std::vector<StridedCopy> copies;
  const std::int64_t pixels = small[2].value() * small[3].value(), channels = small[1].value();
  const std::int64_t n = small[0].value(), block = pixels * kLayoutBlock;
  for (std::int64_t c = 0; c < channels;) {
    const std::int64_t at = begin + c * step;
    std::int64_t run = 1;
    if (step == 1) {
      run = std::min(
          {kLayoutBlock - c % kLayoutBlock, kLayoutBlock - at % kLayoutBlock, channels - c});
    }
    StridedCopy copy{{{n, pixels, run},
                      {{channel_blocks(small) * block, kLayoutBlock, 1},
                       {channel_blocks(large) * block, kLayoutBlock, 1}}},
                     4};
    copy.from_offset = c / kLayoutBlock * block + c % kLayoutBlock;
    copy.to_offset = at / kLayoutBlock * block + at % kLayoutBlock;
    copies.push_back(directed(std::move(copy), to_large));
    c += run;
  }
  return copies;
}

std::string refuses_unblocked(const KernelQuery& query) {
  bool any = false;
  for (const Value v : query.node.inputs()) any = any || is_blocked(v.type());
  return any ? refuses_other_layouts(query) : "no operand is blocked";
}

KernelPlan plan_blocked(const Shape& out, std::vector<StridedCopy> copies, bool clear) {
  KernelPlan plan = plan_copies(std::move(copies), clear ? blocked_numel(out) * 4 : 0);
  plan.layout = kBlocked;
  return plan;
}

bool has_tail(const Shape& image) {
  return image[1].value() % kLayoutBlock != 0;
}

}  // namespace tessera
