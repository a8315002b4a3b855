# The runtime loads, compiles and runs models: the shared library needs the C and C++ libraries only,
# and neither it nor the static one has or wants a symbol of training, data sets, other formats or of
# a third party.
# Usage: cmake -DSHARED=<libtessera_runtime.so> -DSTATIC=<libtessera_runtime.a> -P check_runtime.cmake
find_program(NM NAMES nm llvm-nm REQUIRED)
find_program(READELF NAMES readelf llvm-readelf REQUIRED)
function(text_of)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
  set(text "${text}" PARENT_SCOPE)
endfunction()

# Sanitizers bring libraries of their own.
if(NOT FLAGS MATCHES "-fsanitize")
  text_of(${READELF} -dW ${SHARED})
  string(REGEX MATCHALL "NEEDED[^\n]*" needed "${text}")
  if(NOT needed)
    message(FATAL_ERROR "readelf shows nothing that ${SHARED} needs:\n${text}")
  endif()
  list(FILTER needed EXCLUDE REGEX "\\[(libstdc\\+\\+|libm|libgcc_s|libc|ld-linux-x86-64)\\.so\\.[0-9]+\\]")
  if(needed)
    message(FATAL_ERROR "${SHARED} also needs ${needed}")
  endif()
endif()

# nm's lines are "[address] letter name".
set(others "boost::|dnnl::|dnnl_|cblas_|LAPACKE_|omp_|GOMP_|EVP_|SHA256_|MPI_|jpeg_")
set(folders "nn|quant|models|datasets|onnx|codegen|experiment|report|apps|linalg")
set(training "grad\\(tessera::|sgd_update|soft_assign|Checkpoint")
set(unwanted " [a-zA-Z] (${others}|[^\n(]*tessera::(${folders})::|tessera::(${training}))[^\n]*")
foreach(library SHARED STATIC)
  set(dynamic "")
  if(library STREQUAL SHARED)
    set(dynamic --dynamic)
  endif()
  text_of(${NM} -C ${dynamic} ${${library}})
  foreach(name "tessera::load(std::filesystem" "tessera::load_from_memory(" "tessera::compile("
               "tessera::Plan::run(")
    string(FIND "${text}" " T ${name}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "${${library}} has no ${name}")
    endif()
  endforeach()
  string(REGEX MATCHALL "${unwanted}" found "${text}")
  if(found)
    list(JOIN found "\n" found)
    message(FATAL_ERROR "${${library}} has or wants\n${found}")
  endif()
endforeach()
