// Operators that move elements: of values by operators of the graph, of constants here.
#include <algorithm>
#include <limits>

#include "core/error.h"
#include "onnx/import/movement.h"
#include "onnx/import/positions.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

constexpr std::int64_t kMostPieces = 4096;  // that a value is put together of

// ---- shapes alone ----

// The same elements under another shape.
void with_shape(Context& c, const Shape& shape) {
  const Item& in = c.in(0);
  if (c.known(0)) {
    Small out = c.small(0);
    out.shape = shape.values();
    check(out.size() == static_cast<std::size_t>(shape.numel()), "cannot be reshaped to ", shape);
    return c.out(0, std::move(out));
  }
  c.out(0, ops::reshape(c.any(0), shape), in.type);
}

void reshape(Context& c) {
  std::vector<Dim> dims;
  if (c.opset() < 5) {
    const auto given = c.list("shape");
    check(given.has_value(), "attribute 'shape' is missing");
    dims.assign(given->begin(), given->end());
  } else {
    dims = c.dims(1);
  }
  const Shape from = c.in(0).shape();
  const bool zeros = c.integer("allowzero", 0) != 0;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != Dim(0) || zeros) continue;
    check(i < static_cast<std::size_t>(from.rank()), "dimension ", i, " is that of the operand, ",
          "which has ", from.rank());
    dims[i] = from[static_cast<int>(i)];
  }
  // A shape for the batch that the file has, where that stands first, is one for any.
  const std::int64_t own = c.fixed_batch();
  if (own > 0 && from.is_symbolic() && !dims.empty() && dims[0] == Dim(own) &&
      std::ranges::none_of(dims, &Dim::is_symbolic))
    dims[0] = kBatch;
  Dim known = 1;
  std::optional<std::size_t> open;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == Dim(-1)) {
      check(!open, "two dimensions are -1");
      open = i;
    } else {
      known = known * dims[i];
    }
  }
  const Dim all = from.numel_dim();
  if (open) {
    check(known.factor() > 0 && all.factor() % known.factor() == 0 &&
              !(known.is_symbolic() && !all.is_symbolic()),
          "a value ", from, " does not fit ", known.text(), " times anything");
    const std::int64_t rest = all.factor() / known.factor();
    dims[*open] = all.is_symbolic() && !known.is_symbolic() ? Dim::symbolic(rest) : Dim(rest);
  }
  // So is one with a multiple of it; of a batch of one every number is.
  if (own > 1 && all.is_symbolic() && !known.is_symbolic() && !open && !dims.empty() &&
      dims[0].factor() % own == 0 && known.factor() == all.factor() * own)
    dims[0] = Dim::symbolic(dims[0].factor() / own);
  const Shape shape = shape_of(dims);
  check(shape.numel_dim() == all, "a value ", from, " does not fit ", shape,
        all.is_symbolic() && !shape.is_symbolic() ? "; the file has it for one size of the batch"
                                                  : "");
  with_shape(c, shape);
}

void flatten(Context& c) {
  const Shape from = c.in(0).shape();
  const std::int64_t given = c.integer("axis", 1);
  check(given >= -from.rank() && given <= from.rank(), "axis ", given, " of rank ", from.rank());
  const int axis = static_cast<int>(given < 0 ? given + from.rank() : given);
  with_shape(c, Shape{joined(from, 0, axis), joined(from, axis, from.rank())});
}

void squeeze(Context& c) {
  const Shape from = c.in(0).shape();
  const auto given = c.opset() < 13 ? c.list("axes") : c.list("axes", 1);
  const Ints axes = given ? axes_of(*given, from.rank()) : Ints();
  Shape out;
  for (int i = 0; i < from.rank(); ++i) {
    const bool named = std::ranges::find(axes, i) != axes.end();
    check(!named || from[i].is_one(), "axis ", i, " of ", from, " is not 1");
    if (!(named || (!given && from[i].is_one()))) out.push_back(from[i]);
  }
  with_shape(c, out);
}

void unsqueeze(Context& c) {
  const Shape from = c.in(0).shape();
  const auto given = c.opset() < 13 ? c.list("axes") : c.list("axes", 1);
  check(given.has_value(), "no axes are given");
  const int rank = from.rank() + static_cast<int>(given->size());
  check(rank <= kMaxRank, "more than ", kMaxRank, " dimensions");
  const Ints axes = axes_of(*given, rank);
  Shape out;
  for (int i = 0, next = 0; i < rank; ++i)
    out.push_back(std::ranges::find(axes, i) != axes.end() ? Dim(1) : from[next++]);
  with_shape(c, out);
}

