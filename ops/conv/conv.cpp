// conv2d: y[n,o,i,j] = sum_{c,p,q} x[n, g(o) C + c, i sh + p dh - top, j sw + q dw - left]
// w[o,c,p,q], C = c / groups, g(o) = o / (out / groups), zero outside the image
// (cross-correlation). x f32[n,c,h,w], weight f32[out, c/groups, kh, kw], dense or codebook; the
// batch may be symbolic. conv2d_grad_input and conv2d_grad_weight are its two transposes, linear in
// each operand, and so each other's gradients. With an epilogue, the result is input a0 of a
// Program and its results are the outputs. Accumulator: f32; Winograd rows transform tiles of the
// input and weights first (Lavin & Gray 2016).
#include "ops/conv/conv.h"

#include "core/program.h"
#include "ops/build.h"
#include "ops/conv/int8_rows.h"
#include "ops/conv/rows.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layout/layout.h"
#include "ops/op_common.h"

namespace tessera {

namespace {

std::int64_t at(const Attrs& attrs, std::string_view name, std::size_t i) {
  return attrs.integers(name)[i];
}

void require_attrs(const InferArgs& args) {
  const Attrs& a = args.attrs;
  constexpr std::int64_t kMost = 1 << 20;
  const auto in = [&](std::string_view name, std::size_t count, std::int64_t low) {
    const Ints& values = a.integers(name);
    args.require(values.size() == count, name, " needs ", count, " numbers, got ", values.size());
    for (const auto v : values)
      args.require(v >= low && v <= kMost, name, " must be at least ", low, ", got ", v);
  };
  in("stride", 2, 1);
  in("dilation", 2, 1);
  in("padding", 4, 0);
  args.require(a.integer("groups") >= 1 && a.integer("groups") <= kMost,
               "groups must be at least 1, got ", a.integer("groups"));
}

void require_static_image(const InferArgs& args, const Shape& shape, std::string_view what) {
  args.require(shape.rank() == 4, "expected ", what, " of rank 4, got ", shape);
  args.require(shape[0].factor() >= 1, what, " ", shape, " is empty");
  for (int i = 1; i < 4; ++i) {
    args.require(!shape[i].is_symbolic() && shape[i].value() >= 1, what, " ", shape,
                 " must have fixed channels, height and width of at least 1");
  }
}

// The shape of y, with every check on x and weight.
Shape output_shape(const InferArgs& args, const Shape& x, const Shape& weight) {
  require_attrs(args);
  require_static_image(args, x, "x");
  args.require(weight.rank() == 4 && !weight.is_symbolic(), "expected weight of rank 4, got ",
               weight);
  for (int i = 0; i < 4; ++i)
    args.require(weight[i].value() >= 1, "weight ", weight, " has an empty dimension");
  const std::int64_t groups = args.attrs.integer("groups");
  args.require(x[1].value() % groups == 0 && weight[0].value() % groups == 0, groups,
               " groups do not divide the ", x[1].value(), " channels of x and the ",
               weight[0].value(), " rows of the weight");
  args.require(weight[1].value() == x[1].value() / groups, "the weight ", weight.text(), " reads ",
               weight[1].value(), " channels, x ", x.text(), " has ", x[1].value() / groups,
               groups > 1 ? " in each group" : "");
  Shape y = {x[0], weight[0], 1, 1};
  for (std::size_t d = 0; d < 2; ++d) {
    const int axis = static_cast<int>(d) + 2;
    const std::int64_t size = window_count(
        x[axis].value(), at(args.attrs, "padding", d) + at(args.attrs, "padding", d + 2),
        weight[axis].value(), at(args.attrs, "stride", d), at(args.attrs, "dilation", d));
    args.require(size >= 1, "the kernel ", weight, " is larger than the padded image ", x);
    y[axis] = size;
  }
  return y;
}

std::vector<TensorType> infer_conv(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  args.require_dtype(1, DType::f32);
  const Shape y = output_shape(args, args.shape(0), args.shape(1));
  const auto program = carried_program(args, "epilogue", 2, y);
  return std::vector<TensorType>(program ? program->outputs.size() : 1, in_layout(args, y));
}

std::vector<TensorType> infer_grad_input(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  args.require_dtype(1, DType::f32);
  const Shape& x = args.attrs.shape("shape");
  const Shape y = output_shape(args, x, args.shape(1));
  args.require(args.shape(0) == y, "the gradient ", args.in(0), " does not fit y ", y);
  return {in_layout(args, x)};
}

std::vector<TensorType> infer_grad_weight(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  args.require_dtype(1, DType::f32);
  const Shape& weight = args.attrs.shape("shape");
  const Shape y = output_shape(args, args.shape(1), weight);
  args.require(args.shape(0) == y, "the gradient ", args.in(0), " does not fit y ", y);
  return {{DType::f32, weight, {}}};
}

Attrs numbers(const Attrs& attrs) {
  return {{"stride", attrs.integers("stride")},
          {"dilation", attrs.integers("dilation")},
          {"padding", attrs.integers("padding")},
          {"groups", attrs.integer("groups")}};
}

Value conv(Value x, Value weight, const Attrs& attrs) {
  return make_node(kConv2d, {x, weight}, numbers(attrs));
}
Value grad_input(Value dy, Value weight, const Shape& x, const Attrs& attrs) {
  Attrs all = numbers(attrs);
  all.set("shape", x);
  return make_node(kConv2dGradInput, {dy, weight}, std::move(all));
}
Value grad_weight(Value dy, Value x, const Shape& weight, const Attrs& attrs) {
  Attrs all = numbers(attrs);
  all.set("shape", weight);
  return make_node(kConv2dGradWeight, {dy, x}, std::move(all));
}

std::vector<Value> grad_conv(const GradArgs& args) {
  const Attrs& attrs = args.node.attrs();
  std::vector<Value> out(2);
  const Value x = args.in(0), w = args.in(1), dy = args.grad();
  if (args.wants(0)) out[0] = grad_input(dy, w, x.shape(), attrs);
  if (args.wants(1)) out[1] = grad_weight(dy, x, w.shape(), attrs);
  return out;
}
std::vector<Value> grad_grad_input(const GradArgs& args) {
  const Attrs& attrs = args.node.attrs();
  std::vector<Value> out(2);
  if (args.wants(0)) out[0] = conv(args.grad(), args.in(1), attrs);
  if (args.wants(1)) out[1] = grad_weight(args.in(0), args.grad(), args.in(1).shape(), attrs);
  return out;
}
std::vector<Value> grad_grad_weight(const GradArgs& args) {
  const Attrs& attrs = args.node.attrs();
  std::vector<Value> out(2);
  if (args.wants(0)) out[0] = conv(args.in(1), args.grad(), attrs);
  if (args.wants(1)) out[1] = grad_input(args.in(0), args.grad(), args.in(1).shape(), attrs);
  return out;
}

// Calls fn(index of y, index of x, index of weight) for every product of the convolution.
template <class Fn>
void for_each_product(const ConvGeometry& g, Fn&& fn) {
  for (std::int64_t n = 0; n < g.n; ++n) {
    for (std::int64_t o = 0; o < g.out; ++o) {
      const std::int64_t first = o / g.group_outputs() * g.group_channels();
      for (std::int64_t i = 0; i < g.oh; ++i) {
        for (std::int64_t j = 0; j < g.ow; ++j) {
          const std::int64_t y = ((n * g.out + o) * g.oh + i) * g.ow + j;
          for (std::int64_t c = 0; c < g.group_channels(); ++c) {
            for (std::int64_t p = 0; p < g.kh; ++p) {
              const std::int64_t row = i * g.stride_h + p * g.dilation_h - g.top;
              if (row < 0 || row >= g.h) continue;
              for (std::int64_t q = 0; q < g.kw; ++q) {
                const std::int64_t col = j * g.stride_w + q * g.dilation_w - g.left;
                if (col < 0 || col >= g.w) continue;
                fn(static_cast<std::size_t>(y),
                   static_cast<std::size_t>(((n * g.c + first + c) * g.h + row) * g.w + col),
                   static_cast<std::size_t>(((o * g.group_channels() + c) * g.kh + p) * g.kw + q));
              }
            }
          }
        }
      }
    }
  }
}

void ref_conv(const RefArgs& args) {
  const ConvGeometry g = conv_geometry(args.node);
  const auto& x = args.in(0).v;
  const auto& w = args.in(1).v;
  std::vector<double> y(static_cast<std::size_t>(g.n * g.out * g.oh * g.ow));
  for_each_product(g, [&](auto iy, auto ix, auto iw) { y[iy] += x[ix] * w[iw]; });
  finish_carried(args, "epilogue", 2,
                 {{DType::f32, Shape{g.n, g.out, g.oh, g.ow}, {}}, std::move(y)});
}

void ref_grad_input(const RefArgs& args) {
  const auto& dy = args.in(0).v;
  const auto& w = args.in(1).v;
  auto& dx = args.out().v;
  for_each_product(conv_geometry(args.node),
                   [&](auto iy, auto ix, auto iw) { dx[ix] += dy[iy] * w[iw]; });
}

void ref_grad_weight(const RefArgs& args) {
  const auto& dy = args.in(0).v;
  const auto& x = args.in(1).v;
  auto& dw = args.out().v;
  for_each_product(conv_geometry(args.node),
                   [&](auto iy, auto ix, auto iw) { dw[iw] += dy[iy] * x[ix]; });
}

double work(const Node& node) {
  return conv_geometry(node).flops();
}

// Geometries worth testing: one pixel, borders, strides that leave a rest, dilation, groups,
// depthwise, pointwise, and channel counts around the vector and block widths.
struct SampleConv {
  Shape x, w;
  Ints stride = {1, 1}, padding = {0, 0, 0, 0}, dilation = {1, 1};
  std::int64_t groups = 1;
};
const std::vector<SampleConv>& sample_convs() {
  static const std::vector<SampleConv> cases = {
      {{1, 1, 1, 1}, {1, 1, 1, 1}},
      {{2, 3, 7, 6}, {5, 3, 3, 3}, {1, 1}, {1, 1, 1, 1}},
      {{2, 1, 12, 12}, {20, 1, 5, 5}},
      {{1, 4, 9, 8}, {6, 2, 3, 2}, {2, 3}, {1, 0, 2, 1}, {1, 2}, 2},
      {{2, 16, 6, 6}, {16, 1, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 16},
      {{1, 17, 5, 5}, {33, 17, 1, 1}, {2, 2}},
      {{3, 32, 8, 8}, {32, 32, 3, 3}, {1, 1}, {1, 1, 1, 1}},
      {{1, 3, 11, 11}, {16, 3, 7, 7}, {2, 2}, {3, 3, 3, 3}},
      {{2, 24, 6, 6}, {24, 1, 3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 24},
      {{1, 20, 12, 12}, {50, 20, 5, 5}},
      {{17, 70, 2, 2}, {65, 70, 3, 3}, {1, 1}, {1, 1, 1, 1}},
      {{29, 2, 6, 5}, {5, 2, 3, 3}, {1, 1}, {1, 2, 0, 1}, {2, 1}},
      {{1, 40, 12, 9}, {116, 40, 3, 3}, {1, 1}, {1, 1, 1, 1}},
      {{1, 48, 4, 4}, {80, 48, 3, 3}, {1, 1}, {1, 1, 1, 1}},
  };
  return cases;
}
std::optional<SampleConv> sample_at(int index) {
  const auto& cases = sample_convs();
  if (index >= static_cast<int>(cases.size())) return std::nullopt;
  return cases[static_cast<std::size_t>(index)];
}
Attrs sample_attrs(const SampleConv& s) {
  return {
      {"stride", s.stride}, {"padding", s.padding}, {"dilation", s.dilation}, {"groups", s.groups}};
}
Shape sample_y(const SampleConv& s) {
  const ConvGeometry g = conv_geometry(sample_attrs(s), s.x, s.w);
  return {g.n, g.out, g.oh, g.ow};
}

std::optional<Sample> sample_conv(Rng&, int index) {
  constexpr int kPlain = 14, kFused[] = {1, 3, 4, 5, 7, 11, 12, 13};
  const bool fused = index >= kPlain;
  if (index >= kPlain + static_cast<int>(std::size(kFused))) return std::nullopt;
  const auto s = sample_at(fused ? kFused[index - kPlain] : index);
  if (!s) return std::nullopt;
  Sample out{{{{DType::f32, s->x, {}}}, {{DType::f32, s->w, {}}}}, sample_attrs(*s)};
  if (fused) {
    // Scale, shift and activation of a channel, and a residual; not differentiable.
    out.attrs.set("epilogue",
                  sample_program("t0=mul(a0,a1);t1=add(t0,a2);t2=add(t1,a3);t3=relu(t2)->t3,t1"));
    const Shape channel{s->w[0], 1, 1};
    out.inputs.push_back({{DType::f32, channel, {}}});
    out.inputs.push_back({{DType::f32, channel, {}}});
    out.inputs.push_back({{DType::f32, sample_y(*s), {}}});
  }
  return out;
}
std::optional<Sample> sample_grad_input(Rng&, int index) {
  const auto s = sample_at(index);
  if (!s) return std::nullopt;
  Sample out{{{{DType::f32, sample_y(*s), {}}}, {{DType::f32, s->w, {}}}}, sample_attrs(*s)};
  out.attrs.set("shape", s->x);
  return out;
}
std::optional<Sample> sample_grad_weight(Rng&, int index) {
  const auto s = sample_at(index);
  if (!s) return std::nullopt;
  Sample out{{{{DType::f32, sample_y(*s), {}}}, {{DType::f32, s->x, {}}}}, sample_attrs(*s)};
  out.attrs.set("shape", s->w);
  return out;
}

std::vector<AttrDef> conv_attrs(std::vector<AttrDef> extra) {
  std::vector<AttrDef> out = {{"stride", AttrKind::integers, Ints{1, 1}},
                              {"dilation", AttrKind::integers, Ints{1, 1}},
                              {"padding", AttrKind::integers, Ints{0, 0, 0, 0}},
                              {"groups", AttrKind::integer, std::int64_t{1}}};
  out.insert(out.end(), extra.begin(), extra.end());
  return out;
}

}  // namespace

std::int64_t window_count(std::int64_t size, std::int64_t padding, std::int64_t kernel,
                          std::int64_t stride, std::int64_t dilation) {
  const std::int64_t room = size + padding - ((kernel - 1) * dilation + 1);
  return room < 0 ? 0 : room / stride + 1;
}

ConvGeometry ConvGeometry::flattened() const {
  ConvGeometry g = *this;
  if (kh != 1 || kw != 1 || stride_h != 1 || stride_w != 1 || top + left + bottom + right != 0)
    return g;
  g.w *= g.h;
  g.ow *= g.oh;
  g.h = g.oh = 1;
  return g;
}

double ConvGeometry::flops() const {
  return 2.0 * static_cast<double>(n) * static_cast<double>(out * oh) * static_cast<double>(ow) *
         static_cast<double>(patch());
}

ConvGeometry conv_geometry(const Attrs& attrs, const Shape& x, const Shape& weight) {
  ConvGeometry g{};
  g.n = x[0].value();
  g.c = x[1].value();
  g.h = x[2].value();
  g.w = x[3].value();
  g.out = weight[0].value();
  g.kh = weight[2].value();
  g.kw = weight[3].value();
  g.stride_h = at(attrs, "stride", 0);
  g.stride_w = at(attrs, "stride", 1);
  g.dilation_h = at(attrs, "dilation", 0);
  g.dilation_w = at(attrs, "dilation", 1);
  g.top = at(attrs, "padding", 0);
  g.left = at(attrs, "padding", 1);
  g.bottom = at(attrs, "padding", 2);
  g.right = at(attrs, "padding", 3);
  g.groups = attrs.integer("groups");
  g.oh = window_count(g.h, g.top + g.bottom, g.kh, g.stride_h, g.dilation_h);
  g.ow = window_count(g.w, g.left + g.right, g.kw, g.stride_w, g.dilation_w);
  return g;
}

ConvGeometry conv_geometry(const Node& node) {
  const Attrs& attrs = node.attrs();
  if (&node.op() == &kConv2d) {
    return conv_geometry(attrs, node.input(0).shape(), node.input(1).shape());
  }
  if (&node.op() == &kConv2dGradInput) {
    return conv_geometry(attrs, attrs.shape("shape"), node.input(1).shape());
  }
  return conv_geometry(attrs, node.input(1).shape(), attrs.shape("shape"));
}

const OpDef kConv2d{
    .name = "conv2d",
    .doc =
        "y[n,o,i,j] = sum_cpq x[n,c,i*sh+p*dh-t,j*sw+q*dw-l] w[o,c,p,q], then an optional "
        "elementwise epilogue",
    .inputs = {{.name = "x", .image = true},
               {.name = "weight", .encoded = true},
               {.name = "epilogue operand", .optional = true, .image = true, .variadic = true}},
    .attrs = conv_attrs({{"epilogue", AttrKind::program, ProgramRef()}, layout_attr()}),
    .traits = kEpilogue,
    .infer = infer_conv,
    .grad = grad_conv,
    .ref = ref_conv,
    .work = work,
    .sample = sample_conv,
    .rows = conv2d_rows(),
    .wants = conv2d_wants};

const OpDef kConv2dGradInput{
    .name = "conv2d_grad_input",
    .doc = "gradient of conv2d with respect to x, of the given shape",
    .inputs = {{.name = "dy", .image = true}, {.name = "weight", .encoded = true}},
    .attrs = conv_attrs({{"shape", AttrKind::shape, {}}, layout_attr()}),
    .infer = infer_grad_input,
    .grad = grad_grad_input,
    .ref = ref_grad_input,
    .work = work,
    .sample = sample_grad_input,
    .rows = conv2d_grad_input_rows()};

const OpDef kConv2dGradWeight{
    .name = "conv2d_grad_weight",
    .doc = "gradient of conv2d with respect to the weight, of the given shape",
    .inputs = {{.name = "dy", .image = true}, {.name = "x", .image = true}},
    .attrs = conv_attrs({{"shape", AttrKind::shape, {}}}),
    .infer = infer_grad_weight,
    .grad = grad_grad_weight,
    .ref = ref_grad_weight,
    .work = work,
    .sample = sample_grad_weight,
    .rows = conv2d_grad_weight_rows()};

namespace ops {

Value conv2d(Value x, Value weight, const Conv2dOptions& options) {
  const auto ints = [](const auto& values) { return Ints(values.begin(), values.end()); };
  return conv(x, weight,
              {{"stride", ints(options.stride)},
               {"dilation", ints(options.dilation)},
               {"padding", ints(options.padding)},
               {"groups", options.groups}});
}

}  // namespace ops
}  // namespace tessera
