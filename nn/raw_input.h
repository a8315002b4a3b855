// Models that take values as they are stored: what is done to them before training becomes part of
// the graph, so that a model needs nothing besides its own file.
#pragma once

#include <string_view>

#include "core/model.h"

namespace tessera::nn {

// Inputs of inference graphs: values ready for the network, or raw ones.
inline constexpr std::string_view kInputName = "x", kRawInputName = "raw";

// Of a graph that has either. Throws Error for another.
std::string_view input_name(const Graph& graph);

// The same network on an input "raw", f32 of the shape of "x", with x = raw * scale - shift as
// nodes before it (to rounding what Preprocess gives). scale and shift are f32 with as many values
// as a sample (datasets::Preprocess has them). They take the room they need: values that are all
// equal become a constant of the graph, values that are equal within each channel of samples [c,
// ...] a state of c values, others a state of all ("preprocess.scale", "preprocess.shift"). Throws
// Error when the model has no input "x" or sizes differ.
Model with_raw_input(const Model& model, const Tensor& scale, const Tensor& shift);

}  // namespace tessera::nn
