# cmake --install and cpack, in three parts (cmake/packages.cmake makes a Debian package of each):
#   runtime  the shared library of tessera::runtime
#   dev      headers in the folders of the source tree, static libraries, the CMake package `tessera`, pkg-config files
#   tools    the programs, their completions, the stand-alone decoder
# tests/consumer is a project that uses the result.
if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
include(CMakePackageConfigHelpers)
# What is there is installed: `cpack` rebuilds nothing.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

set(folders core ops codegen nn quant models onnx datasets tessera)
list(TRANSFORM folders PREPEND tessera_ OUTPUT_VARIABLE targets)
install(TARGETS ${targets} EXPORT tessera
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(TARGETS tessera_runtime tessera_runtime_static EXPORT tesseraRuntime
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
foreach(folder IN LISTS folders)
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tessera-src COMPONENT dev
          FILES_MATCHING PATTERN "*.h" PATTERN "*.inc")
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tessera)
install(EXPORT tessera NAMESPACE tessera:: DESTINATION ${package_dir} COMPONENT dev
        FILE tesseraTargets.cmake)
install(EXPORT tesseraRuntime NAMESPACE tessera:: DESTINATION ${package_dir} COMPONENT dev
        FILE tesseraRuntimeTargets.cmake)
configure_package_config_file(cmake/tesseraConfig.cmake.in ${PROJECT_BINARY_DIR}/tesseraConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tesseraConfig.cmake
              ${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT dev)

# pkg-config: static libraries in the order in which they need each other.
set(tessera_pc_libs -ltessera_datasets -ltessera_onnx -ltessera_models -ltessera_quant -ltessera_nn
    -ltessera_codegen -ltessera_ops -ltessera_core -ldnnl -llapacke -lopenblas -lboost_iostreams -ljpeg)
if(NOT TESSERA_STD_THREADS)
  list(APPEND tessera_pc_libs -lgomp)
endif()
list(JOIN tessera_pc_libs " " tessera_pc_libs)
file(RELATIVE_PATH tessera_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(name tessera tessera-runtime)
  configure_file(cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
endforeach()

if(TESSERA_BUILD_APPS)
  get_property(apps DIRECTORY apps PROPERTY BUILDSYSTEM_TARGETS)
  list(FILTER apps INCLUDE REGEX "^app_")
  install(TARGETS ${apps} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
  # Each program says how it is completed.
  foreach(app IN LISTS apps)
    install(CODE "set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/bash-completion/completions\")
      file(MAKE_DIRECTORY \"\${folder}\")
      execute_process(COMMAND \"$<TARGET_FILE:${app}>\" completion bash
                      OUTPUT_FILE \"\${folder}/$<TARGET_FILE_NAME:${app}>\" COMMAND_ERROR_IS_FATAL ANY)"
      COMPONENT tools)
  endforeach()
endif()
install(PROGRAMS scripts/decode.py DESTINATION ${CMAKE_INSTALL_DATADIR}/tessera COMPONENT tools)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/tessera COMPONENT tools)
include(cmake/packages.cmake)
