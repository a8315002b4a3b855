#include "mpi/world.h"

#include <cstdlib>
#include <string>

#include "mpi/open_world.h"

namespace tessera::mpi {

namespace {

// How many processes the launcher says it started: Open MPI's mpirun, MPICH's and Slurm's.
int launched_ranks() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE"}) {
    const char* text = std::getenv(name);
    if (text != nullptr) return std::atoi(text);
  }
  return 1;
}

}  // namespace

std::unique_ptr<World> join() {
  const int ranks = launched_ranks();
  if (ranks <= 1) return nullptr;
  auto world = open_world();
  check(world != nullptr, "started as one of ", ranks,
        " ranks, but built without MPI: install libopenmpi-dev, then configure and build again");
  return world;
}

}  // namespace tessera::mpi
