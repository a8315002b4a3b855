// One graph around any op of the list, from its own samples: sizes, attributes, operands, programs
// and storage changed, values drawn.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tests/fuzz/exercise.h"

namespace tessera::fuzz {

struct OpCase {
  Graph graph;
  bool compare = false;  // the result may be held against the reference
  FillLeaf fill;
};

// The graph that the choices describe. Throws Error when the op refuses it.
OpCase make_op_case(Choices& choices);

// The graph, or why there is none, for people.
std::string op_case_text(std::span<const std::uint8_t> bytes);

// The same compiled and run.
Outcome run_op_case(std::span<const std::uint8_t> bytes);

}  // namespace tessera::fuzz