// ---- along axes ----

void transpose(Context& c) {
  const Item& in = c.in(0);
  const int rank = in.shape().rank();
  Ints perm;
  for (int i = rank; i-- > 0;) perm.push_back(i);
  if (const auto given = c.list("perm")) perm = *given;
  check(std::ssize(perm) == rank && std::ssize(axes_of(perm, rank)) == rank,
        "expected an order of ", rank, " axes");
  for (std::int64_t& axis : perm) axis = axis_of(axis, rank);
  if (!c.all_constant()) return c.out(0, ops::transpose(c.any(0), perm), in.type);
  const Small from = c.small(0);
  Ints shape;
  for (const std::int64_t axis : perm) shape.push_back(from.shape[static_cast<std::size_t>(axis)]);
  const Ints source = positions(shape, [&](std::span<const std::int64_t> index) {
    Ints own(index.size());
    for (std::size_t i = 0; i < index.size(); ++i)
      own[static_cast<std::size_t>(perm[i])] = index[i];
    return place_of(own, from.shape);
  });
  c.out(0, picked(from, shape, source));
}

// Elements begin, begin + step, ... of an axis, `count` of them; step may be negative.
struct Run {
  std::int64_t begin = 0, count = 0, step = 1;
};

Small taken(const Small& from, int axis, const Run& run) {
  Ints shape = from.shape;
  shape[static_cast<std::size_t>(axis)] = run.count;
  const Ints source = positions(shape, [&](std::span<const std::int64_t> index) {
    Ints own(index.begin(), index.end());
    own[static_cast<std::size_t>(axis)] =
        run.begin + own[static_cast<std::size_t>(axis)] * run.step;
    return place_of(own, from.shape);
  });
  return picked(from, shape, source);
}

Value taken(Value from, int axis, const Run& run) {
  if (run.step > 0 || run.count <= 1) {
    const std::int64_t step = std::max<std::int64_t>(run.step, 1);
    const std::int64_t end = run.count == 0 ? run.begin : run.begin + (run.count - 1) * step + 1;
    return ops::slice(from, axis, run.begin, end, step);
  }
  check(run.count <= kMostPieces, "an axis of ", run.count, " is turned around");
  std::vector<Value> pieces;
  for (std::int64_t i = 0; i < run.count; ++i) {
    const std::int64_t at = run.begin + i * run.step;
    pieces.push_back(ops::slice(from, axis, at, at + 1));
  }
  return ops::concat(pieces, axis);
}

Run run_of(std::int64_t size, std::int64_t start, std::int64_t end, std::int64_t step) {
  check(step != 0, "a step of 0");
  const auto at = [&](std::int64_t v, std::int64_t low, std::int64_t high) {
    return std::clamp(v < 0 ? v + size : v, low, high);
  };
  Run out{.step = std::clamp<std::int64_t>(step, -kMaxDim, kMaxDim)};
  if (step > 0) {
    out.begin = at(start, 0, size);
    end = at(end, 0, size);
    out.count = std::max<std::int64_t>(0, (end - out.begin + out.step - 1) / out.step);
  } else {
    out.begin = at(start, -1, size - 1);
    end = end < -size ? -1 : at(end, -1, size - 1);
    out.count = std::max<std::int64_t>(0, (out.begin - end - out.step - 1) / -out.step);
    out.begin = std::max<std::int64_t>(out.begin, 0);
  }
  return out;
}

void slice(Context& c) {
  const Shape shape = c.in(0).shape();
  Ints starts, ends, axes, steps;
  if (c.opset() < 10) {
    starts = c.list("starts").value_or(Ints());
    ends = c.list("ends").value_or(Ints());
  } else {
    starts = c.ints(1);
    ends = c.ints(2);
  }
  for (std::size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  if (const auto given = c.opset() < 10 ? c.list("axes") : c.list("axes", 3)) axes = *given;
  steps = c.opset() >= 10 && c.has(4) ? c.ints(4) : Ints(starts.size(), 1);
  check(
      ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
      "starts, ends, axes and steps differ in number");
  const bool constant = c.all_constant();
  Small small;
  Value value;
  if (constant) {
    small = c.small(0);
  } else {
    value = c.any(0);
  }
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const int axis = axis_of(axes[i], shape.rank());
    if (shape[axis].is_symbolic()) {
      check(starts[i] == 0 && steps[i] == 1 && ends[i] >= kMaxDim, "a part of the batch");
      continue;
    }
    const std::int64_t size =
        constant ? small.shape[static_cast<std::size_t>(axis)] : value.shape()[axis].value();
    const Run run = run_of(size, starts[i], ends[i], steps[i]);
    if (constant) {
      small = taken(small, axis, run);
    } else if (!(run.begin == 0 && run.step == 1 && run.count == size)) {
      value = taken(value, axis, run);
    }
  }
  if (constant) return c.out(0, std::move(small));
  c.out(0, value, c.in(0).type);
}

