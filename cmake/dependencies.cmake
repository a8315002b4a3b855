# Everything comes from Debian 12; scripts/deps.sh installs it.
find_package(Threads REQUIRED)
if(NOT TESSERA_STD_THREADS)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()
find_package(nlohmann_json 3.11 REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options iostreams)
find_package(JPEG REQUIRED)

# Debian's dnnl-config.cmake asks for OpenCL, which nothing here uses: take the library itself.
find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
if(NOT TARGET tessera_dnnl)
  add_library(tessera_dnnl INTERFACE)
  target_include_directories(tessera_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
  target_link_libraries(tessera_dnnl INTERFACE ${DNNL_LIBRARY})
endif()

# Debian's netlib packages put plain BLAS where find_package(BLAS) looks first, and their cblas.h in
# front: take OpenBLAS, with LAPACKE on top of the LAPACK that it brings.
find_package(OpenBLAS 0.3.21 REQUIRED)
find_path(LAPACKE_INCLUDE_DIR lapacke.h REQUIRED)
find_library(LAPACKE_LIBRARY lapacke REQUIRED)
if(NOT TARGET tessera_openblas)
  add_library(tessera_openblas INTERFACE)
  target_include_directories(tessera_openblas SYSTEM BEFORE INTERFACE ${OpenBLAS_INCLUDE_DIRS} ${LAPACKE_INCLUDE_DIR})
  target_link_libraries(tessera_openblas INTERFACE ${LAPACKE_LIBRARY} ${OpenBLAS_LIBRARIES})
endif()

# Headers only: machine code for elementwise programs.
find_path(XBYAK_INCLUDE_DIR xbyak/xbyak.h REQUIRED)
if(NOT TARGET tessera_xbyak)
  add_library(tessera_xbyak INTERFACE)
  target_include_directories(tessera_xbyak SYSTEM INTERFACE ${XBYAK_INCLUDE_DIR})
endif()

# Optional: training on several machines (mpi/).
find_package(MPI QUIET COMPONENTS CXX)
