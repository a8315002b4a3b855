// The program of a convolution whose result lies in logical order: a matrix for each image, with
// output channels as rows and pixels as columns.
#pragma once

#include "ops/conv/conv.h"
#include "ops/elementwise/carried_program.h"

namespace tessera {

inline CarriedProgram::Form plane_form(const ConvGeometry& g) {
  return {Shape{g.n, g.out, g.oh, g.ow}, 1};
}
inline std::unique_ptr<const CarriedProgram> plane_epilogue(const Node& node, const ConvGeometry& g,
                                                            CpuFeatures features) {
  return CarriedProgram::of(node, "epilogue", 2, plane_form(g), features);
}
// "" or why an operand is neither an image, a channel vector nor a scalar.
inline std::string refuses_plane_epilogue(const Node& node) {
  return CarriedProgram::refuses(node, 2, plane_form(conv_geometry(node)));
}

}  // namespace tessera