void split(Context& c) {
  const Shape shape = c.in(0).shape();
  const int axis = axis_of(c.integer("axis", 0), shape.rank());
  check(!shape[axis].is_symbolic(), "the batch is split");
  const std::int64_t size = shape[axis].value(), parts = std::ssize(c.node.outputs);
  auto sizes = c.opset() < 13 ? c.list("split") : c.list("split", 1);
  if (!sizes) {
    const std::int64_t n = c.integer("num_outputs", parts);
    check(n == parts && n >= 1, "expected ", n, " results, got ", parts);
    const std::int64_t each = (size + n - 1) / n;
    sizes.emplace();
    for (std::int64_t i = 0, left = size; i < n; ++i, left -= each)
      sizes->push_back(std::clamp<std::int64_t>(left, 0, each));
  }
  check(std::ssize(*sizes) == parts, "expected ", sizes->size(), " results, got ", parts);
  Run run;
  for (std::size_t i = 0; i < sizes->size(); ++i, run.begin += run.count) {
    run.count = (*sizes)[i];
    check(run.count >= 0 && run.count <= size - run.begin, "parts of ", run.count,
          " do not fit an axis of ", size);
    if (c.all_constant()) {
      c.out(i, taken(c.small(0), axis, run));
    } else {
      c.out(i, taken(c.any(0), axis, run), c.in(0).type);
    }
  }
  check(run.begin == size, "the parts are ", run.begin, " of ", size);
}

void concat(Context& c) {
  check(c.inputs() >= 1, "expected an operand");
  const int axis =
      axis_of(c.opset() < 4 ? c.integer("axis", 1) : c.integer("axis", 0), c.in(0).shape().rank());
  if (!c.all_constant()) {
    std::vector<Value> parts;
    for (std::size_t i = 0; i < c.inputs(); ++i) parts.push_back(c.any(i));
    return c.out(0, ops::concat(parts, axis), c.in(0).type);
  }
  const auto at = static_cast<std::size_t>(axis);
  std::vector<Small> parts;
  Small all{.type = c.in(0).type};
  Ints shape, begins;
  for (std::size_t i = 0; i < c.inputs(); ++i) {
    Small part = c.small(i);
    if (i == 0) shape = part.shape, shape[at] = 0;
    Ints other = part.shape;
    check(other.size() == shape.size(), "operands of rank ", shape.size(), " and ", other.size());
    shape[at] += std::exchange(other[at], shape[at]);
    check(is_float(part.type) == is_float(all.type), "operands of different types");
    parts.push_back(std::move(part));
  }
  std::vector<std::pair<std::size_t, std::int64_t>> of;  // index of axis -> part, index there
  for (std::size_t p = 0; p < parts.size(); ++p) {
    for (std::int64_t i = 0; i < parts[p].shape[at]; ++i) of.emplace_back(p, i);
    Ints other = parts[p].shape, same = shape;
    other[at] = same[at] = 0;
    check(other == same, "operands differ in other axes than ", axis);
  }
  positions(shape, [&](std::span<const std::int64_t> index) {
    const auto [part, own] = of[static_cast<std::size_t>(index[at])];
    Ints there(index.begin(), index.end());
    there[at] = own;
    const auto place = static_cast<std::size_t>(place_of(there, parts[part].shape));
    is_float(all.type) ? all.reals.push_back(parts[part].reals[place])
                       : all.ints.push_back(parts[part].ints[place]);
    return std::int64_t{0};
  });
  all.shape = shape;
  c.out(0, std::move(all));
}

void expand(Context& c) {
  const Shape to = broadcast(c.in(0).shape(), shape_of(c.dims(1)), "Expand");
  if (!c.all_constant() || to.is_symbolic())
    return c.out(0, ops::broadcast_to(c.any(0), to), c.in(0).type);
  const Small from = c.small(0);
  const std::size_t ahead = static_cast<std::size_t>(to.rank()) - from.shape.size();
  const Ints source = positions(to.values(), [&](std::span<const std::int64_t> index) {
    Ints own;
    for (std::size_t i = 0; i < from.shape.size(); ++i)
      own.push_back(from.shape[i] == 1 ? 0 : index[i + ahead]);
    return place_of(own, from.shape);
  });
  c.out(0, picked(from, to.values(), source));
}

