# SPDX-License-Identifier: Apache-2.0
# Installs the headers, the targets, and the CMake package and pkg-config files that find them again; packs them for Debian.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(qwq_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/qwq)

# One export set per component, so that a core-only user needs neither ICU nor ONNX to be installed.
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
# To copy into a project. Where qwq is installed, <qwq.hpp> includes the headers, so that a program may use others beside it.
install(FILES single_include/qwq.hpp DESTINATION ${CMAKE_INSTALL_DATADIR}/qwq/single_include)
install(FILES ${qwq_circle_header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/qwq/emit/circle)
install(TARGETS qwq EXPORT qwq-core)
install(EXPORT qwq-core NAMESPACE qwq:: FILE qwq-coreTargets.cmake DESTINATION ${qwq_package_dir})
foreach(component IN LISTS qwq_components)
  install(TARGETS qwq_${component} EXPORT qwq-${component})
  install(EXPORT qwq-${component} NAMESPACE qwq:: FILE qwq-${component}Targets.cmake DESTINATION ${qwq_package_dir})
endforeach()

configure_package_config_file(cmake/qwqConfig.cmake.in qwqConfig.cmake INSTALL_DESTINATION ${qwq_package_dir}
                              NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(qwqConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qwqConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/qwqConfigVersion.cmake
              cmake/qwqDependencies.cmake cmake/qwqAddExporter.cmake cmake/check_config.cpp
              cmake/exporter.cpp.in cmake/exporter_circle.cpp cmake/exporter_config.hpp.in
              cmake/exporter_files.cpp.in cmake/exporter_main.cpp cmake/exporter_onnx.cpp cmake/exporter_part.cpp.in
        DESTINATION ${qwq_package_dir})

# The same for pkg-config: qwq, and qwq-<component> with what it needs.
foreach(module qwq qwq-text qwq-onnx qwq-circle)
  configure_file(cmake/pkgconfig/${module}.pc.in ${module}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${module}.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
endforeach()

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libqwq-dev RENAME copyright)

# `cpack` writes libqwq-dev_<version>_all.deb. It depends on what headers alone need; what a component needs, and what
# looks for packages, is recommended or suggested.
if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_GENERATOR DEB)
  set(CPACK_PACKAGE_NAME libqwq-dev)
  set(CPACK_PACKAGE_CONTACT "The qwq authors")
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION} (headers)")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
  set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libboost-dev (>= 1.74), libxsimd-dev (>= 8.1)")
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libicu-dev, nlohmann-json3-dev")
  set(CPACK_DEBIAN_PACKAGE_SUGGESTS
      "cmake (>= 3.25), pkg-config, libonnx-dev, libprotobuf-dev, libflatbuffers-dev, libcli11-dev")
  include(CPack)
endif()
