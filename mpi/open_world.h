// Where MPI comes in.
#pragma once

#include <memory>

#include "mpi/world.h"

namespace tessera::mpi {

// Null when built without MPI.
std::unique_ptr<World> open_world();

}  // namespace tessera::mpi