void tile(Context& c) {
  const Ints repeats = c.ints(1);
  const Shape shape = c.in(0).shape();
  check(std::ssize(repeats) == shape.rank(), "expected ", shape.rank(), " repeats");
  if (c.all_constant()) {
    const Small from = c.small(0);
    Ints to = from.shape;
    for (std::size_t i = 0; i < to.size(); ++i) {
      check(repeats[i] >= 0 && repeats[i] <= kMaxDim, "repeats of ", repeats[i]);
      to[i] = checked_multiply(to[i], repeats[i]);
    }
    const Ints source = positions(to, [&](std::span<const std::int64_t> index) {
      Ints own(index.begin(), index.end());
      for (std::size_t i = 0; i < own.size(); ++i) own[i] %= from.shape[i];
      return place_of(own, from.shape);
    });
    return c.out(0, picked(from, to, source));
  }
  Value x = c.any(0);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const std::int64_t times = repeats[static_cast<std::size_t>(axis)];
    check(times >= 1 && times <= kMaxDim, "repeats of ", times);
    if (times == 1) continue;
    Shape apart, wide, after;
    for (int i = 0; i < shape.rank(); ++i) {
      if (i == axis) apart.push_back(1), wide.push_back(times);
      apart.push_back(x.shape()[i]), wide.push_back(x.shape()[i]);
      after.push_back(i == axis ? x.shape()[i] * Dim(times) : x.shape()[i]);
    }
    check_size(wide);
    x = ops::reshape(ops::broadcast_to(ops::reshape(x, apart), wide), after);
  }
  c.out(0, x, c.in(0).type);
}

void depth_to_space(Context& c) {
  const Value x = c.any(0);
  const Shape& s = x.shape();
  const std::int64_t b = c.integer("blocksize", 0);
  check(s.rank() == 4 && b >= 1 && b <= kMaxRank * 16 && !s[1].is_symbolic() &&
            s[1].value() % (b * b) == 0,
        "a value ", s, " in blocks of ", b);
  const std::int64_t depth = s[1].value() / (b * b);
  const bool crd = c.text("mode", "DCR") == "CRD";
  const Shape apart =
      crd ? Shape{s[0], depth, b, b, s[2], s[3]} : Shape{s[0], b, b, depth, s[2], s[3]};
  const Value turned =
      ops::transpose(ops::reshape(x, apart), crd ? Ints{0, 1, 4, 2, 5, 3} : Ints{0, 3, 4, 1, 5, 2});
  c.out(0, ops::reshape(turned, {s[0], depth, s[2] * Dim(b), s[3] * Dim(b)}), c.in(0).type);
}

void space_to_depth(Context& c) {
  const Value x = c.any(0);
  const Shape& s = x.shape();
  const std::int64_t b = c.integer("blocksize", 0);
  check(s.rank() == 4 && b >= 1 && b <= kMaxDim && !s[1].is_symbolic() && !s[2].is_symbolic() &&
            !s[3].is_symbolic() && s[2].value() % b == 0 && s[3].value() % b == 0,
        "a value ", s, " in blocks of ", b);
  const std::int64_t h = s[2].value() / b, w = s[3].value() / b;
  const Value apart = ops::reshape(x, {s[0], s[1], h, b, w, b});
  const Value turned = ops::transpose(apart, {0, 3, 5, 1, 2, 4});
  c.out(0, ops::reshape(turned, {s[0], s[1] * Dim(b * b), h, w}), c.in(0).type);
}

constexpr OpRow kRows[] = {
    {"Reshape", reshape},
    {"Flatten", flatten},
    {"Squeeze", squeeze},
    {"Unsqueeze", unsqueeze},
    {"Transpose", transpose},
    {"Slice", slice},
    {"Split", split},
    {"Concat", concat},
    {"Expand", expand},
    {"Tile", tile},
    {"Gather", gather},
    {"OneHot", one_hot},
    {"Pad", pad},
    {"DepthToSpace", depth_to_space},
    {"SpaceToDepth", space_to_depth},
};

}  // namespace

std::span<const OpRow> movement_rows() {
  return kRows;
}

}  // namespace tessera::onnx
