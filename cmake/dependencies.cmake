# Everything comes from Debian 12; scripts/deps.sh installs it.
find_package(Threads REQUIRED)
if(NOT TESSERA_STD_THREADS)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()
find_package(nlohmann_json 3.11 REQUIRED)
find_package(OpenSSL 3 REQUIRED COMPONENTS Crypto)
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

# Headers only: machine code for elementwise programs.
find_path(XBYAK_INCLUDE_DIR xbyak/xbyak.h REQUIRED)
if(NOT TARGET tessera_xbyak)
  add_library(tessera_xbyak INTERFACE)
  target_include_directories(tessera_xbyak SYSTEM INTERFACE ${XBYAK_INCLUDE_DIR})
endif()
