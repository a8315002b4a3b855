// The ranks of an mpirun. Without MPI at build time there is only the refusal to run as one of
// several.
#pragma once

#include <memory>

#include "core/communicator.h"

namespace tessera::mpi {

class World : public Communicator {
 public:
  // Of these ranks, those on this machine.
  virtual int local_size() const = 0;
  // The last thing a rank does; `code` is what the process will return. After a failure of any rank
  // it may end all of them at once.
  virtual void end(int code) = 0;
};

// Joins the ranks that this process was launched with. Null where it was launched alone. Throws
// Error when it was not and the program was built without MPI.
std::unique_ptr<World> join();

}  // namespace tessera::mpi
