# Kernel files are compiled for instruction sets that not every machine has. A weak symbol in one
# (an inline function or template shared with other files) could be the copy the linker keeps for
# the whole program. Usage: cmake -DLIB=<libtessera_ops.a> -P check_symbols.cmake
find_program(NM NAMES nm llvm-nm REQUIRED)
execute_process(COMMAND ${NM} -A --defined-only ${LIB}
  OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "nm cannot read ${LIB}")
endif()
string(REGEX MATCHALL "[^\n]*x86_[a-z0-9]+\\.cpp[^\n]*" lines "${symbols}")
if(NOT lines AND CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  message(FATAL_ERROR "${LIB} has no kernel file x86_<isa>.cpp")
endif()
set(bad "")
foreach(line IN LISTS lines)
  # "library:object:address letter name"; sanitizers put their own comdat helpers in every object.
  if(line MATCHES "x86_[a-z0-9]+\\.cpp[^:]*:[0-9a-f]* ([WVuwv]) (.*)$" AND
     NOT CMAKE_MATCH_2 MATCHES "^(__odr_asan|asan\\.|DW\\.ref\\.)")
    string(APPEND bad "  ${line}\n")
  endif()
endforeach()
if(bad)
  message(FATAL_ERROR "weak symbols in kernel files:\n${bad}")
endif()
