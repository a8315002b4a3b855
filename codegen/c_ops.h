// How each operator is written as C.
#pragma once

#include "codegen/c_writer.h"

namespace tessera {

// Writes the statements that make a node's values.
using COperator = void (*)(CWriter&, const Node&);

// nullptr: there is none.
COperator c_operator(const OpDef& op);
// "" when the node can be written, else why not, in a few words.
std::string c_refuses(const CWriter& writer, const Node& node);

}  // namespace tessera
