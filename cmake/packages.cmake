# cpack -G DEB: three Debian packages of what cmake/install.cmake installs.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tessera)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Tessera maintainers <maintainers@users.noreply.h-seed-5906b6ab.example>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL runtime dev tools)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

set(so_version ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libtessera-runtime${so_version})
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION
"The library that loads, compiles and runs models saved by tessera, with their
weights packed as they are stored. It needs the C++ library only.")
# Who links it depends on this package; and the loader is to know it.
file(WRITE ${PROJECT_BINARY_DIR}/packages/shlibs
     "libtessera_runtime ${so_version} libtessera-runtime${so_version} (>= ${PROJECT_VERSION})\n")
file(WRITE ${PROJECT_BINARY_DIR}/packages/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
    "${PROJECT_BINARY_DIR}/packages/shlibs;${PROJECT_BINARY_DIR}/packages/triggers")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libtessera-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
# What its static libraries link; and the shared one, whose link it has.
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libtessera-runtime${so_version} (= ${PROJECT_VERSION}-1), \
libboost-iostreams-dev, libdnnl-dev, libjpeg-dev, liblapacke-dev, libopenblas-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_COMPONENT_DEV_DESCRIPTION
"Headers, static libraries, CMake package and pkg-config files of tessera, for
C++20 programs that train, compress and run networks, and of its runtime, for
those that only run them.")
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME tessera)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION science)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SUGGESTS "python3")
set(CPACK_COMPONENT_TOOLS_DESCRIPTION
"The program tessera inspects, checks, compares, converts and times saved
models; mnist, cifar10, cifar100, imagenet, coco and ptb train and compress
networks on the data sets after which they are named.")

# Debian's own: who holds the rights, and what changed.
set(copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tessera

Files: *
Copyright: 2025-2026 Tessera maintainers
License: Apache-2.0
 On Debian systems the text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
")
file(WRITE ${PROJECT_BINARY_DIR}/packages/copyright "${copyright}")
set(changelog "tessera (${PROJECT_VERSION}-1) unstable; urgency=medium

  * Release ${PROJECT_VERSION}.

 -- ${CPACK_PACKAGE_CONTACT}  Tue, 01 Dec 2026 00:00:00 +0000
")
file(WRITE ${PROJECT_BINARY_DIR}/packages/changelog "${changelog}")
execute_process(COMMAND gzip -9nkf ${PROJECT_BINARY_DIR}/packages/changelog)
foreach(part runtime dev tools)
  string(TOUPPER ${part} upper)
  install(FILES ${PROJECT_BINARY_DIR}/packages/copyright
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME} COMPONENT ${part})
  install(FILES ${PROJECT_BINARY_DIR}/packages/changelog.gz RENAME changelog.Debian.gz
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME} COMPONENT ${part})
endforeach()
include(CPack)
