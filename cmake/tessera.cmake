# Helpers used by every folder's CMakeLists.txt.

add_library(tessera_warnings INTERFACE)
target_compile_options(tessera_warnings INTERFACE -Wall -Wextra -Wundef
  # clang builds the fuzzers; what it warns of beyond GCC is shown and no more.
  $<$<CXX_COMPILER_ID:GNU>:-Werror>
  # False alarms of GCC 12: operator+ of std::string, optional and regex internals.
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-maybe-uninitialized>")
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  # Sizes behind instrumented branches look boundless to GCC.
  target_compile_options(tessera_warnings INTERFACE -Wno-stringop-overflow)
endif()

# Everything that reads files of others is built so that an overrun ends the process: guards behind
# arrays on the stack, checked copies of known sizes (they need optimization, and sanitizers check
# more), tables of functions read-only.
add_library(tessera_hardening INTERFACE)
target_compile_options(tessera_hardening INTERFACE -fstack-protector-strong)
if(NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  target_compile_options(tessera_hardening INTERFACE
    "$<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>")
endif()
target_link_options(tessera_hardening INTERFACE -Wl,-z,relro,-z,now)
target_link_libraries(tessera_warnings INTERFACE tessera_hardening)

# tessera_isa_flags(<sources...>): the suffix of a kernel file is its instruction set.
# x86_<isa>.cpp gets the flags of <isa>; an unknown suffix is a configure error. Kernel files are
# always optimized (a debug micro-kernel would make the debug tests useless) and never see LTO,
# which could inline wide instructions into portable code.
function(tessera_isa_flags)
  set(avx2 -mavx2 -mfma -mf16c)
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd)
  set(avx512vnni ${avx512} -mavx512vnni)
  set(avx512vbmi ${avx512} -mavx512vbmi)
  set(avx512bf16 ${avx512} -mavx512bf16)
  set(avx512vnnivbmi ${avx512vnni} -mavx512vbmi)
  set(avxvnni ${avx2} -mavxvnni)
  set(sha -msha -msse4.1)
  foreach(source IN LISTS ARGN)
    get_filename_component(name ${source} NAME_WE)
    if(name MATCHES "x86_([a-z0-9]+)$")
      set(isa ${CMAKE_MATCH_1})
      if(NOT DEFINED ${isa})
        message(FATAL_ERROR "${source}: no flags are known for instruction set '${isa}'")
      endif()
      # GCC 12 warns about its own avx512fintrin.h (uninitialized _mm512_undefined_*).
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-O3;-fno-lto;-ffp-contract=fast;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>;-Wno-uninitialized;${${isa}}")
    endif()
  endforeach()
endfunction()

# tessera_library(<name> [dependencies...]): all .cpp below the folder, as target tessera_<name>.
function(tessera_library name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  tessera_isa_flags(${sources})
  add_library(tessera_${name} STATIC ${sources})
  add_library(tessera::${name} ALIAS tessera_${name})
  set_target_properties(tessera_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(tessera_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/tessera-src>)
  target_compile_features(tessera_${name} PUBLIC cxx_std_20)
  target_link_libraries(tessera_${name} PUBLIC ${ARGN} PRIVATE $<BUILD_INTERFACE:tessera_warnings>)
endfunction()
