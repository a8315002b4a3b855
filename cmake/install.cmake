# cmake --install: libraries, headers in the folders of the source tree, the package `tessera`, the
# programs, the stand-alone decoder, and the licence.
# tests/consumer is a project that uses the result.
if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
include(CMakePackageConfigHelpers)

set(folders core ops codegen nn quant models onnx datasets tessera)
list(TRANSFORM folders PREPEND tessera_ OUTPUT_VARIABLE targets)
install(TARGETS ${targets} EXPORT tessera ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(folder IN LISTS folders)
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tessera-src
          FILES_MATCHING PATTERN "*.h" PATTERN "*.inc")
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tessera)
install(EXPORT tessera NAMESPACE tessera:: DESTINATION ${package_dir} FILE tesseraTargets.cmake)
configure_package_config_file(cmake/tesseraConfig.cmake.in ${PROJECT_BINARY_DIR}/tesseraConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tesseraConfig.cmake
              ${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake DESTINATION ${package_dir})

if(TESSERA_BUILD_APPS)
  get_property(apps DIRECTORY apps PROPERTY BUILDSYSTEM_TARGETS)
  list(FILTER apps INCLUDE REGEX "^app_")
  install(TARGETS ${apps} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(PROGRAMS scripts/decode.py DESTINATION ${CMAKE_INSTALL_DATADIR}/tessera)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
