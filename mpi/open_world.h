// Where MPI comes in.
#pragma once

#include <cstddef>
#include <memory>

#include "mpi/world.h"

namespace tessera::mpi {

// Null when built without MPI. What is longer than `most_bytes` travels as several messages.
std::unique_ptr<World> open_world(std::size_t most_bytes = std::size_t{1} << 30);

}  // namespace tessera::mpi
