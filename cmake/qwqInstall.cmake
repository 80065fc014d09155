# SPDX-License-Identifier: Apache-2.0
# Installs the headers, the targets, and the CMake package that finds them again.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(qwq_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/qwq)

# One export set per component, so that a core-only user needs neither ICU nor ONNX to be installed.
install(DIRECTORY include/qwq DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
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
              cmake/qwqDependencies.cmake cmake/qwqAddExporter.cmake cmake/exporter.cpp.in
              cmake/exporter_config.hpp.in cmake/exporter_part.cpp.in
        DESTINATION ${qwq_package_dir})
