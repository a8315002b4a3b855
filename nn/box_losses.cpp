#include "nn/box_losses.h"

#include <array>

#include "core/error.h"
#include "ops/build.h"

namespace tessera::nn {

namespace {

constexpr double kTiny = 1e-12, kLeast = 1e-7, kMostLog = 6;

Value part(Value x, std::int64_t begin, std::int64_t end) {
  return ops::slice(x, x.shape().rank() - 1, begin, end);
}

void check_rows(const char* what, Value x, std::int64_t columns) {
  check(x && x.shape().rank() >= 1 && x.shape()[-1] == Dim(columns), "[", what,
        "] expected f32[...,", columns, "], got ", x ? x.type().text() : std::string("no value"));
}

struct Corners {
  Value left, top, right, bottom, area;
};
Corners corners(Value box) {
  const Value x = part(box, 0, 1), y = part(box, 1, 2), w = part(box, 2, 3), h = part(box, 3, 4);
  return {x - w * 0.5, y - h * 0.5, x + w * 0.5, y + h * 0.5, w * h};
}

struct Overlap {
  Value iou, all;  // all: the area that either covers
  Corners a, b;
};
Overlap overlap(const char* what, Value a, Value b) {
  check_rows(what, a, 4);
  check_rows(what, b, 4);
  const Corners p = corners(a), q = corners(b);
  const Value w = ops::relu(ops::minimum(p.right, q.right) - ops::maximum(p.left, q.left));
  const Value h = ops::relu(ops::minimum(p.bottom, q.bottom) - ops::maximum(p.top, q.top));
  const Value both = w * h, all = p.area + q.area - both;
  return {both / ops::maximum(all, kTiny), all, p, q};
}

}  // namespace

Value box_iou(Value a, Value b) {
  return overlap("box_iou", a, b).iou;
}

Value box_giou(Value a, Value b) {
  const Overlap o = overlap("box_giou", a, b);
  const Value w = ops::maximum(o.a.right, o.b.right) - ops::minimum(o.a.left, o.b.left);
  const Value h = ops::maximum(o.a.bottom, o.b.bottom) - ops::minimum(o.a.top, o.b.top);
  const Value around = ops::maximum(w * h, kTiny);
  return o.iou - (around - o.all) / around;
}

Value encode_boxes(Value boxes, Value priors) {
  check_rows("encode_boxes", boxes, 4);
  check_rows("encode_boxes", priors, 6);
  const Value moved = (part(boxes, 0, 2) - part(priors, 0, 2)) / part(priors, 4, 6);
  const Value grown = ops::log(ops::maximum(part(boxes, 2, 4), kTiny) / part(priors, 2, 4));
  return ops::concat({moved, ops::clamp(grown, -kMostLog, kMostLog)}, boxes.shape().rank() - 1);
}

Value decode_boxes(Value offsets, Value priors) {
  check_rows("decode_boxes", offsets, 4);
  check_rows("decode_boxes", priors, 6);
  const Value centre = part(priors, 0, 2) + part(offsets, 0, 2) * part(priors, 4, 6);
  const Value grown = ops::clamp(part(offsets, 2, 4), -kMostLog, kMostLog);
  return ops::concat({centre, part(priors, 2, 4) * ops::exp(grown)}, offsets.shape().rank() - 1);
}

Value binary_cross_entropy(Value p, Value y) {
  const Value inside = ops::clamp(p, kLeast, 1 - kLeast);
  return -(y * ops::log(inside) + (1.0 - y) * ops::log(1.0 - inside));
}

Value focal_loss(Value p, Value y, double gamma) {
  check(gamma >= 0, "[focal_loss] gamma must not be negative, got ", gamma);
  const Value each = binary_cross_entropy(p, y);
  if (gamma == 0) return each;
  // The usual exponent needs no power, which runs in plain loops.
  if (gamma == 2) return ops::square(y - p) * each;
  return ops::pow(ops::maximum(ops::abs(y - p), kLeast), gamma) * each;
}

Value smooth_l1(Value a, Value b, double beta) {
  check(beta >= 0, "[smooth_l1] beta must not be negative, got ", beta);
  const Value d = ops::abs(a - b);
  if (beta == 0) return d;
  return ops::where(ops::greater(beta, d), ops::square(d) * (0.5 / beta), d - 0.5 * beta);
}

}  // namespace tessera::nn
