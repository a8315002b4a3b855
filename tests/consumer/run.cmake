# Installs a build tree into an empty prefix, then configures, builds and runs this project with it:
# its own program, and the one that README.md shows. The installed programs are run as well.
cmake_minimum_required(VERSION 3.25)
function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY ${WORK} OUTPUT_VARIABLE out
                  ECHO_OUTPUT_VARIABLE COMMAND_ERROR_IS_FATAL ANY)
  set(out "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
file(READ ${CMAKE_CURRENT_LIST_DIR}/../../README.md readme)
set(fence "```cpp\n")
string(FIND "${readme}" "${fence}" begin)
if(begin EQUAL -1)
  message(FATAL_ERROR "README.md shows no C++")
endif()
string(LENGTH "${fence}" skipped)
math(EXPR begin "${begin} + ${skipped}")
string(SUBSTRING "${readme}" ${begin} -1 readme)
string(FIND "${readme}" "```" end)
string(SUBSTRING "${readme}" 0 ${end} program)
file(WRITE ${WORK}/readme.cpp "${program}")

set(prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} --install ${TESSERA_BUILD} --prefix ${prefix})
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK}/build
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_CXX_COMPILER=${COMPILER} -DREADME=${WORK}/readme.cpp
    -DCMAKE_BUILD_TYPE=${BUILD_TYPE} "-DCMAKE_CXX_FLAGS=${FLAGS}")
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer)
run(${WORK}/build/readme)

# Models run by the runtime alone, shared and static, as by the whole library; those made above, and
# one with convolutions, which the runtime does without oneDNN.
function(build_runtime folder)
  run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${CMAKE_CURRENT_LIST_DIR}/runtime -B ${WORK}/${folder}
      -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=${BUILD_TYPE}
      "-DCMAKE_CXX_FLAGS=${FLAGS}" ${ARGN})
  run(${CMAKE_COMMAND} --build ${WORK}/${folder})
endfunction()
run(${prefix}/bin/mnist compress --net lenet5 --data synthetic:200:100 --method dc --bits 2
    --out ${WORK}/lenet5)
set(lenet5 lenet5/lenet5-dc-adaptive4-s1)
run(${prefix}/bin/tessera export ${WORK}/${lenet5}.json --out ${WORK}/net.h)
build_runtime(runtime -DEMBEDDED=${WORK}/net.h
              -DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON -DCMAKE_DISABLE_FIND_PACKAGE_OpenBLAS=ON
              -DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON -DCMAKE_DISABLE_FIND_PACKAGE_JPEG=ON)
build_runtime(full -DFULL=ON)
function(expect_same program model)
  run(${WORK}/${program} ${WORK}/${model}.json 8)
  if(NOT out STREQUAL expected OR NOT out MATCHES "^logits [-0-9.]+ [1-9]")
    message(FATAL_ERROR "${program} of ${model}:\n${out}the whole library:\n${expected}")
  endif()
endfunction()
foreach(model lenet300-1bit net-2bit ${lenet5})
  run(${WORK}/full/run_tessera ${WORK}/${model}.json 8)
  set(expected "${out}")
  expect_same(runtime/run_runtime ${model})
  expect_same(runtime/run_runtime_static ${model})
endforeach()
expect_same(runtime/run_embedded nowhere)

# The same by pkg-config, with nothing of CMake.
find_program(PKG_CONFIG pkg-config)
if(PKG_CONFIG)
  set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIBDIR}/pkgconfig)
  separate_arguments(flags UNIX_COMMAND "${FLAGS}")
  function(build_by_pkg_config package source program)
    run(${PKG_CONFIG} --cflags --libs ${package})
    separate_arguments(options UNIX_COMMAND "${out}")
    run(${COMPILER} -std=c++20 ${flags} ${source} -o ${program} ${options}
        -Wl,-rpath,${prefix}/${LIBDIR})
  endfunction()
  build_by_pkg_config(tessera-runtime ${CMAKE_CURRENT_LIST_DIR}/runtime/main.cpp run_model)
  expect_same(run_model ${lenet5})
  build_by_pkg_config(tessera ${WORK}/readme.cpp readme_by_pkg_config)
  run(${WORK}/readme_by_pkg_config)
endif()

foreach(file share/tessera/decode.py share/tessera/LICENSE share/doc/tessera/copyright)
  if(NOT EXISTS ${prefix}/${file})
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()
foreach(name mnist cifar10 cifar100 imagenet tessera)
  run(${prefix}/bin/${name} --version)
endforeach()
# What the installed program says of the file that README's program saved, and the decoder.
run(${prefix}/bin/tessera inspect ${WORK}/lenet300-1bit.json --summary)
if(NOT out MATCHES "266200 of them coded")
  message(FATAL_ERROR "tessera inspect says:\n${out}")
endif()
find_program(PYTHON python3)
if(PYTHON)
  run(${PYTHON} ${prefix}/share/tessera/decode.py ${WORK}/lenet300-1bit.json)
  if(NOT out MATCHES "0.weight f32.300,784.@cb1")
    message(FATAL_ERROR "decode.py says:\n${out}")
  endif()
endif()
